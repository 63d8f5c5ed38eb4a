"""Made images for benchmarks: smooth colours with a little noise, each a function of its number, in a packed set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray

from ssl_ce.data.options import DataOptions
from ssl_ce.data.packer import pack
from ssl_ce.data.packing import PackedImages
from ssl_ce.data.source import Source

_CELLS = 9


class MadeImages(Sequence[NDArray[np.uint8]]):
    """Images number `first` to `first + count`, made when they are asked for: uint8 (size, size, 3)."""

    def __init__(self, first: int, count: int, size: int) -> None:
        self.first, self.count, self.size = first, count, size

    def __len__(self) -> int:
        return self.count

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> MadeImages: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | MadeImages:
        if isinstance(index, slice):
            start, stop, _ = index.indices(self.count)
            return MadeImages(self.first + start, stop - start, self.size)
        if not 0 <= index < self.count:
            raise IndexError(index)
        generator = np.random.default_rng(self.first + index)
        coarse = generator.integers(0, 256, (_CELLS, _CELLS, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
        noisy = smooth + generator.integers(-8, 9, smooth.shape)
        return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def made_set(split: str, first: int, count: int, size: int, folder: Path) -> PackedImages:
    """`count` made images as a packed set in `folder`."""
    path = folder / f"{split}.pack"
    source = Source("made", split, MadeImages(first, count, size))
    pack(source, size, path, DataOptions(workers=1), {"ref": "made"})
    return PackedImages.open(path)
