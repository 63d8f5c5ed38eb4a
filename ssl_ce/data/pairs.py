"""Files that belong to images: found by the images' names, and made squares as the images are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from ssl_ce.data.decode import Unreadable, fit_map, native_size
from ssl_ce.data.options import Fit
from ssl_ce.errors import UserError


def match_by_name(images: Sequence[Path | str], names: Sequence[str]) -> list[str | None]:
    """For each image the one of `names` that has its name, suffixes aside, or None: "1.png" for "photo/1.jpg".

    Of several the one with which it shares the most folders: "left/1.png", not "right/1.png", for "photo/left/1.jpg".

    Raises
    ------
    UserError
        If that leaves several, or one that is another image's too.
    """
    by_name: dict[str, list[str]] = {}
    for name in names:
        by_name.setdefault(PurePath(name).stem, []).append(name)
    found: list[str | None] = []
    taken: dict[str, Path | str] = {}
    for image in images:
        fitting = by_name.get(PurePath(image).stem, [])
        if len(fitting) > 1:
            shared = [_shared(image, name) for name in fitting]
            fitting = [name for name, count in zip(fitting, shared, strict=True) if count == max(shared)]
        if len(fitting) > 1:
            raise UserError(f"both {fitting[0]} and {fitting[1]} have the name of {image}")
        if fitting and taken.setdefault(fitting[0], image) != image:
            raise UserError(f"{fitting[0]} has the name of both {taken[fitting[0]]} and {image}")
        found.append(fitting[0] if fitting else None)
    return found


def as_packed(
    values: NDArray[np.uint8], path: Path, image: Path | str, size: int, fit: Fit, beyond: int = 0
) -> NDArray[np.uint8]:
    """What lies in `path`, uint8 (h, w), as the square of `size` pixels that `image` was packed as.

    It has the size of the image, or that of the square already. What "pad" adds is `beyond`.

    Raises
    ------
    UserError
        If it has another size, or the image cannot be read.
    """
    if values.shape == (size, size):
        return values
    try:
        height, width = native_size(image)
    except Unreadable as error:
        raise UserError(f"{image} cannot be read: {error}.") from error
    if values.shape != (height, width):
        raise UserError(
            f"{path} is {values.shape[1]} x {values.shape[0]} pixels, and its image {image} is {width} x {height}, "
            f"packed at {size} x {size}. Make it either size."
        )
    return fit_map(values, size, fit, beyond)


def _shared(image: Path | str, name: str) -> int:
    """How many folders, from the innermost, have the same names."""
    pairs = zip(reversed(PurePath(image).parent.parts), reversed(PurePath(name).parent.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
