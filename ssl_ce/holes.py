"""Region strategies: how holes are drawn. One hole for each image, batched, on any device.

A hole mask is bool `(n, 1, height, width)`, **True = missing** (the paper's M̂ = 1). What is *missing* is drawn
here; what is *predicted and scored* may be larger: `predicted_region` adds the overlap, the border of known
pixels that the network predicts as well.

Adding a strategy is one function and one registration:

    def stripes(keys: Tensor, height: int, width: int, *, period: int = 8) -> Tensor:
        '''Horizontal stripes ...'''

    strategies.add("stripes", stripes, "horizontal stripes")

Source: Pathak et al., "Context Encoders", CVPR 2016, section 3.3 (region masks).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_ce.errors import UserError, unknown
from ssl_ce.randomness import fold, integers, sample_keys, uniform
from ssl_ce.references import check_whole
from ssl_ce.registry import Registry

# Called as strategy(keys, height, width, **options).
RegionStrategy = Callable[..., Tensor]

strategies: Registry[RegionStrategy] = Registry("region strategy", "ssl_ce.holes")


def draw(strategy: str, keys: Tensor, height: int, width: int, options: Mapping[str, Any] | None = None) -> Tensor:
    """Holes of the named strategy for `keys` (int64 (n,)): bool (n, 1, height, width), on the keys' device.

    Raises
    ------
    UserError
        If the strategy is unknown, does not take one of `options`, or cannot draw a hole at this size.
    """
    function = strategies.get(strategy)
    _, _, _, *known = inspect.signature(function).parameters
    for option in options or {}:
        if option not in known:
            raise unknown(f"option of the region strategy '{strategy}'", option, known)
    try:
        holes = function(keys, height, width, **(options or {}))
    except TypeError as error:
        raise UserError(f"Region strategy '{strategy}' does not take {dict(options or {})}: {error}.") from error
    missing = holes.flatten(1).sum(1)
    if bool((missing == 0).any()) or bool((missing == height * width).any()):
        raise UserError(f"Region strategy '{strategy}' leaves no hole or no context at {height} x {width} pixels.")
    return holes


def draw_bank(
    strategy: str, count: int, seed: int, height: int, width: int, options: Mapping[str, Any] | None = None
) -> Tensor:
    """A bank of `count` fixed masks, a function of (strategy, seed, size): bool (count, 1, height, width)."""
    return draw(strategy, sample_keys(seed, 0, torch.arange(count), "hole bank"), height, width, options)


def bank_of(
    strategy: str,
    indices: Tensor,
    count: int,
    seed: int,
    height: int,
    width: int,
    options: Mapping[str, Any] | None = None,
) -> Tensor:
    """One mask of the bank of `count` for each image of `indices`, by its number: bool (n, 1, height, width)."""
    bank = draw_bank(strategy, count, seed, height, width, options)
    return bank[integers(sample_keys(seed, 0, indices, "bank mask"), 0, count, 1)[:, 0]]


def predicted_region(holes: Tensor, overlap: int) -> Tensor:
    """What is predicted and scored: the hole grown by `overlap` pixels on every side. Bool, shaped like `holes`.

    The public code's centre network (128 px, `overlapPred = 4`) misses 56 x 56 pixels and predicts 64 x 64:
    `predicted_region(center(keys, 128, 128, side=0.4375), 4)`.
    """
    if overlap == 0:
        return holes
    return F.max_pool2d(holes.float(), 2 * overlap + 1, stride=1, padding=overlap) > 0.5


def center(keys: Tensor, height: int, width: int, *, side: float = 0.5) -> Tensor:
    """The central rectangle, `side` of the image's height and width. The same for every image."""
    if not 0.0 < side < 1.0:
        raise UserError(f"The centre hole's side is a share of the image's between 0 and 1; {side} is not.")
    hole = torch.zeros(1, 1, height, width, dtype=torch.bool, device=keys.device)
    tall, wide = round(height * side), round(width * side)
    top, left = (height - tall) // 2, (width - wide) // 2
    hole[..., top : top + tall, left : left + wide] = True
    return hole.repeat(keys.shape[0], 1, 1, 1)


def random_block(
    keys: Tensor,
    height: int,
    width: int,
    *,
    most: float = 0.25,
    blocks: int = 12,
    low: float = 0.1,
    high: float = 0.3,
) -> Tensor:
    """Overlapping rectangles whose union covers at most `most` of the image.

    Up to `blocks` rectangles are tried, their sides uniform in [`low`, `high`] of the image's; each is kept if the
    union stays within `most`. The first always is, since high² <= most.
    """
    if not 0.0 < low <= high or high * high > most:
        raise UserError(
            f"random-block needs 0 < low <= high and high * high <= most; got low {low}, high {high}, most {most}."
        )
    numbers = uniform(keys, blocks, 4).double()
    tall = (height * (low + (high - low) * numbers[..., 0])).floor().clamp(min=1)
    wide = (width * (low + (high - low) * numbers[..., 1])).floor().clamp(min=1)
    top = (numbers[..., 2] * (height - tall + 1)).floor()
    left = (numbers[..., 3] * (width - wide + 1)).floor()
    y = torch.arange(height, device=keys.device)[None, :, None]
    x = torch.arange(width, device=keys.device)[None, None, :]
    union = torch.zeros(keys.shape[0], height, width, dtype=torch.bool, device=keys.device)
    for b in range(blocks):
        t, le, h, w = (value[:, b, None, None] for value in (top, left, tall, wide))
        grown = union | ((y >= t) & (y < t + h) & (x >= le) & (x < le + w))
        fits = grown.flatten(1).sum(1) <= most * height * width
        union = torch.where(fits[:, None, None], grown, union)
    return union[:, None]


