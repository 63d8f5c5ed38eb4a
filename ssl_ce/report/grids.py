"""Picture grids: holes, fills and truth of inpainters; contexts and their nearest ones for descriptors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
FONT_SIZE = 14
LONGEST_LABEL = 36
# No photograph and no digit is of this colour, so that a hole is never taken for a fill.
MISSING_COLOR = np.array([222, 60, 140], dtype=np.uint8)
TEXT_COLOR = (60, 60, 60)


def inpainting_grid(path: Path, truth: Tensor, holes: Tensor, fills: Mapping[str, Tensor]) -> Path:
    """Write a PNG with a column for each image: the holes, each inpainter's fills, and the truth.

    Parameters
    ----------
    path
        The PNG to write, whole or not at all.
    truth
        The images: uint8 (n, 3, h, w). Shown at least 64 pixels wide and high, enlarged by whole factors.
    holes
        bool (n, 1, h, w) or (1, 1, h, w), True = missing, shown in one flat colour.
    fills
        {inpainter's name: its completed images, uint8 (n, 3, h, w)}, in the order of the rows.

    Raises
    ------
    UserError
        If a tensor is not of the shape and type above, or `path` cannot be written.
    """
    originals, masks = _pictures(truth), _masks(holes, truth)
    rows = {"holes": [_without(picture, mask) for picture, mask in zip(originals, masks, strict=True)]}
    rows |= {_label(name): _pictures(images) for name, images in fills.items()}
    rows["truth"] = originals

    height, width = originals[0].shape[:2]
    left = MARGIN + max(_text_width(label) for label in rows) + MARGIN
    sheet = _Sheet(left + _length(len(originals), width), 2 * MARGIN + _length(len(rows), height))
    for number, (label, pictures) in enumerate(rows.items()):
        top = MARGIN + number * (height + GAP)
        sheet.label(label, left - MARGIN, top + height // 2, anchor="rm")
        sheet.row(pictures, left, top)
    return sheet.save(path)


def fills_grid(path: Path, truth: Tensor, holes: Tensor, filled: Tensor) -> None:
    """Write an `inpainting_grid` of one inpainter, the method in training: what the loop draws as samples."""
    inpainting_grid(path, truth, holes, {"fills": filled})


def retrieval_grid(path: Path, queries: Tensor, holes: Tensor, rows: Mapping[str, Tensor]) -> Path:
    """Write a PNG with a block for each query: its context at the left, and a row of neighbours a descriptor.

    Parameters
    ----------
    path
        The PNG to write, whole or not at all.
    queries
        The query images: uint8 (n, 3, h, w). Shown without what is under their holes.
    holes
        bool (n, 1, h, w) or (1, 1, h, w), True = missing; outlined on the neighbours.
    rows
        {descriptor's name: its nearest contexts, nearest first, whole images, uint8 (n, k, 3, h, w)}.

    Raises
    ------
    UserError
        If a tensor is not of the shape and type above, or `path` cannot be written.
    """
    masks = _masks(holes, queries)
    contexts = [_without(picture, mask) for picture, mask in zip(_pictures(queries), masks, strict=True)]
    neighbours = {
        _label(name): [
            [_outlined(picture, mask) for picture in _pictures(nearest)]
            for nearest, mask in zip(images, masks, strict=True)
        ]
        for name, images in rows.items()
    }
    height, width = contexts[0].shape[:2]
    head = FONT_SIZE + 2 * GAP
    names_end = MARGIN + width + MARGIN + max(_text_width(label) for label in neighbours)
    left, block = names_end + MARGIN, _length(len(rows), height)
    widest = max(len(nearest) for per_query in neighbours.values() for nearest in per_query)
    sheet = _Sheet(
        left + max(_length(widest, width), _text_width("nearest contexts") + MARGIN),
        MARGIN + head + _length(len(contexts), block, 3 * GAP) + MARGIN,
    )
    sheet.label("context", MARGIN + width // 2, MARGIN, anchor="ma")
    sheet.label("nearest contexts", left, MARGIN, anchor="la")
    for query, context in enumerate(contexts):
        top = MARGIN + head + query * (block + 3 * GAP)
        sheet.row([context], MARGIN, top + (block - height) // 2)
        for number, (label, per_query) in enumerate(neighbours.items()):
            row_top = top + number * (height + GAP)
            sheet.label(label, names_end, row_top + height // 2, anchor="rm")
            sheet.row(per_query[query], left, row_top)
    return sheet.save(path)


def fills_strip(path: Path, pictures: Mapping[str, Tensor], widest: int = 384) -> Path:
    """Write a PNG with pictures of any one size side by side, each under its label, reduced to `widest` pixels.

    `pictures` is {label: uint8 (3, h, w)}, in order.
    """
    shown = {label: _reduced(picture.permute(1, 2, 0).numpy(), widest) for label, picture in pictures.items()}
    height = max(picture.shape[0] for picture in shown.values())
    widths = [max(picture.shape[1], _text_width(_label(label))) for label, picture in shown.items()]
    head = FONT_SIZE + 2 * GAP
    sheet = _Sheet(MARGIN + sum(widths) + GAP * (len(widths) - 1), 2 * MARGIN + head + height)
    left = MARGIN
    for (label, picture), width in zip(shown.items(), widths, strict=True):
        sheet.label(_label(label), left, MARGIN, anchor="la")
        sheet.row([picture], left, MARGIN + head)
        left += width + GAP
    return sheet.save(path)


class _Sheet:
    """A white sheet that pictures and labels are put on; a margin is added at the right."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width + MARGIN, height), "white")
        self._draw = ImageDraw.Draw(self._image)

    def label(self, text: str, x: int, y: int, anchor: str) -> None:
        self._draw.text((x, y), text, fill=TEXT_COLOR, font=_font(), anchor=anchor)

    def row(self, pictures: Sequence[Picture], left: int, top: int) -> None:
        for number, picture in enumerate(pictures):
            self._image.paste(Image.fromarray(picture), (left + number * (picture.shape[1] + GAP), top))

    def save(self, path: Path) -> Path:
        with atomic_write(path) as temporary:
            self._image.save(temporary, format="PNG", optimize=True)
        return path


def _pictures(images: Tensor) -> list[Picture]:
    """Images as uint8 (h, w, 3) arrays, enlarged."""
    return [_enlarge(image) for image in as_images(images).cpu().permute(0, 2, 3, 1).numpy()]


def _masks(holes: Tensor, images: Tensor) -> list[Mask]:
    return [_enlarge(mask) for mask in as_holes(holes, as_images(images))[:, 0].cpu().numpy()]


def _reduced(picture: Picture, widest: int) -> Picture:
    """`picture` (h, w, 3) with its longer side brought down to `widest` pixels, if it is longer."""
    scale = widest / max(picture.shape[:2])
    if scale >= 1.0:
        return picture
    shape = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return np.asarray(Image.fromarray(picture).resize(shape, Image.Resampling.BICUBIC))


def _enlarge(picture: NDArray[Any]) -> NDArray[Any]:
    """Repeat pixels by the smallest whole factor that makes both sides at least `LEAST_SIDE`."""
    factor = -(-LEAST_SIDE // min(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _without(picture: Picture, missing: Mask) -> Picture:
    return np.where(missing[..., None], MISSING_COLOR, picture)


def _outlined(picture: Picture, missing: Mask) -> Picture:
    """`picture` with a line along the border of the hole, on the hole's side."""
    around = np.pad(missing, 1)
    inside = missing & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return _without(picture, missing & ~inside)


def _length(count: int, side: int, gap: int = GAP) -> int:
    """What `count` pictures of `side` pixels take, with gaps between them."""
    return count * side + (count - 1) * gap


def _label(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else "…" + name[1 - LONGEST_LABEL :]


def _text_width(text: str) -> int:
    return math.ceil(_font().getlength(text))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=FONT_SIZE)
