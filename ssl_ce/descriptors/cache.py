"""A content-addressed feature cache on disk: subject identity x data fingerprint x holes -> a memory-mapped array."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import Subset
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.every_tap import EveryTap
from ssl_ce.errors import UserError, is_out_of_memory
from ssl_ce.files import atomic_write, cache_dir, digest, sweep

Advance = Callable[[int], None]


@dataclass(frozen=True)
class FeatureCache:
    """Features computed once and read by every evaluator.

    Parameters
    ----------
    folder
        Where the arrays lie; `features` below `ssl_ce.files.cache_dir()` by default.
    batch_size
        Images described at once. It decides speed and memory, never the features' meaning, so it is halved where
        memory runs out.
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
            stored, count, rows = found
            features = _read(stored, descriptor, images, count)
            return features if rows is None else features[rows]

        def describe(batch: Tensor) -> list[Tensor]:
            holes = None if hole is None else hole.expand(len(batch), 1, *batch.shape[2:])
            return [descriptor.describe(batch, holes)]

        path = self._path(descriptor, images, hole)
        self._compute([descriptor], [path], describe, images, advance)
        return _read(path, descriptor, images, len(images))

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

    def holds(self, descriptor: Descriptor, images: ImageSet) -> bool:
        """Whether the features of whole images are there, or those of the set that `images` is a part of."""
        return self._find(descriptor, images) is not None

    def join(self, descriptor: Descriptor, images: ImageSet, pieces: Sequence[ImageSet]) -> None:
        """Write the features of `images` from those of its `pieces`, which hold them in order and are then removed.

        Raises
        ------
        UserError
            If those of a piece are not there, which another process has described.
        """
        if not self.holds(descriptor, images):
            if not all(self.holds(descriptor, piece) for piece in pieces if len(piece)):
                raise UserError(
                    f"The features that another process described are not in {self.folder}: the cache must lie where "
                    "every machine reads it. Set SSL_CE_CACHE to such a folder on all of them."
                )
            found = [self.features(descriptor, piece) for piece in pieces if len(piece)]
            with atomic_write(self._path(descriptor, images)) as temporary:
                shape = (len(images), found[0].shape[1])
                array = _new_array(temporary, shape)
                np.concatenate(found, out=array)
                array.flush()
                del array
        for piece in pieces:
            self._path(descriptor, piece).unlink(missing_ok=True)

    def _find(
        self, descriptor: Descriptor, images: ImageSet, hole: Tensor | None = None
    ) -> tuple[Path, int, NDArray[np.int64] | None] | None:
        """The file that holds the features, of how many images, and in which rows; None for all of them."""
        path = self._path(descriptor, images, hole)
        if path.exists():
            return path, len(images), None
        if isinstance(images, Subset) and (found := self._find(descriptor, images.parent, hole)) is not None:
            whole, count, rows = found
            return whole, count, images.rows if rows is None else rows[images.rows]
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
        for folder in self.folder.glob("??"):
            sweep(folder)  # nobody may ever ask again for what a killed process was at
        with ExitStack() as stack:
            arrays = []
            for descriptor, path in zip(descriptors, paths, strict=True):
                temporary = stack.enter_context(atomic_write(path))
                shape = (len(images), descriptor.dim(*images.size))
                arrays.append(_new_array(temporary, shape))
            for start, found in _in_batches(describe, images, self.batch_size):
                for descriptor, array, features in zip(descriptors, arrays, found, strict=True):
                    _check_finite(descriptor, features, images, start)
                    array[start : start + len(features)] = features.numpy()
                if advance is not None:
                    advance(len(found[0]))
            for array in arrays:
                array.flush()
            del arrays, array


def _in_batches(
    describe: Callable[[Tensor], Sequence[Tensor]], images: ImageSet, size: int
) -> Iterator[tuple[int, Sequence[Tensor]]]:
    """(first image, its batch described) for batches of `size` images, of half as many from where memory ran out on."""
    start = 0
    while start < len(images):
        indices = torch.arange(start, min(start + size, len(images)))
        try:
            found = describe(images.read(indices))
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2
        else:
            yield start, found
            start += len(indices)


def _read(path: Path, descriptor: Descriptor, images: ImageSet, count: int) -> NDArray[np.float32]:
    """What is kept in `path`: the features of `count` images of the size of `images`."""
    assert images.size is not None, "features are computed from packed sets"
    wrong = UserError(f"The cached features {path} are damaged. Delete that file and run again.")
    try:
        found: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged file can raise nearly anything inside NumPy
        raise wrong from error
    if found.shape != (count, descriptor.dim(*images.size)) or found.dtype != np.float32:
        raise wrong
    return found


def _check_finite(descriptor: Descriptor, features: Tensor, images: ImageSet, start: int) -> None:
    finite = torch.isfinite(features).all(dim=1)
    if not finite.all():
        first = start + int((~finite).nonzero()[0])
        raise UserError(
            f"The features of '{descriptor.name}' are not finite (NaN or infinite), first for image {first} of "
            f"{images.name} ({images.split}). Its weights or its training are broken; judge another checkpoint."
        )


def _new_array(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float32]]:
    """A float32 array in the file `path`, memory-mapped to be written."""
    array: np.memmap[Any, np.dtype[np.float32]] = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float32, shape=shape
    )
    _reserve(path)
    return array


def _reserve(path: Path) -> None:
    """Take the file's whole length on the disk: a mapped write that finds it full would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
