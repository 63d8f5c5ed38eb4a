from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssl_ce.data.imageset import Indices, Task
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.pixels import Pixels
from ssl_ce.errors import UserError
from ssl_ce.files import digest
from ssl_ce.holes import draw, draw_bank
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.inpainters.nearest import MOST_HOLES, Nearest
from ssl_ce.randomness import sample_keys

SIDE = 16


class Photos:
    """An image set in memory that counts what is read of it."""

    name, split, classes = "photos", "train", ()
    task: Task = "none"

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.size: tuple[int, int] | None = (images.shape[2], images.shape[3])
        self.fingerprint = digest(images.numpy().tobytes())
        self.source: dict[str, Any] = {}
        self.most_read = 0

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Indices) -> torch.Tensor:
        self.most_read = max(self.most_read, len(indices))
        return self.images[torch.as_tensor(indices)]

    def read_one(self, index: int) -> torch.Tensor:
        return self.images[index]

    def targets(self, indices: Indices | None = None) -> NDArray[np.int64]:
        raise NotImplementedError


def photos(seed: int, count: int) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


@pytest.fixture
def index() -> Photos:
    return Photos(photos(0, 40))


@pytest.fixture
def inpainter(index: Photos, tmp_path: Path) -> Nearest:
    return Nearest(Pixels(side=SIDE), index, FeatureCache(tmp_path, batch_size=8))


@pytest.fixture
def holes() -> torch.Tensor:
    bank = draw_bank("random-region", 3, 0, SIDE, SIDE)
    return bank[[0, 1, 2, 1, 0, 0]]


def test_the_nearest_is_found_by_the_context_alone_and_its_region_pasted(
    inpainter: Nearest, index: Photos, holes: torch.Tensor
) -> None:
    images = photos(1, 6)
    neighbours = inpainter.neighbours(images, holes, 2)
    filled = inpainter.fill(images, holes)
    for i in range(6):
        missing = holes[i, 0].numpy()
        context, contexts = (x.double().numpy()[..., ~missing] / 255 for x in (images[i], index.images))
        # A missing pixel is described by the mean colour of its context.
        query = np.concatenate([context, *[context.mean(1, keepdims=True)] * missing.sum()], 1).ravel()
        base = np.concatenate([contexts, *[contexts.mean(2, keepdims=True)] * missing.sum()], 2).reshape(40, -1)
        similarity = base @ query / np.linalg.norm(base, axis=1)
        expected = np.argsort(-similarity)[:2]
        np.testing.assert_array_equal(neighbours[i], expected)
        assert torch.equal(filled[i], torch.where(holes[i], index.images[expected[0]], images[i]))
    assert isinstance(inpainter, Inpainter)


def test_a_hole_in_a_training_photo_is_filled_with_the_truth(
    inpainter: Nearest, index: Photos, holes: torch.Tensor
) -> None:
    truth = index.images[10:16]
    assert torch.equal(inpainter.fill(truth.masked_fill(holes, 0), holes), truth)


def test_what_is_under_a_hole_is_never_looked_at(inpainter: Nearest, holes: torch.Tensor) -> None:
    images = photos(2, 6)
    assert torch.equal(inpainter.fill(images.masked_fill(holes, 255), holes), inpainter.fill(images, holes))


def test_training_photos_are_described_once_for_each_hole_and_read_in_batches(
    inpainter: Nearest, index: Photos, holes: torch.Tensor, tmp_path: Path
) -> None:
    for seed in range(3):
        inpainter.fill(photos(seed, 6), holes)
    assert len(list(tmp_path.rglob("*.npy"))) == 3
    assert index.most_read <= 8


def test_more_different_holes_than_a_bank_has_are_refused_with_advice(inpainter: Nearest) -> None:
    holes = draw("random-region", sample_keys(0, 0, torch.arange(MOST_HOLES + 1), "test"), SIDE, SIDE)
    images = photos(3, MOST_HOLES + 1)
    inpainter.neighbours(images[:MOST_HOLES], holes[:MOST_HOLES], 1)
    with pytest.raises(UserError, match="nn-inpainting"):
        inpainter.neighbours(images, holes, 1)


def test_images_of_another_size_are_refused(inpainter: Nearest) -> None:
    holes = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    with pytest.raises(UserError, match="Pack both at one size"):
        inpainter.fill(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), holes)


def test_its_identity_holds_the_descriptor_the_photos_and_the_metric(index: Photos, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    different = [
        Nearest(Pixels(), index, cache),
        Nearest(Pixels(side=4), index, cache),
        Nearest(Pixels(), Photos(photos(9, 40)), cache),
        Nearest(Pixels(), index, cache, metric="l2"),
    ]
    assert len({inpainter.identity for inpainter in different}) == 4
    assert different[1].name == "nearest:pixels?side=4"
    assert different[0].state_hash() == Pixels().state_hash()


def test_no_images_are_filled_as_none(inpainter: Nearest, holes: torch.Tensor) -> None:
    assert inpainter.fill(photos(0, 0), holes[:0]).shape == (0, 3, SIDE, SIDE)
