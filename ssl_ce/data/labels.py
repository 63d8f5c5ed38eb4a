"""Label maps: which class each pixel of a photograph shows, read beside it and aligned with the packed image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.decode import Unreadable, decode_numbers, holds_numbers
from ssl_ce.data.options import Fit
from ssl_ce.data.pairs import as_packed
from ssl_ce.data.source import FilesBeside
from ssl_ce.errors import UserError
from ssl_ce.files import read_json

UNLABELLED = 255
"""The value of a pixel without a class: what has the class "void", what was 255 (VOC), and what `pad` added."""

# Bytes of maps that are kept after they were read.
_KEPT = 1 << 28


class LabelMaps:
    """The label maps of an image set: files with one number for each pixel (grey or palette), read when needed.

    A file `classes.json` in the folder that holds the maps' folder, or one above, may name the numbers:
    {"0": "sky", "11": "void"}, {"0": {"name": "sky"}} or ["sky", ...]. What is called "void" is unlabelled.

    Parameters
    ----------
    images
        The image files, in the order of the packed set.
    maps
        Their maps; an image without one is unlabelled.
    size, fit
        How the images were packed.
    """

    def __init__(self, images: Sequence[Path | str], maps: FilesBeside, size: int, fit: Fit) -> None:
        self._images = images
        self._maps = maps
        self._size = size
        self._fit: Fit = fit
        self._read: dict[str, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self._maps.names)

    @cached_property
    def classes(self) -> Mapping[int, str]:
        """Names of the numbers but "void", the dataset's own or from `classes.json`; empty without."""
        return {number: name for number, name in self._named.items() if not _is_void(name)}

    def part(self, indices: Sequence[int] | NDArray[np.int64]) -> LabelMaps:
        """Those of the images at `indices`, in that order."""
        found = LabelMaps([self._images[i] for i in indices], self._maps.part(indices), self._size, self._fit)
        found._read = self._read
        return found

    def are_numbers(self) -> bool:
        """Whether the first map holds numbers, as its header tells: colour pictures are no label maps."""
        first = next((name for name in self._maps.names if name is not None), None)
        try:
            return first is not None and holds_numbers(self._maps.folder / first)
        except Unreadable:
            return False

    def read(self, indices: Sequence[int] | NDArray[np.int64] | Tensor) -> Tensor:
        """Class numbers as uint8 (n, size, size), `UNLABELLED` where there is no class.

        Each map becomes a square as its image did, by nearest neighbour.

        Raises
        ------
        UserError
            If a map cannot be read, holds colours or numbers above 255, or has neither its image's size nor `size`; if
            `classes.json` cannot be understood.
        """
        rows = [int(i) for i in indices]
        found = np.full((len(rows), self._size, self._size), UNLABELLED, dtype=np.uint8)
        for place, row in enumerate(rows):
            name = self._maps.names[row]
            if name is not None:
                found[place] = self._one(name, self._images[row])
        return torch.from_numpy(found)

    def _one(self, name: str, image: Path | str) -> NDArray[np.uint8]:
        if name in self._read:
            return self._read[name]
        path = self._maps.folder / name
        values = as_packed(_read_numbers(path), path, image, self._size, self._fit, UNLABELLED)
        void = [number for number, called in self._named.items() if _is_void(called)]
        values = np.where(np.isin(values, void), np.uint8(UNLABELLED), values)
        if (len(self._read) + 1) * values.nbytes <= _KEPT:
            self._read[name] = values
        return values

    @cached_property
    def _named(self) -> dict[int, str]:
        if self._maps.classes:
            return dict(self._maps.classes)
        for folder in (self._maps.folder.parent, self._maps.folder.parent.parent):
            if (path := folder / "classes.json").is_file():
                return _read_classes(path)
        return {}


def _read_numbers(path: Path) -> NDArray[np.uint8]:
    try:
        values = decode_numbers(path)
    except Unreadable as error:
        raise UserError(f"The label map {path} cannot be read: {error}. Write class numbers, as PNG.") from error
    for number in (values.min(), values.max()):
        if not 0 <= number <= UNLABELLED:
            raise UserError(
                f"The label map {path} holds the number {number}; classes are numbered from 0 to {UNLABELLED - 1}."
            )
    return values.astype(np.uint8)


def _read_classes(path: Path) -> dict[int, str]:
    wrong = UserError(f'{path} does not name classes: write {{"0": "sky", "1": "road"}}, for example.')
    try:
        found: Any = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    pairs = dict(enumerate(found)) if isinstance(found, list) else found
    if not isinstance(pairs, dict):
        raise wrong
    names: dict[int, str] = {}
    for number, value in pairs.items():
        name = value.get("name") if isinstance(value, dict) else value
        if not str(number).isdecimal() or not isinstance(name, str):
            raise wrong
        names[int(number)] = name
    return names


def _is_void(name: str) -> bool:
    return name.casefold() == "void"
