"""Picture grids: holes, fills and truth of inpainters; contexts and their nearest ones for descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.images import as_holes, as_images
from ssl_ce.report.drawing import (
    FONT_SIZE,
    FRAME_COLOR,
    GAP,
    MARGIN,
    Picture,
    Sheet,
    enlarged,
    framed,
    length,
    masks_of,
    outlined,
    pictures_of,
    reduced,
    shortened,
    text_width,
    without,
    wrapped,
)

MOST_ERROR = 0.5
"""The mean error of a pixel's channels, of values in [0, 1], from which on it is shown in the lightest colour."""

_KNOWN_COLOR = np.array([235, 235, 235], dtype=np.uint8)
_FRAME_MEANS = "green frame: of the query's class"
_BAR = 128
_BEFORE_BAR, _AFTER_BAR = "error: |fill - truth|, mean of the channels:  0 %", f"{100 * MOST_ERROR:.0f} % and more"


@dataclass(frozen=True)
class Block:
    """Completed images beside one another in a `failures_grid`.

    Attributes
    ----------
    truth, fills
        uint8 (n, 3, h, w).
    holes
        bool (n, 1, h, w), True = missing.
    heads
        Two lines to write above each image.
    """

    truth: Tensor
    holes: Tensor
    fills: Tensor
    heads: Sequence[tuple[str, str]]


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
    originals, masks = pictures_of(truth), masks_of(holes, truth)
    rows = {"holes": [without(picture, mask) for picture, mask in zip(originals, masks, strict=True)]}
    rows |= {name: pictures_of(images) for name, images in fills.items()}
    rows["truth"] = originals

    height, width = originals[0].shape[:2]
    left = MARGIN + max(text_width(shortened(name)) for name in rows) + MARGIN
    sheet = Sheet(left + length(len(originals), width), 2 * MARGIN + length(len(rows), height))
    for number, (name, pictures) in enumerate(rows.items()):
        top = MARGIN + number * (height + GAP)
        sheet.label(shortened(name), left - MARGIN, top + height // 2, anchor="rm")
        sheet.row(pictures, left, top)
    return sheet.save(path)


def fills_grid(path: Path, truth: Tensor, holes: Tensor, filled: Tensor) -> None:
    """Write an `inpainting_grid` of one inpainter, the method in training: what the loop draws as samples."""
    inpainting_grid(path, truth, holes, {"fills": filled})


def retrieval_grid(
    path: Path,
    queries: Tensor,
    holes: Tensor,
    rows: Mapping[str, Tensor],
    title: str = "",
    relevant: Mapping[str, NDArray[np.bool_]] | None = None,
) -> Path:
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
    title
        A line above everything.
    relevant
        {descriptor's name: bool (n, k), True = of the query's class}: these neighbours have a green frame, and a line
        below says so. None: there are no classes.

    Raises
    ------
    UserError
        If a tensor is not of the shape and type above, or `path` cannot be written.
    """
    masks = masks_of(holes, queries)
    contexts = [without(picture, mask) for picture, mask in zip(pictures_of(queries), masks, strict=True)]
    neighbours = {
        name: [
            [outlined(picture, mask) for picture in pictures_of(nearest)]
            for nearest, mask in zip(images, masks, strict=True)
        ]
        for name, images in rows.items()
    }
    if relevant is not None:
        contexts = [framed(picture, None) for picture in contexts]
        for name, per_query in neighbours.items():
            for pictures, same in zip(per_query, relevant[name], strict=True):
                pictures[:] = [framed(p, FRAME_COLOR if yes else None) for p, yes in zip(pictures, same, strict=True)]
    height, width = contexts[0].shape[:2]
    line = FONT_SIZE + GAP
    above = MARGIN + (line + GAP if title else 0)
    head = line + GAP
    below = 0 if relevant is None else line + GAP
    names_end = MARGIN + width + MARGIN + max(text_width(shortened(name)) for name in neighbours)
    left, block = names_end + MARGIN, length(len(rows), height)
    widest = max(len(nearest) for per_query in neighbours.values() for nearest in per_query)
    bottom = above + head + length(len(contexts), block, 3 * GAP)
    sheet = Sheet(
        max(
            left + max(length(widest, width), text_width("nearest contexts") + MARGIN),
            MARGIN + max(text_width(title), text_width(_FRAME_MEANS) if below else 0),
        ),
        bottom + below + MARGIN,
    )
    sheet.label(title, MARGIN, MARGIN, anchor="la")
    sheet.label("context", MARGIN + width // 2, above, anchor="ma")
    sheet.label("nearest contexts", left, above, anchor="la")
    if below:
        sheet.label(_FRAME_MEANS, MARGIN, bottom + 2 * GAP, anchor="la")
    for query, context in enumerate(contexts):
        top = above + head + query * (block + 3 * GAP)
        sheet.row([context], MARGIN, top + (block - height) // 2)
        for number, (name, per_query) in enumerate(neighbours.items()):
            row_top = top + number * (height + GAP)
            sheet.label(shortened(name), names_end, row_top + height // 2, anchor="rm")
            sheet.row(per_query[query], left, row_top)
    return sheet.save(path)


def failures_grid(path: Path, title: str, blocks: Mapping[str, Block]) -> Path:
    """Write a PNG with the blocks side by side, {label: block}; an image is a column: hole, fill, truth, error.

    The error is |fill - truth|, the mean over a pixel's channels, from black (none) to light yellow (`MOST_ERROR` of
    the range, and more); the context is grey there. The scale stands below.

    Raises
    ------
    UserError
        If a tensor is not of the shape and type that `Block` says, or `path` cannot be written.
    """
    labels = ("hole", "fill", "truth", "error")
    columns = {name: _columns(block) for name, block in blocks.items()}
    height, width = next(iter(columns.values()))[0][0].shape[:2]
    line, apart = FONT_SIZE + GAP, 5 * GAP
    left = MARGIN + max(map(text_width, labels)) + MARGIN
    wide = left + sum(length(len(shown), width) for shown in columns.values()) + apart * (len(columns) - 1)
    scale = left + text_width(_BEFORE_BAR) + text_width(_AFTER_BAR) + _BAR + 4 * GAP
    title_lines = wrapped(title, max(wide, scale) - MARGIN)
    names_top = MARGIN + len(title_lines) * line + GAP
    top = names_top + 3 * line + 2 * GAP
    bottom = top + length(len(labels), height)
    sheet = Sheet(
        max(wide, scale, *(MARGIN + text_width(text) for text in title_lines)), bottom + 2 * GAP + line + MARGIN
    )
    for number, text in enumerate(title_lines):
        sheet.label(text, MARGIN, MARGIN + number * line, anchor="la")
    for row, label in enumerate(labels):
        sheet.label(label, left - MARGIN, top + row * (height + GAP) + height // 2, anchor="rm")
    x = left
    for name, shown in columns.items():
        sheet.label(name, x, names_top, anchor="la")
        for pictures, head in zip(shown, blocks[name].heads, strict=True):
            for number, text in enumerate(head):
                sheet.label(text, x + width // 2, names_top + (1 + number) * line + GAP, anchor="ma")
            for row, picture in enumerate(pictures):
                sheet.row([picture], x, top + row * (height + GAP))
            x += width + GAP
        x += apart - GAP
    _error_scale(sheet, left, bottom + 2 * GAP)
    return sheet.save(path)


def fills_strip(path: Path, pictures: Mapping[str, Tensor], widest: int = 384) -> Path:
    """Write a PNG with pictures of any one size side by side, each under its label, reduced to `widest` pixels.

    `pictures` is {label: uint8 (3, h, w)}, in order. A label wider than its picture stands in up to three lines.
    """
    shown = {label: reduced(picture.permute(1, 2, 0).numpy(), widest) for label, picture in pictures.items()}
    height = max(picture.shape[0] for picture in shown.values())
    labels = [[shortened(text) for text in wrapped(label, picture.shape[1])] for label, picture in shown.items()]
    widths = [max(p.shape[1], *map(text_width, lines)) for p, lines in zip(shown.values(), labels, strict=True)]
    line = FONT_SIZE + GAP
    top = MARGIN + max(map(len, labels)) * line + GAP
    sheet = Sheet(MARGIN + sum(widths) + MARGIN * (len(widths) - 1), top + height + MARGIN)
    left = MARGIN
    for lines, picture, width in zip(labels, shown.values(), widths, strict=True):
        for number, text in enumerate(reversed(lines), start=1):
            sheet.label(text, left, top - GAP - number * line, anchor="la")
        sheet.row([picture], left, top)
        left += width + MARGIN
    return sheet.save(path)


def _columns(block: Block) -> list[tuple[Picture, ...]]:
    """For each image what stands below one another: hole, fill, truth, error."""
    truth, fills, masks = pictures_of(block.truth), pictures_of(block.fills), masks_of(block.holes, block.truth)
    given, true = (as_images(images).cpu().numpy().astype(np.float64) for images in (block.fills, block.truth))
    colors = _error_colors(np.abs(given - true).mean(1) / 255.0)
    missing = as_holes(block.holes, block.truth)[:, 0, :, :, None].cpu().numpy()
    errors = map(enlarged, np.where(missing, colors, _KNOWN_COLOR))
    holes = [without(picture, mask) for picture, mask in zip(truth, masks, strict=True)]
    return list(zip(holes, fills, truth, errors, strict=True))


def _error_colors(errors: NDArray[np.float64]) -> Picture:
    """Errors of values in [0, 1] as colours: float64 (...) -> uint8 (..., 3)."""
    from matplotlib import colormaps

    colors: Picture = colormaps["inferno"](np.clip(errors / MOST_ERROR, 0.0, 1.0), bytes=True)[..., :3]
    return colors


def _error_scale(sheet: Sheet, left: int, top: int) -> None:
    """The colours of errors from 0 to `MOST_ERROR` as a bar, with what they mean."""
    bar = np.broadcast_to(_error_colors(np.linspace(0.0, MOST_ERROR, _BAR)), (FONT_SIZE, _BAR, 3))
    x = left + text_width(_BEFORE_BAR) + 2 * GAP
    sheet.label(_BEFORE_BAR, left, top, anchor="la")
    sheet.row([np.ascontiguousarray(bar)], x, top)
    sheet.label(_AFTER_BAR, x + _BAR + 2 * GAP, top, anchor="la")
