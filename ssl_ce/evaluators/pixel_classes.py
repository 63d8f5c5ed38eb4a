"""Which classes the label maps of a train and a test set show, and the numbers that stand for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.labels import UNLABELLED, LabelMaps
from ssl_ce.data.packing import label_maps_of
from ssl_ce.errors import UserError
from ssl_ce.files import digest

_NUMBERS = 256
_READ = 64


@dataclass(frozen=True)
class Classes:
    """The classes of a pair of image sets: the numbers that stand for them in maps, and their names.

    Attributes
    ----------
    pixels
        How many train pixels each has.
    hashes
        Of all maps of train and of test.
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    pixels: tuple[int, ...]
    hashes: tuple[str, str]

    def of(self, maps: Tensor) -> Tensor:
        """uint8 maps (n, h, w) -> int64 (n, h, w): the classes' places, `UNLABELLED` where there is none."""
        table = torch.full((_NUMBERS,), UNLABELLED, dtype=torch.int64)
        table[list(self.numbers)] = torch.arange(len(self.numbers))
        return table[maps.long()]


def find_classes(train: ImageSet, test: ImageSet) -> Classes:
    """The classes that the maps' own names say, or else those that train has. All maps are read.

    Raises
    ------
    UserError
        If there are fewer than two in train, if a map holds a number without a name, or test a class that train lacks.
    """
    names = maps_of(train).classes
    (in_train, train_hash), (in_test, test_hash) = (_census(maps_of(images)) for images in (train, test))
    found = [int(number) for number in np.flatnonzero(in_train[:UNLABELLED])]
    if len(found) < 2:
        raise UserError(f"The label maps of {train.name} ({train.split}) show {len(found)} class, and two are needed.")
    for images, census in ((train, in_train), (test, in_test)):
        for number in np.flatnonzero(census[:UNLABELLED]).tolist():
            if number not in (names or found):
                lacks = "that has no name in classes.json" if names else f"that no map of {train.split} holds"
                raise UserError(
                    f"The label maps of {images.name} ({images.split}) hold the class {number}, {lacks}. Name it, or "
                    f"write {UNLABELLED} where there is no class."
                )
    numbers = tuple(sorted(names)) if names else tuple(found)
    return Classes(
        numbers,
        tuple(names.get(number, str(number)) for number in numbers),
        tuple(int(in_train[number]) for number in numbers),
        (train_hash, test_hash),
    )


def maps_of(images: ImageSet) -> LabelMaps:
    """The label maps of the images. Raises `UserError` if there are none."""
    maps = label_maps_of(images)
    if maps is None or not maps.are_numbers():
        raise UserError(
            f"{images.name} ({images.split}) has no label maps. Put them beside the images: images/1.jpg with "
            "masks/1.png, one number for each pixel."
        )
    return maps


def _census(maps: LabelMaps) -> tuple[NDArray[np.int64], str]:
    """How many pixels have each number, int64 (256,), and a hash of all maps."""
    counts, hashes = np.zeros(_NUMBERS, dtype=np.int64), []
    for rows in torch.split(torch.arange(len(maps)), _READ):
        values = maps.read(rows).numpy()
        counts += np.bincount(values.ravel(), minlength=_NUMBERS)
        hashes.append(digest(values.tobytes()))
    return counts, digest(*hashes)
