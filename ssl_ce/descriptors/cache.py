"""A content-addressed feature cache on disk: subject identity x data fingerprint x holes -> a memory-mapped array."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import Subset
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.every_tap import EveryTap
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

        Those of a `Subset` are rows of its parent's where these are there.

        Parameters
        ----------
        hole
            One hole for all images, bool (1, 1, h, w), True = missing; None describes whole images.
        advance
            Called with the number of images done, for progress.

        Raises
        ------
        UserError
            If a feature is not finite, or the cached file is damaged.
        """
        if (found := self._find(descriptor, images, hole)) is not None:
            stored, rows = found
            return _read(stored) if rows is None else _read(stored)[rows]

        def describe(batch: Tensor) -> list[Tensor]:
            holes = None if hole is None else hole.expand(len(batch), 1, *batch.shape[2:])
            return [descriptor.describe(batch, holes)]

        path = self._path(descriptor, images, hole)
        self._compute([descriptor], [path], describe, images, advance)
        return _read(path)

    def features_of_taps(self, every: EveryTap, images: ImageSet, advance: Advance | None = None) -> None:
        """Compute the features at every tap in one pass, so that `features` of each only reads them."""
        missing = {
            tap: self._path(descriptor, images)
            for tap, descriptor in every.taps.items()
            if self._find(descriptor, images) is None
        }
        if missing:
            rest = EveryTap(every.name, {tap: every.taps[tap] for tap in missing})

            def describe(batch: Tensor) -> list[Tensor]:
                found = rest.describe_each(batch)
                return [found[tap] for tap in missing]

            self._compute(list(rest.taps.values()), list(missing.values()), describe, images, advance)

    def _find(
        self, descriptor: Descriptor, images: ImageSet, hole: Tensor | None = None
    ) -> tuple[Path, NDArray[np.int64] | None] | None:
        """The file that holds the features, and in which rows; None for all of them."""
        path = self._path(descriptor, images, hole)
        if path.exists():
            return path, None
        if isinstance(images, Subset) and (found := self._find(descriptor, images.parent, hole)) is not None:
            whole, rows = found
            return whole, images.rows if rows is None else rows[images.rows]
        return None

    def _path(self, descriptor: Descriptor, images: ImageSet, hole: Tensor | None = None) -> Path:
        key = digest(descriptor.identity, images.fingerprint, "" if hole is None else hole.cpu().numpy().tobytes())
        return self.folder / key[:2] / f"{key}.npy"

    def _compute(
        self,
        descriptors: Sequence[Descriptor],
        paths: Sequence[Path],
        describe: Callable[[Tensor], Sequence[Tensor]],
        images: ImageSet,
        advance: Advance | None,
    ) -> None:
        """Write what `describe` makes of each batch of images, one array for each path, all or none."""
        assert images.size is not None, "features are computed from packed sets"
        with ExitStack() as stack:
            arrays = []
            for descriptor, path in zip(descriptors, paths, strict=True):
                temporary = stack.enter_context(atomic_write(path))
                shape = (len(images), descriptor.dim(*images.size))
                arrays.append(np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape))
                _reserve(temporary)
            for start in range(0, len(images), self.batch_size):
                indices = torch.arange(start, min(start + self.batch_size, len(images)))
                found = describe(images.read(indices))
                for descriptor, array, features in zip(descriptors, arrays, found, strict=True):
                    _check_finite(descriptor, features, images, start)
                    array[start : start + len(indices)] = features.numpy()
                if advance is not None:
                    advance(len(indices))
            for array in arrays:
                array.flush()
            del arrays, array


def _read(path: Path) -> NDArray[np.float32]:
    try:
        found: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise UserError(f"The cached features {path} are damaged. Delete that file and run again.") from error
    return found


def _check_finite(descriptor: Descriptor, features: Tensor, images: ImageSet, start: int) -> None:
    finite = torch.isfinite(features).all(dim=1)
    if not finite.all():
        first = start + int((~finite).nonzero()[0])
        raise UserError(
            f"The features of '{descriptor.name}' are not finite (NaN or infinite), first for image {first} of "
            f"{images.name} ({images.split}). Its weights or its training are broken; judge another checkpoint."
        )


def _reserve(path: Path) -> None:
    """Take the file's whole length on the disk: a mapped write that finds it full would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
