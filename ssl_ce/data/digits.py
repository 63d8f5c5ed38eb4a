"""scikit-learn's handwritten digits (from UCI's "Optical Recognition of Handwritten Digits"): no download."""

from __future__ import annotations

import numpy as np

from ssl_ce.data.options import DataOptions
from ssl_ce.data.source import Dataset, Source
from ssl_ce.data.splitting import split_by_seed

_TEST_COUNT = 500


def read_digits(split: str, options: DataOptions) -> Source:
    """1,297 train or 500 test images of 8 x 8 pixels. The split is fixed, whatever the options' seed."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Grey values are whole numbers from 0 to 16.
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    names = [str(index) for index in range(len(labels))]
    train, test = split_by_seed(names, labels, _TEST_COUNT, seed=0)
    chosen = train if split == "train" else test
    classes = tuple(str(name) for name in bunch.target_names)
    return Source("digits", split, list(pixels[chosen]), "classes", classes, labels[chosen])


digits = Dataset(("train", "test"), read_digits, size=32)
