"""The image-set contract: a named, ordered collection of images with targets, one split of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Task = Literal["none", "classes", "multilabel", "boxes", "segmentation"]
Indices: TypeAlias = "Sequence[int] | NDArray[np.int64] | Tensor"


@runtime_checkable
class ImageSet(Protocol):
    """What every evaluator and the pretraining loop read images from.

    Attributes
    ----------
    name
        The dataset: "digits", or the folder's name.
    split
        "train", "test", "val" or "all".
    task
        What `targets` holds: "none"; "classes" (int64 class numbers); "multilabel" (n, classes) of 0/1; ...
    classes
        Class names, in the order of their numbers. Empty when there are no targets.
    fingerprint
        Hash of pixels and targets: two sets with the same fingerprint hold the same data in the same order.
    size
        (height, width) that `read` returns, for packed sets; None for sets that only `read_one`.
    source
        How the set was asked for, enough to open it again (REF, size, fit, split seed).
    """

    name: str
    split: str
    task: Task
    classes: tuple[str, ...]
    fingerprint: str
    size: tuple[int, int] | None
    source: dict[str, Any]

    def __len__(self) -> int: ...

    def read(self, indices: Indices) -> Tensor:
        """Images as uint8 (n, 3, height, width), on the CPU. Packed sets only."""
        ...

    def read_one(self, index: int) -> Tensor:
        """One image at its native size: uint8 (3, height, width)."""
        ...

    def targets(self, indices: Indices | None = None) -> NDArray[np.int64]:
        """Targets of `indices` (all when None): int64 (n,) for classes."""
        ...