def random_region(
    keys: Tensor, height: int, width: int, *, low: float = 0.2, high: float = 0.3, correlation: float = 0.13
) -> Tensor:
    """Blobs of arbitrary shape: a smooth random field, thresholded so that a share in [`low`, `high`] is missing.

    White noise on a coarse grid, one cell for each `correlation` of the side, is upsampled bicubically at a random
    offset; the lowest values are missing. So the public code draws it (`train_random.lua`: noise upsampled by
    1/0.06 from 600 cells, 0.13 of a 128-pixel crop), except that the share is drawn for each image instead of
    being searched for. Noise and weights are whole numbers, so that every device computes the same field.
    """
    if not 0.0 < low <= high < 1.0:
        raise UserError(f"random-region needs 0 < low <= high < 1; got low {low}, high {high}.")
    if not 1.0 / max(height, width, 64) <= correlation <= 1.0:
        raise UserError(
            f"random-region's correlation is a share of the side, from a pixel's to 1; {correlation} is not."
        )
    n = keys.shape[0]
    cells = int(1.0 / correlation) + 5
    noise = integers(fold(keys, "noise"), 0, 4096, cells, cells).double()
    offsets = uniform(fold(keys, "offset"), 2).double()
    rows = _bicubic_rows(offsets[:, 0], height, cells, correlation)
    columns = _bicubic_rows(offsets[:, 1], width, cells, correlation)
    field = (rows @ noise @ columns.transpose(1, 2)).flatten(1)
    share = low + (high - low) * uniform(fold(keys, "share"), 1).double()
    # Rounded inwards, so that the share never leaves [low, high] by a pixel.
    area = height * width
    fewest, most = math.ceil(low * area), max(math.floor(high * area), 1)
    if max(fewest, most) >= area:
        raise UserError(f"{height} x {width} pixels are too few for random-region with low {low} and high {high}.")
    count = (share * area).round().long().clamp(fewest, most)
    threshold = field.sort(dim=1).values.gather(1, count)
    return (field < threshold).reshape(n, 1, height, width)


