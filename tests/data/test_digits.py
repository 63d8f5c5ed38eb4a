from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.digits import digits
from ssl_ce.data.packing import PackedImages


def test_digits_are_1297_train_and_500_test_images_of_32_pixels() -> None:
    train, test = open_set("digits", "train"), open_set("digits", "test")
    assert (len(train), len(test)) == (1297, 500)
    assert train.size == (32, 32)
    assert train.classes == tuple("0123456789")


def test_the_split_is_stratified_and_the_same_for_every_seed() -> None:
    test = digits.read("test", DataOptions(seed=1))
    again = digits.read("test", DataOptions(seed=2))
    assert np.array_equal(np.stack(list(test.images)), np.stack(list(again.images)))
    shares = np.bincount(load_digits().target) * 500 / 1797
    assert test.targets is not None
    assert np.abs(np.bincount(test.targets) - shares).max() < 1


def test_both_splits_together_are_scikit_learns_digits() -> None:
    sources = [digits.read(split, DataOptions()) for split in ("train", "test")]
    pixels = np.concatenate([np.stack(list(source.images)) for source in sources])
    labels = np.concatenate([source.targets for source in sources if source.targets is not None])
    bunch = load_digits()
    expected = {(image.tobytes(), int(t)) for image, t in zip(bunch.images * 255 / 16, bunch.target, strict=True)}
    rounded = {(np.rint(np.frombuffer(image)).astype(np.uint8).tobytes(), t) for image, t in expected}
    assert {(image.tobytes(), int(t)) for image, t in zip(pixels, labels, strict=True)} == rounded


def test_grey_values_span_the_bytes(digits_train: PackedImages) -> None:
    images = digits_train.read(range(100))
    assert images.min() == 0
    assert images.max() == 255
    assert torch.equal(images[:, 0], images[:, 2])
