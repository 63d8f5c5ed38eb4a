"""Describing images where there is too little memory for the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_ce.data.packing import PackedImages
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.pixels import Pixels


class Narrow(Pixels):
    """Pixels, on a device that has room for a few images."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.batches = room, []

    def describe(self, images: Tensor, holes: Tensor | None = None) -> Tensor:
        self.batches.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().describe(images, holes)


def test_the_batch_is_halved_for_good_and_the_features_are_the_same(digits_test: PackedImages, tmp_path: Path):
    narrow, told = Narrow(70), []
    found = FeatureCache(tmp_path / "a").features(narrow, digits_test, advance=told.append)
    assert narrow.batches[:4] == [256, 128, 64, 64]
    assert max(narrow.batches[2:]) == 64
    assert sum(told) == len(digits_test)
    assert np.array_equal(found, FeatureCache(tmp_path / "b").features(Pixels(), digits_test))


def test_where_not_even_one_image_finds_room_the_error_is_the_devices(digits_test: PackedImages, tmp_path: Path):
    with pytest.raises(torch.OutOfMemoryError):
        FeatureCache(tmp_path, batch_size=4).features(Narrow(0), digits_test)
    assert not list(tmp_path.rglob("*.npy"))
