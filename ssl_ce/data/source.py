"""What is packed: a `Source` lists the undecoded images of one split, a `Dataset` names its splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_ce.files import digest, digest_each

if TYPE_CHECKING:
    from ssl_ce.data.imageset import Task
    from ssl_ce.data.options import DataOptions

_Image = TypeVar("_Image")
RawImage = Path | str | NDArray[np.uint8] | Image.Image


@dataclass(frozen=True)
class Source:
    """An ordered list of images of one split, not decoded yet, with their targets.

    Attributes
    ----------
    name, split, task, classes
        As an image set has them (`ssl_ce.data.imageset.ImageSet`).
    images
        Each a file's path, or an image in memory: uint8 (h, w) or (h, w, 3), or one of Pillow's.
    targets
        int64 (n,) class numbers for "classes"; (n, classes) for "multilabel", 1 = there, 0 = not, -1 = there
        but marked as difficult, not to be scored (VOC); None for "none".
    origin
        What decided which images these are: {"split_seed": 0, "test_share": 0.2}, {"folder": "val"}, or
        {"where": "Mustache"}.
    ignored
        Files beside the images that are not images.
    maps
        Files beside the images that say of each pixel what it shows, where there are some.
    annotations
        Files beside the images that say which objects they show, and where, where there are some.
    """

    name: str
    split: str
    images: Sequence[RawImage]
    task: Task = "none"
    classes: tuple[str, ...] = ()
    targets: NDArray[np.int64] | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    ignored: int = 0
    maps: FilesBeside | None = None
    annotations: FilesBeside | None = None

    def __len__(self) -> int:
        return len(self.images)

    def part(self, indices: Sequence[int] | NDArray[np.int64], **origin: Any) -> Source:
        """The images at `indices`, in that order; `origin` tells what decided that it is these."""
        return replace(
            self,
            images=part_of(self.images, indices),
            targets=None if self.targets is None else self.targets[np.asarray(indices, dtype=np.int64)],
            maps=None if self.maps is None else self.maps.part(indices),
            annotations=None if self.annotations is None else self.annotations.part(indices),
            origin={**self.origin, **origin},
        )

    def label(self, index: int) -> str:
        """What the image is called in messages: its path, or its number."""
        image = self.images[index]
        return str(image) if isinstance(image, str | Path) else f"image {index} of {self.name}, {self.split}"

    def identity(self, indices: Sequence[int] | None = None) -> str:
        """A hash that changes when an image, its place or its target does, without decoding anything.

        Files count by path, size and times: a write changes the inode's time even where the other two stay. With
        `indices` it is that of the images there, in that order.
        """
        targets = b""
        if self.targets is not None:
            targets = (self.targets if indices is None else self.targets[np.asarray(indices, np.int64)]).tobytes()
        head: tuple[bytes | str, ...] = (self.name, self.split, self.task, *self.classes, targets)
        images = self.images if indices is None else (self.images[index] for index in indices)
        return digest_each(chain(head, map(_stamp, images)))


@dataclass(frozen=True)
class FilesBeside:
    """Files below one folder, one for each image, or None for an image that has none.

    Attributes
    ----------
    classes
        Names of the numbers in maps, where the dataset has names of its own.
    """

    folder: Path
    names: Sequence[str | None]
    classes: Mapping[int, str] = field(default_factory=dict)

    def part(self, indices: Sequence[int] | NDArray[np.int64]) -> FilesBeside:
        """Those of the images at `indices`, in that order."""
        return FilesBeside(self.folder, [self.names[i] for i in indices], self.classes)


@dataclass(frozen=True)
class Dataset:
    """What a reference leads to: the splits it has, and how to list the images of one.

    Attributes
    ----------
    splits
        Their names in order, "train" first.
    read
        Called as `read(split, options)` with one of `splits`. Raises `UserError` if the files are not there.
    size
        Side of packed images unless another is asked for.
    """

    splits: tuple[str, ...]
    read: Callable[[str, DataOptions], Source]
    size: int = 128


class Files(Sequence[Path]):
    """Paths below one folder, kept as short strings: a million of them take little memory."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Files: ...
    def __getitem__(self, index: int | slice) -> Path | Files:
        if isinstance(index, slice):
            return Files(self.folder, self.names[index])
        return self.folder / self.names[index]

    def part(self, indices: Sequence[int] | NDArray[np.int64]) -> Files:
        """The paths at `indices`, in that order."""
        return Files(self.folder, [self.names[i] for i in indices])


def part_of(images: Sequence[_Image], indices: Sequence[int] | NDArray[np.int64]) -> Sequence[_Image]:
    """The images at `indices`, in that order."""
    part = images.part(indices) if isinstance(images, Files) else [images[i] for i in indices]
    return cast("Sequence[_Image]", part)


def _stamp(image: RawImage) -> str:
    if isinstance(image, str | Path):
        try:
            status = Path(image).stat()
        except OSError:
            return f"{image} missing"
        return f"{image} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    pixels = np.asarray(image)
    return digest(str(pixels.shape), pixels.tobytes())