def patches(keys: Tensor, height: int, width: int, *, cells: int = 8, share: float = 0.75) -> Tensor:
    """A random `share` of the cells of a `cells` x `cells` grid, as a masked autoencoder leaves them out.

    The number of missing cells is the same for every image; where `cells` does not divide a side, some are a pixel
    larger. Source: He et al., arXiv 2111.06377, section 3.
    """
    if not 0.0 < share < 1.0:
        raise UserError(f"The share of missing patches lies between 0 and 1; {share} does not.")
    if not 2 <= cells <= min(height, width):
        raise UserError(f"{height} x {width} pixels cannot be cut into {cells} x {cells} patches.")
    order = uniform(keys, cells * cells).argsort(dim=1, stable=True)
    count = min(max(round(share * cells * cells), 1), cells * cells - 1)
    missing = torch.zeros(len(keys), cells * cells, dtype=torch.bool, device=keys.device)
    missing.scatter_(1, order[:, :count], True)
    rows, columns = (torch.arange(length, device=keys.device) * cells // length for length in (height, width))
    return missing.reshape(-1, 1, cells, cells)[:, :, rows][..., columns]


def free_form(
    keys: Tensor,
    height: int,
    width: int,
    *,
    strokes: int = 3,
    vertices: int = 12,
    low: float = 0.05,
    high: float = 0.15,
    most: float = 0.5,
) -> Tensor:
    """Brush strokes: zigzags with round ends and joints, as somebody would paint over what is to vanish.

    1 to `strokes` strokes, each of a width uniform in [`low`, `high`] of the shorter side, set down anywhere and
    pulled along `vertices` / 3 to `vertices` straight pieces, up to a quarter of the diagonal long, in turn to either
    side of its course. A piece with which more than `most` of the image would be missing is left out. The numbers are
    those of Yu et al.'s code at 256 pixels, with two differences: a course is any direction, where theirs is one and
    its mirror images, and the image's edge mirrors a stroke, where theirs stops it. Places are whole quarters of a
    pixel, so that every device draws the same.

    Source: Yu et al., "Free-Form Image Inpainting with Gated Convolution", ICCV 2019, supplement, algorithm 1.
    """
    check_whole("free-form", "strokes", strokes, 1, 100)
    check_whole("free-form", "vertices", vertices, 1, 100)
    if not 0.0 < low <= high or not 0.8 * high * high <= most < 1.0:
        raise UserError(
            "free-form needs 0 < low <= high and 0.8 * high * high <= most < 1; "
            f"got low {low}, high {high}, most {most}."
        )
    count = integers(fold(keys, "strokes"), 1, strokes + 1, 1)
    pieces = integers(fold(keys, "vertices"), math.ceil(vertices / 3), vertices + 1, strokes)
    share = low + (high - low) * uniform(fold(keys, "width"), strokes).double()
    # At least 3 quarters of a pixel, so that no brush passes between pixels.
    radius = (2.0 * min(height, width) * share).clamp(min=3.0)
    place, steps = _strokes(keys, 4 * height, 4 * width, strokes, vertices)
    sides = torch.tensor([4 * height, 4 * width], device=keys.device)
    holes = torch.zeros(len(keys), height, width, dtype=torch.bool, device=keys.device)
    for stroke in range(strokes):
        start = place[:, stroke]
        for piece in range(vertices + 1):
            # The first piece has no length: the brush is set down.
            end = start + (steps[:, stroke, piece - 1] if piece else 0)
            end = sides - (sides - end.abs()).abs()
            drawn = ((stroke < count[:, 0]) & (piece <= pieces[:, stroke])).nonzero()[:, 0]
            grown = holes[drawn] | _brushed(start[drawn], end[drawn], radius[drawn, stroke], height, width)
            fits = grown.flatten(1).sum(1) <= most * height * width
            holes[drawn[fits]] = grown[fits]
            start = end
    return holes[:, None]


def _strokes(keys: Tensor, height: int, width: int, strokes: int, vertices: int) -> tuple[Tensor, Tensor]:
    """Where strokes begin, int64 (n, strokes, 2), and their steps, int64 (n, strokes, vertices, 2): rows and columns.

    An angle is a whole number of degrees, a step a whole length times whole multiples of 1/4096.
    """
    sides = torch.tensor([height, width], device=keys.device)
    place = (uniform(fold(keys, "place"), strokes, 2).double() * sides).long()
    longest = min(round(math.hypot(height, width) / 4), height, width)
    length = integers(fold(keys, "length"), 0, longest + 1, strokes, vertices)
    aside = integers(fold(keys, "angle"), 48, 97, strokes, vertices)
    aside[..., ::2] *= -1
    angle = (integers(fold(keys, "course"), 0, 360, strokes, 1) + aside) % 360
    turns = [2.0 * math.pi * degree / 360 for degree in range(360)]
    directions = [(round(4096 * math.sin(turn)), round(4096 * math.cos(turn))) for turn in turns]
    return place, (length[..., None] * torch.tensor(directions, device=keys.device)[angle]) >> 12


def _brushed(start: Tensor, end: Tensor, radius: Tensor, height: int, width: int) -> Tensor:
    """Pixels within `radius` of the segments' insides or of their ends: bool (n, height, width).

    `start` and `end`, int64 (n, 2), are in quarters of a pixel, `radius`, float64 (n,), as well. Whole numbers up to
    2^31, for images of up to 4,096 pixels a side.
    """
    y, x = (4 * torch.arange(side, device=start.device) + 2 for side in (height, width))
    (top, left), (dy, dx) = ((pair[:, :, None].int().unbind(1)) for pair in (start, end - start))
    y, x = y.int()[None] - top, x.int()[None] - left
    squared = dy * dy + dx * dx
    reach = (radius[:, None] * squared.double().sqrt()).int()
    across = (x * dy)[:, None] - (y * dx)[:, :, None]
    along = (2 * x * dx - squared)[:, None] + (2 * y * dy)[:, :, None]
    beside = (across.abs() <= reach[..., None]) & (along.abs() < squared[..., None])
    away = ((y - dy) ** 2)[:, :, None] + ((x - dx) ** 2)[:, None]
    return beside | (away <= (radius * radius).int()[:, None, None])


def _bicubic_rows(offset: Tensor, length: int, cells: int, correlation: float) -> Tensor:
    """Weights (n, length, cells) that upsample `cells` noise values to `length` pixels from a random `offset` (n,).

    The cubic convolution kernel with a = -0.75, in whole multiples of 1/4096, so that sums are exact in float64.
    """
    pixels = torch.arange(length, device=offset.device, dtype=torch.float64)
    position = 1.0 + offset[:, None] + (pixels + 0.5) / (length * correlation)
    distance = (position[..., None] - torch.arange(cells, device=offset.device)).abs()
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    weights = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
    return (weights * 4096).round()


strategies.add("center", center, "the central square, half the side: the paper's `central`")
strategies.add("random-block", random_block, "overlapping rectangles, at most a quarter of the image")
strategies.add("random-region", random_region, "smooth blobs of arbitrary shape, 20-30 % of the image")
strategies.add("patches", patches, "75 % of the cells of an 8 x 8 grid, as a masked autoencoder leaves them out")
strategies.add("free-form", free_form, "brush strokes of random course and width, at most half the image")
