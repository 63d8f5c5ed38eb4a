"""Mask images: white is what is missing. Read from files, made squares as the images are, matched by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_ce.data.decode import Unreadable, decode, fit_map, quiet_pillow
from ssl_ce.data.folders import images_below
from ssl_ce.data.options import Fit
from ssl_ce.data.pairs import as_packed, match_by_name
from ssl_ce.data.source import Files
from ssl_ce.errors import UserError

HALF = 128
"""A mask's mean of red, green and blue from which on a pixel is missing; an opacity below which it is."""

_BETWEEN = (64, 192)  # greys that an edge has, and a photograph is full of
_MOST_BETWEEN = 0.5


def read_mask(path: Path) -> NDArray[np.bool_]:
    """The mask image in `path` at its own size: bool (h, w), True = missing.

    `UserError` if it cannot be read, or is no mask: more than half of it is coloured or neither black nor white.
    """
    try:
        values = np.asarray(decode(path))
    except Unreadable as error:
        raise UserError(f"The mask {path} cannot be read: {error}.") from error
    red, green, blue = (values[..., channel].astype(np.uint16) for channel in range(3))
    grey = values.mean(-1)
    between = (grey > _BETWEEN[0]) & (grey < _BETWEEN[1]) | (np.ptp(values, axis=-1) > _BETWEEN[0])
    if between.mean() > _MOST_BETWEEN:
        share = f"{between.mean():.0%}"
        raise UserError(f"{path} is no mask: {share} of it is neither black nor white. White is missing, black known.")
    missing: NDArray[np.bool_] = red + green + blue >= 3 * HALF
    return missing


def read_masks(
    paths: Sequence[Path], size: int, fit: Fit, images: Sequence[Path | str] | None = None
) -> Iterator[NDArray[np.bool_]]:
    """Masks as squares, by nearest neighbour, in order: bool (size, size), True = missing. What "pad" adds is not.

    Parameters
    ----------
    images
        The image that each mask belongs to: the mask must have its size, or that of the square. None: any size.

    Raises
    ------
    UserError
        If a mask cannot be read, does not have its image's size, or leaves nothing or everything missing.
    """

    def one(place: int) -> NDArray[np.bool_]:
        path = paths[place]
        mask = read_mask(path).astype(np.uint8)
        square = fit_map(mask, size, fit) if images is None else as_packed(mask, path, images[place], size, fit)
        _check(square, mask, path, size, fit)
        return square.astype(bool)

    with quiet_pillow(), ThreadPoolExecutor(os.cpu_count() or 1, "masks") as pool:
        yield from pool.map(one, range(len(paths)))


def list_masks(path: Path) -> Files:
    """The mask image `path`, or all in the folder `path` at any depth, sorted. `UserError` if there are none."""
    if not path.is_dir():
        return Files(path.parent, [path.name])
    found = images_below(path)
    if len(found) == 0:
        raise UserError(f"No mask images in {path}: it should hold PNG files, white where something is missing.")
    return found


def masks_by_name(masks: Files, images: Sequence[Path | str]) -> list[Path | None]:
    """For each image the mask of its name (`match_by_name`), or None.

    Raises
    ------
    UserError
        If names are not unique.
    """
    try:
        return [None if name is None else masks.folder / name for name in match_by_name(images, masks.names)]
    except UserError as error:
        raise UserError(f"The masks in {masks.folder} cannot be told apart by name: {error}.") from error


def _check(square: NDArray[np.uint8], mask: NDArray[np.uint8], path: Path, size: int, fit: Fit) -> None:
    for value, what in ((0, "nothing"), (1, "everything")):
        if (square == value).all():
            height, width = mask.shape
            then = "" if (mask == value).all() else f" once it is {size} x {size} ({fit}, from {width} x {height})"
            raise UserError(f"The mask {path} leaves {what} missing{then}. White is missing: mend or remove it.")
