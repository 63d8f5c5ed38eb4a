"""Small image sets in memory, and a descriptor of 64 numbers, for tests of evaluators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.imageset import Indices, Task
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.files import digest


@dataclass(frozen=True)
class MemorySet:
    """An image set that holds its pixels."""

    images: Tensor
    labels: NDArray[np.int64]
    split: str
    classes: tuple[str, ...]
    name: str = "made"
    task: Task = "classes"
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return digest(self.images.numpy().tobytes(), self.labels.tobytes())

    @property
    def size(self) -> tuple[int, int] | None:
        return self.images.shape[2], self.images.shape[3]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Indices) -> Tensor:
        return self.images[torch.as_tensor(indices)]

    def read_one(self, index: int) -> Tensor:
        return self.images[index]

    def targets(self, indices: Indices | None = None) -> NDArray[np.int64]:
        return self.labels if indices is None else self.labels[np.asarray(indices)]


class Grey:
    """Describes an image by an 8 x 8 average of its grey values, times `factor`."""

    def __init__(self, factor: float = 1.0) -> None:
        self.name = f"grey{factor:g}"
        self.identity = digest(self.name)
        self.factor = factor

    def dim(self, height: int, width: int) -> int:
        return 64

    def describe(self, images: Tensor, holes: Tensor | None = None) -> Tensor:
        grey = images.float().mean(dim=1, keepdim=True)
        return self.factor * torch.nn.functional.adaptive_avg_pool2d(grey, 8).flatten(1)

    def state_hash(self) -> str:
        return digest(str(self.factor))


def digit_set(rows: slice | NDArray[np.int64], split: str, below: int = 10) -> MemorySet:
    """Handwritten digits smaller than `below` as 16 x 16 RGB images."""
    digits = load_digits()
    images, labels = digits.images[rows], digits.target[rows].astype(np.int64)
    images, labels = images[labels < below], labels[labels < below]
    pixels = torch.from_numpy(np.kron(images * 15.9, np.ones((2, 2))).astype(np.uint8))
    return MemorySet(
        pixels.unsqueeze(1).expand(-1, 3, -1, -1).contiguous(), labels, split, tuple(map(str, range(below)))
    )


@pytest.fixture
def make_set() -> Callable[..., MemorySet]:
    return MemorySet


@pytest.fixture
def make_digits() -> Callable[..., MemorySet]:
    return digit_set


@pytest.fixture
def digits() -> EvaluationData:
    """600 train and 200 test digits of ten classes."""
    return EvaluationData(test=digit_set(slice(600, 800), "test"), train=digit_set(slice(0, 600), "train"))


@pytest.fixture
def grey() -> Callable[..., Grey]:
    return Grey


@pytest.fixture
def env(tmp_path: Any) -> Env:
    return Env(cache=FeatureCache(tmp_path / "features"))


@pytest.fixture(scope="session")
def shapes(shapes_folder: Path) -> EvaluationData:
    options = DataOptions(size=32)
    return EvaluationData(*(open_set(str(shapes_folder), split, options) for split in ("test", "train")))
