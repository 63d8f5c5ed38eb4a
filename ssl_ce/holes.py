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
    if not 0.0 < correlation <= 1.0:
        raise UserError(f"random-region's correlation is a share of the side in (0, 1]; {correlation} is not.")
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
    count = (share * area).round().long().clamp(math.ceil(low * area), max(math.floor(high * area), 1))
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
