"""Packed sets: images decoded once to uint8 at a fixed size, in one file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.boxes import Boxes
from ssl_ce.data.imageset import ImageSet, Indices, Task
from ssl_ce.data.labels import LabelMaps
from ssl_ce.data.packfile import PIXELS_AT, Metadata, verify
from ssl_ce.data.rows import Rows
from ssl_ce.data.source import Files, Source, part_of
from ssl_ce.errors import UserError
from ssl_ce.files import digest
from ssl_ce.randomness import sample_order


class PackedImages:
    """An image set in a packed file (the `ImageSet` contract). Pixels stay on disk until they are read.

    Open one with `PackedImages.open(path)`, or `ssl_ce.data.open_set`, which packs what is not packed yet.

    Attributes
    ----------
    path, metadata
        The file, and what it says about itself: geometry, unreadable images, ...
    unreadable
        Number of images of the source that could not be read and are not here.
    files
        The file of each image, in order; None where it is not known: a packed file that was opened directly, images
        that were no files.
    label_maps
        The classes of the images' pixels; None where there are no maps beside the files.
    boxes
        Where objects are in the images; None where there are no annotations beside the files.
    """

    def __init__(self, path: Path, metadata: Metadata, source: Source | None = None) -> None:
        self.path = path
        self.metadata = metadata
        self.name = metadata.name
        self.split = metadata.split
        self.task: Task = metadata.task
        self.classes = metadata.classes
        self.fingerprint = metadata.fingerprint
        self.size: tuple[int, int] | None = (metadata.size, metadata.size)
        self.source: dict[str, Any] = dict(metadata.source)
        self.unreadable = metadata.unreadable_count
        self._pixels = Rows(path, PIXELS_AT, (3, metadata.size, metadata.size))
        self._targets = _read_targets(path, metadata)
        self.files: Sequence[Path | str] | None = None
        self.label_maps: LabelMaps | None = None
        self.boxes: Boxes | None = None
        if source is not None and (kept := metadata.kept) is not None and len(source) == metadata.total:
            self.files = _files(source if len(kept) == len(source) else source.part(kept))
            if self.files is not None and source.maps is not None:
                self.label_maps = LabelMaps(self.files, source.maps.part(kept), metadata.size, metadata.fit)
            if self.files is not None and source.annotations is not None:
                self.boxes = Boxes(self.files, source.annotations.part(kept), metadata.size, metadata.fit)

    @classmethod
    def open(cls, path: Path, source: Source | None = None) -> PackedImages:
        """The packed set in `path`, verified, and what `source`, the listing that it was packed from, knows of files.

        Raises `UserError` if it is cut off, altered or none.
        """
        return cls(path, verify(path), source)

    def __len__(self) -> int:
        return self.metadata.n

    def read(self, indices: Indices) -> Tensor:
        """Images as uint8 (n, 3, size, size), on the CPU.

        Raises `IndexError` beyond the set, and `DataLostError` if the file is not what it was any more.
        """
        return torch.from_numpy(self._pixels.read(rows_of(indices, len(self))))

    def read_one(self, index: int) -> Tensor:
        """One image at the size it is packed in: uint8 (3, size, size)."""
        return self.read([index])[0]

    def targets(self, indices: Indices | None = None) -> NDArray[np.int64]:
        """Targets of `indices` (all when None): int64 (n,) classes, (n, classes) multilabel, (n, 0) none."""
        chosen = self._targets if indices is None else self._targets[rows_of(indices, len(self))]
        return chosen.astype(np.int64)

    def subset(self, indices: Indices, split: str) -> Subset:
        """The images at `indices`, in that order, as an image set of their own that is called `split`."""
        return Subset(self, indices, split)


class Subset:
    """A part of an image set, in an order of its own, as an image set: held-out train images, for example."""

    def __init__(self, parent: ImageSet, indices: Indices, split: str) -> None:
        self.parent = parent
        self.rows = rows_of(indices, len(parent))
        self.name = parent.name
        self.split = split
        self.task: Task = parent.task
        self.classes = parent.classes
        self.fingerprint = digest(parent.fingerprint, self.rows.tobytes())
        self.size = parent.size
        self.source: dict[str, Any] = {**parent.source, "part_of": parent.split}
        files, maps, boxes = files_of(parent), label_maps_of(parent), boxes_of(parent)
        self.files = None if files is None else part_of(files, self.rows)
        self.label_maps = None if maps is None else maps.part(self.rows)
        self.boxes = None if boxes is None else boxes.part(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Indices) -> Tensor:
        """Images as uint8 (n, 3, height, width), on the CPU."""
        return self.parent.read(self.rows[rows_of(indices, len(self))])

    def read_one(self, index: int) -> Tensor:
        """One image: uint8 (3, height, width)."""
        return self.parent.read_one(int(self.rows[rows_of([index], len(self))][0]))

    def targets(self, indices: Indices | None = None) -> NDArray[np.int64]:
        """Targets of `indices` (all when None)."""
        return self.parent.targets(self.rows if indices is None else self.rows[rows_of(indices, len(self))])

    def order(self, seed: int, epoch: int) -> Tensor:
        """See `epoch_order`: as the parent's own order meets the images, where it has one."""
        if getattr(self.parent, "order", None) is None:
            return sample_order(seed, epoch, len(self))
        met = torch.empty(len(self.parent), dtype=torch.int64)
        met[epoch_order(self.parent, seed, epoch)] = torch.arange(len(met))
        return torch.argsort(met[torch.from_numpy(self.rows)], stable=True)

    def enter_epoch(self, seed: int, epoch: int) -> None:
        """See `enter_epoch`: the parent is told."""
        enter_epoch(self.parent, seed, epoch)


