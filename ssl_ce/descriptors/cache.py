"""A content-addressed feature cache on disk: subject identity x data fingerprint x holes -> a memory-mapped array."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.errors import UserError
from ssl_ce.files import atomic_write, cache_dir, digest

Advance = Callable[[int], None]


@dataclass(frozen=True)
class FeatureCache:
    """Features computed once and read by every evaluator.

    Parameters
    ----------
    folder
        Where the arrays lie; `features` below `ssl_ce.files.cache_dir()` by default.
    batch_size
        Images described at once. It decides speed and memory, never the features' meaning.
    """

    folder: Path = field(default_factory=lambda: cache_dir() / "features")
    batch_size: int = 256

    def features(
        self,
        descriptor: Descriptor,
        images: ImageSet,
        hole: Tensor | None = None,
        advance: Advance | None = None,
    ) -> NDArray[np.float32]:
        """Features of a whole image set: float32 (len(images), dim), memory-mapped and read-only.

        Parameters
        ----------
        hole
            One hole for all images, bool (1, 1, h, w), True = missing; None describes whole images.
        advance
            Called with the number of images done, for progress.
        """
        assert images.size is not None, "features are computed from packed sets"
        height, width = images.size
        key = digest(descriptor.identity, images.fingerprint, "" if hole is None else hole.cpu().numpy().tobytes())
        path = self.folder / key[:2] / f"{key}.npy"
        if not path.exists():
            with atomic_write(path) as temporary:
                shape = (len(images), descriptor.dim(height, width))
                array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
                _reserve(temporary)
                for start in range(0, len(images), self.batch_size):
                    indices = torch.arange(start, min(start + self.batch_size, len(images)))
                    batch = images.read(indices)
                    holes = None if hole is None else hole.expand(len(indices), 1, height, width)
                    array[start : start + len(indices)] = descriptor.describe(batch, holes).numpy()
                    if advance is not None:
                        advance(len(indices))
                array.flush()
                del array
        try:
            found: NDArray[np.float32] = np.load(path, mmap_mode="r")
        except (ValueError, EOFError) as error:
            raise UserError(f"The cached features {path} are damaged. Delete that file and run again.") from error
        return found


def _reserve(path: Path) -> None:
    """Take the file's whole length on the disk: a mapped write that finds it full would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
