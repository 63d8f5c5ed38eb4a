"""scikit-learn's handwritten digits (from UCI's "Optical Recognition of Handwritten Digits"): no download."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_ce.data.options import DataOptions
from ssl_ce.data.source import Dataset, Source
from ssl_ce.data.splitting import split_by_seed

_TEST_COUNT = 500


def read_digits(split: str, options: DataOptions) -> Source:
    """1,297 train or 500 test images of 8 x 8 pixels. The split is fixed, whatever the options' seed."""
    table = _table()
    # Grey values are whole numbers from 0 to 16.
    pixels = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)
    names = [str(index) for index in range(len(labels))]
    train, test = split_by_seed(names, labels, _TEST_COUNT, seed=0)
    chosen = train if split == "train" else test
    return Source("digits", split, list(pixels[chosen]), "classes", tuple("0123456789"), labels[chosen])


@cache
def _table() -> NDArray[np.float64]:
    """What `sklearn.datasets.load_digits` reads, float64 (1797, 65), without the second that its import takes."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    return np.loadtxt(Path(spec.origin).parent / "datasets/data/digits.csv.gz", delimiter=",")


digits = Dataset(("train", "test"), read_digits, size=32)