def files_of(images: ImageSet) -> Sequence[Path | str] | None:
    """The file of each image, in order; None where it is not known."""
    found: Sequence[Path | str] | None = getattr(images, "files", None)
    return found


def label_maps_of(images: ImageSet) -> LabelMaps | None:
    """The classes of the images' pixels; None where the image set has none."""
    found: LabelMaps | None = getattr(images, "label_maps", None)
    return found


def boxes_of(images: ImageSet) -> Boxes | None:
    """Where objects are in the images; None where the image set does not know."""
    found: Boxes | None = getattr(images, "boxes", None)
    return found


def epoch_order(images: ImageSet, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch takes the images: a permutation, int64 (n,), a function of (seed, epoch) alone.

    A set that reads some orders much faster than others has one of its own: `order(seed, epoch)`.
    """
    own: Callable[[int, int], Tensor] | None = getattr(images, "order", None)
    return sample_order(seed, epoch, len(images)) if own is None else own(seed, epoch)


def enter_epoch(images: ImageSet, seed: int, epoch: int) -> None:
    """Say that the images are read in the `epoch_order` of this epoch from now on.

    A set that fetches ahead of its reader is told which way the reader goes: `enter_epoch(seed, epoch)`.
    """
    own: Callable[[int, int], None] | None = getattr(images, "enter_epoch", None)
    if own is not None:
        own(seed, epoch)


def is_decoded(images: ImageSet) -> bool:
    """Whether the images lie decoded in a packed file, so that all of them are read without decoding any."""
    return is_decoded(images.parent) if isinstance(images, Subset) else isinstance(images, PackedImages)


def rows_of(indices: Indices, count: int) -> NDArray[np.int64]:
    """Row numbers as int64 (n,), each checked to lie in [0, count)."""
    given = indices.cpu().numpy() if isinstance(indices, Tensor) else np.asarray(indices)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise TypeError(f"indices are whole numbers; these are {given.dtype}")
    rows = given.astype(np.int64).reshape(-1)
    if rows.size and (rows.min() < 0 or rows.max() >= count):
        raise IndexError(f"indices must lie in 0 ... {count - 1}; these reach from {rows.min()} to {rows.max()}")
    return rows


def _read_targets(path: Path, metadata: Metadata) -> NDArray[np.int64]:
    """The targets: class numbers, or -1, 0 or 1 for each of several classes. Raises `UserError` for others."""
    shape = metadata.targets_shape
    found = np.fromfile(path, dtype="<i8", count=math.prod(shape), offset=metadata.targets_at).reshape(shape)
    least, most = (0, len(metadata.classes) - 1) if found.ndim == 1 else (-1, 1)
    if found.size and not least <= found.min() <= found.max() <= most:
        raise UserError(f"The packed file {path} was altered: its targets are no classes of its own. Pack again.")
    return found


def _files(source: Source) -> Sequence[Path | str] | None:
    """The images of `source` if they are files."""
    if isinstance(source.images, Files):
        return source.images
    paths = [image for image in source.images if isinstance(image, str | Path)]
    return paths if len(paths) == len(source) else None
