"""A picture of any size: what is made for one size is given a crop around the hole, and its fill is laid back."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.images import as_holes, as_images
from ssl_ce.inpainters.base import Inpainter

# A crop's side over that of the hole's box: as in training, where a hole is half the side, and a little more.
_AROUND = 2.125
# Pixels of a centre network that a resized hole may grow by: one at each edge, and one where the crop is off by a half.
_GROWN = 3


class Crop(NamedTuple):
    """A square of `side` pixels; parts of it may lie beyond the picture."""

    top: int
    left: int
    side: int


def fill_picture(inpainter: Inpainter, picture: Tensor, hole: Tensor) -> Tensor:
    """Complete one picture: uint8 (3, h, w), bool (1, h, w), True = missing -> uint8 (3, h, w).

    Classical inpainters work on the whole picture. A network, or a search among training images, has one size: it is
    given the square around the hole, resized, and what it fills is resized back (antialiased bicubic). The context
    comes back bit for bit.

    Raises
    ------
    UserError
        If nothing is missing, or everything is; if a centre network is given a hole at the picture's border.
    """
    images = as_images(picture[None])
    holes = as_holes(hole[None], images)
    check_hole(inpainter, hole)
    size, reach = getattr(inpainter, "size", None), _reach(inpainter)
    if size is None or (images.shape[2:] == (size, size) and _is_central(hole[0], reach)):
        return inpainter.fill(images.masked_fill(holes, 0), holes)[0]
    crop = crop_around(hole[0], int(size), reach)
    square = _resized(_cut(images.masked_fill(holes, 0).float(), crop), int(size))
    filled = inpainter.fill(square, _hole_at(_cut(holes.float(), crop), int(size)))
    whole = _laid_back(_resized(filled.float(), crop.side), crop, picture.shape[1], picture.shape[2])
    return torch.where(hole, whole[0], picture)


def check_hole(inpainter: Inpainter, hole: Tensor) -> None:
    """Raise `UserError` if `hole`, bool (1, h, w), leaves nothing to fill or nothing to fill it from.

    A centre network fills it from known pixels on every side.
    """
    missing = int(hole.sum())
    if missing == 0:
        raise UserError("Nothing is missing: the hole is empty. White or transparent pixels are what is filled.")
    if missing == hole.numel():
        raise UserError("Everything is missing: the hole is the whole picture, and there is nothing to fill it from.")
    border = torch.cat([hole[0, [0, -1]].flatten(), hole[0, :, [0, -1]].flatten()])
    if _reach(inpainter) < 1.0 and bool(border.any()):
        raise UserError(
            f"The hole touches the border of the picture, and '{inpainter.name}' needs known pixels on every side of "
            "it. Use telea, nearest:hog, or a run whose recipe has decoder.output: image."
        )


def crop_around(hole: Tensor, size: int, reach: float = 1.0) -> Crop:
    """The square that an inpainter of `size` pixels is given for `hole`, bool (h, w).

    Its side is a little more than twice the hole's box, and at least `size` where the picture has it, so that nothing
    is enlarged without need. It stays within the picture if it can; for a network that fills the central `reach` of
    the side only, the hole is in its centre and within that share, and the square may reach beyond the picture.
    """
    height, width = hole.shape
    rows, columns = torch.nonzero(hole.any(1)).flatten(), torch.nonzero(hole.any(0)).flatten()
    box = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    side = max(round(_AROUND * box), min(size, height, width))
    if reach < 1.0:
        side = max(side, math.ceil(box * size / max(round(reach * size) - _GROWN, 1)))
    centre = (int(rows[0] + rows[-1] + 1) // 2, int(columns[0] + columns[-1] + 1) // 2)
    top, left = (place - side // 2 for place in centre)
    if reach >= 1.0:
        side = min(side, max(height, width))
        top, left = (
            min(max(place - side // 2, 0), max(length - side, 0)) if side <= length else (length - side) // 2
            for place, length in zip(centre, (height, width), strict=True)
        )
    return Crop(top, left, side)


def _reach(inpainter: Inpainter) -> float:
    """The central share of the side within which it fills holes: below 1 for a centre network."""
    return float(getattr(inpainter, "reach", 1.0))


def _is_central(hole: Tensor, reach: float) -> bool:
    """Whether `hole`, bool (side, side), lies within the central `reach` of the side."""
    side = round(reach * len(hole))
    margin = (len(hole) - side) // 2
    return torch.equal(hole[margin : margin + side, margin : margin + side].sum(), hole.sum())


def _cut(values: Tensor, crop: Crop) -> Tensor:
    """(1, c, h, w) -> (1, c, side, side); beyond the picture its border goes on."""
    rows = torch.arange(crop.top, crop.top + crop.side).clamp(0, values.shape[2] - 1)
    columns = torch.arange(crop.left, crop.left + crop.side).clamp(0, values.shape[3] - 1)
    return values[:, :, rows][..., columns]


def _resized(values: Tensor, side: int) -> Tensor:
    """Float (1, 3, h, w) in [0, 255] -> uint8 (1, 3, side, side)."""
    if values.shape[2:] != (side, side):
        values = F.interpolate(values, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return values.round().clamp(0, 255).to(torch.uint8)


def _hole_at(missing: Tensor, side: int) -> Tensor:
    """(1, 1, s, s) of 0 and 1 -> bool (1, 1, side, side): missing wherever anything that is missing comes to lie."""
    if missing.shape[2] >= side:
        return F.adaptive_max_pool2d(missing, (side, side)) > 0.5
    return F.interpolate(missing, (side, side), mode="nearest") > 0.5


def _laid_back(square: Tensor, crop: Crop, height: int, width: int) -> Tensor:
    """uint8 (1, 3, side, side) at its place in zeros (1, 3, height, width)."""
    canvas = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    top, left = max(crop.top, 0), max(crop.left, 0)
    bottom, right = min(crop.top + crop.side, height), min(crop.left + crop.side, width)
    canvas[:, :, top:bottom, left:right] = square[
        :, :, top - crop.top : bottom - crop.top, left - crop.left : right - crop.left
    ]
    return canvas
