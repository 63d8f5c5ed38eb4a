"""Sheets of pictures: what a grid is put together from, and how a picture is shown on it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ssl_ce.files import atomic_write
from ssl_ce.images import as_holes, as_images

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

LEAST_SIDE = 64
GAP = 4
MARGIN = 12
FRAME = 3
FONT_SIZE = 14
LONGEST_LABEL = 48
# No photograph and no digit is of this colour, so that a hole is never taken for a fill.
MISSING_COLOR = np.array([222, 60, 140], dtype=np.uint8)
TEXT_COLOR = (60, 60, 60)
FRAME_COLOR = (40, 160, 70)


class Sheet:
    """A white sheet that pictures and labels are put on; a margin is added at the right."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width + MARGIN, height), "white")
        self._draw = ImageDraw.Draw(self._image)

    def label(self, text: str, x: int, y: int, anchor: str) -> None:
        """Write `text` at (x, y), which is the point of the text that Pillow's `anchor` names ("la": left, top)."""
        self._draw.text((x, y), text, fill=TEXT_COLOR, font=_font(), anchor=anchor)

    def row(self, pictures: Sequence[Picture], left: int, top: int) -> None:
        """Put pictures of one width side by side, a gap between them."""
        for number, picture in enumerate(pictures):
            self._image.paste(Image.fromarray(picture), (left + number * (picture.shape[1] + GAP), top))

    def save(self, path: Path) -> Path:
        """Write the sheet as a PNG, whole or not at all; returns `path`."""
        with atomic_write(path) as temporary:
            self._image.save(temporary, format="PNG", optimize=True)
        return path


def pictures_of(images: Tensor) -> list[Picture]:
    """Images as uint8 (h, w, 3) arrays, enlarged."""
    return [enlarged(image) for image in as_images(images).cpu().permute(0, 2, 3, 1).numpy()]


def masks_of(holes: Tensor, images: Tensor) -> list[Mask]:
    """The holes of `images` as bool (h, w) arrays, enlarged as they are."""
    return [enlarged(mask) for mask in as_holes(holes, as_images(images))[:, 0].cpu().numpy()]


def reduced(picture: Picture, widest: int) -> Picture:
    """`picture` (h, w, 3) with its longer side brought down to `widest` pixels, if it is longer."""
    scale = widest / max(picture.shape[:2])
    if scale >= 1.0:
        return picture
    shape = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return np.asarray(Image.fromarray(picture).resize(shape, Image.Resampling.BICUBIC))


def enlarged(picture: NDArray[Any]) -> NDArray[Any]:
    """Repeat pixels by the smallest whole factor that makes both sides at least `LEAST_SIDE`."""
    factor = -(-LEAST_SIDE // min(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def without(picture: Picture, missing: Mask) -> Picture:
    """`picture` with a flat colour where it is missing."""
    return np.where(missing[..., None], MISSING_COLOR, picture)


def outlined(picture: Picture, missing: Mask) -> Picture:
    """`picture` with a line along the border of the hole, on the hole's side."""
    around = np.pad(missing, 1)
    inside = missing & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return without(picture, missing & ~inside)


def length(count: int, side: int, gap: int = GAP) -> int:
    """What `count` pictures of `side` pixels take, with gaps between them."""
    return count * side + (count - 1) * gap


def shortened(name: str) -> str:
    """A subject's name, or the end of it where it is too long for a picture."""
    return name if len(name) <= LONGEST_LABEL else "…" + name[1 - LONGEST_LABEL :]


def wrapped(text: str, width: int, most: int = 3) -> list[str]:
    """`text` in at most `most` lines, broken after "&", "?", ":", "/" or a space, each at most `width` pixels wide.

    Where that cannot be, the lines are as much wider as they must be.
    """
    parts = re.findall(r"[^&?:/ ]+[&?:/ ]*|[&?:/ ]+", text)
    while True:
        lines = [""]
        for part in parts:
            if lines[-1] and text_width((lines[-1] + part).rstrip()) > width:
                lines.append("")
            lines[-1] += part
        if len(lines) <= most:
            return [line.rstrip() for line in lines]
        width += FONT_SIZE


def framed(picture: Picture, color: tuple[int, int, int] | None) -> Picture:
    """`picture` with `FRAME` pixels of a colour around it; white for None, so that it is as large as framed ones."""
    height, width = picture.shape[:2]
    around = np.full((height + 2 * FRAME, width + 2 * FRAME, 3), color or 255, dtype=np.uint8)
    around[FRAME:-FRAME, FRAME:-FRAME] = picture
    return around


def text_width(text: str) -> int:
    """The pixels that a label takes."""
    return math.ceil(_font().getlength(text))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=FONT_SIZE)
