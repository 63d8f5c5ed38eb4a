"""Boxes: where objects are in a photograph, read from Pascal VOC's XML beside it and aligned with the packed image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.decode import Unreadable, fit_boxes, native_size
from ssl_ce.data.options import Fit
from ssl_ce.data.source import FilesBeside
from ssl_ce.errors import UserError, unknown

# A box of which less than this share of the area is left in the square is difficult.
_LEAST_SHARE = 0.25
_MOST_BYTES = 1 << 20
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class ImageBoxes(NamedTuple):
    """The objects of one packed image.

    Attributes
    ----------
    boxes
        Left, top, right and bottom in packed pixels, within the square: float32 (k, 4).
    labels
        Class numbers: int64 (k,).
    difficult
        Those that are neither to be found nor to be missed, marked as difficult or mostly cut off: bool (k,).
    dropped
        Number of objects of which less than a pixel is left in the square.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    dropped: int


class _Objects(NamedTuple):
    """What an annotation says: names, boxes float64 (k, 4) from 0 in native pixels, marks, and (height, width)."""

    names: list[str]
    boxes: NDArray[np.float64]
    difficult: NDArray[np.bool_]
    size: tuple[int, int] | None


class Boxes:
    """The boxes of an image set, read when needed.

    VOC counts pixels from 1 and a box's corners are pixels within it: (1, 1, 10, 10) is the first ten by ten.

    Parameters
    ----------
    images
        The image files, in the order of the packed set.
    annotations
        Their XML files.
    size, fit
        How the images were packed.
    """

    def __init__(self, images: Sequence[Path | str], annotations: FilesBeside, size: int, fit: Fit) -> None:
        self._images = images
        self._annotations = annotations
        self._size = size
        self._fit: Fit = fit

    def __len__(self) -> int:
        return len(self._annotations.names)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the objects' classes, sorted. All files are read. Raises `UserError` like `read`."""
        return tuple(sorted({name for row in range(len(self)) for name in self._objects(row).names}))

    def part(self, indices: Sequence[int] | NDArray[np.int64]) -> Boxes:
        """Those of the images at `indices`, in that order."""
        images = [self._images[i] for i in indices]
        return Boxes(images, self._annotations.part(indices), self._size, self._fit)

    def read(
        self, indices: Sequence[int] | NDArray[np.int64] | Tensor, classes: Sequence[str] | None = None
    ) -> list[ImageBoxes]:
        """The objects of the images at `indices`. Labels are places in `classes`, by default the set's own.

        Boxes are cut at the square's border. One of which less than a quarter of the area is left is difficult; one of
        which less than a pixel is left across or down is dropped.

        Raises
        ------
        UserError
            If an image has no annotation, or its annotation cannot be read, is for an image of another size, has a box
            without area, or names a class that is none of `classes`.
        """
        known = {name: number for number, name in enumerate(self.classes if classes is None else classes)}
        return [self._one(int(row), known) for row in indices]

    def _one(self, row: int, known: dict[str, int]) -> ImageBoxes:
        path, image = self._path(row), self._images[row]
        found = self._objects(row)
        try:
            native = native_size(image)
        except Unreadable as error:
            raise UserError(f"{image} cannot be read: {error}.") from error
        if found.size not in (None, native):
            height, width = found.size or native
            raise UserError(
                f"The annotation {path} is of an image of {width} x {height} pixels; {image} is {native[1]} x "
                f"{native[0]}. Annotate the image as it is."
            )
        for name in found.names:
            if name not in known:
                raise UserError(f"In the annotation {path}: {unknown('class', name, known)}")
        whole = fit_boxes(found.boxes, native, self._size, self._fit)
        cut = whole.clip(0, self._size)
        kept = (cut[:, 2:] - cut[:, :2] >= 1.0).all(axis=1)
        return ImageBoxes(
            boxes=cut[kept].astype(np.float32),
            labels=np.array([known[name] for name in found.names], dtype=np.int64)[kept],
            difficult=(found.difficult | (_areas(cut) < _LEAST_SHARE * _areas(whole)))[kept],
            dropped=int((~kept).sum()),
        )

    def _objects(self, row: int) -> _Objects:
        path = self._path(row)
        root = read_annotation(path)
        try:
            return _objects(root)
        except Unreadable as error:
            raise _useless(path, error) from error

    def _path(self, row: int) -> Path:
        name = self._annotations.names[row]
        if name is None:
            raise UserError(
                f"{self._images[row]} has no annotation in {self._annotations.folder}. Write one, without objects if "
                "it shows none, or remove the image."
            )
        return self._annotations.folder / name


def read_annotation(path: Path) -> ElementTree.Element:
    """The root of an XML file in Pascal VOC's form. No entity is ever expanded: a document type is refused.

    Raises
    ------
    UserError
        If it cannot be read, is larger than a megabyte, is not XML, or declares a document type.
    """
    parser = ElementTree.XMLParser(target=_Untyped())
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise Unreadable("it is larger than a megabyte")
        parser.feed(text)
        root: ElementTree.Element = parser.close()
    except OSError as error:
        raise _useless(path, error.strerror) from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter two of its encoding
        raise _useless(path, f"it is not XML ({error})") from error
    except Unreadable as error:
        raise _useless(path, error) from error
    return root


def _useless(path: Path, reason: object) -> UserError:
    return UserError(f"The annotation {path} cannot be used: {reason}. Mend it, or remove its image.")


class _Untyped(ElementTree.TreeBuilder):
    """Builds a tree of what declares no document type, and thus no entities."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise Unreadable("it declares a document type, which is not read")


def _objects(root: ElementTree.Element) -> _Objects:
    things = root.findall("object")
    names = [_text(thing, "name") for thing in things]
    boxes = np.array([[_number(thing, f"bndbox/{side}") for side in _CORNERS] for thing in things]).reshape(-1, 4)
    boxes[:, :2] -= 1.0
    for name, box in zip(names, boxes, strict=True):
        if not (box[:2] < box[2:]).all():
            raise Unreadable(f"the box of '{name}' has no area")
    difficult = np.array([thing.findtext("difficult", "0").strip() == "1" for thing in things], dtype=bool)
    size = None
    if root.find("size/width") is not None and root.find("size/height") is not None:
        size = int(_number(root, "size/height")), int(_number(root, "size/width"))
    return _Objects(names, boxes, difficult, size if size and all(size) else None)


def _text(element: Any, path: str) -> str:
    found = element.findtext(path, "").strip()
    if not found:
        raise Unreadable(f"an {element.tag} has no {path}")
    return str(found)


def _number(element: Any, path: str) -> float:
    text = _text(element, path)
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise Unreadable(f"{path} is '{text}', not a number of pixels")
    return number


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    return areas
