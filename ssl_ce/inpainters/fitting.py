"""Which of several photographs continues a context best, and shifted and scaled how: the least error beside the hole.

After Hays and Efros, "Scene completion using millions of photographs", SIGGRAPH 2007, section 4: local context
matching over translations and three scales, by the sum of squared differences in a band around the hole.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SCALES = (1.0, 0.9, 1.1)
"""Sizes of a candidate that are tried where it may be aligned."""

_BAND = 1 / 16  # of the shorter side


class Fit(NamedTuple):
    """A candidate's number, its scale, how far it is moved down and to the right in pixels, and the mean squared
    difference from the context in the band, of values in [0, 255]."""

    candidate: int
    scale: float
    down: int
    right: int
    error: float


def band_around(hole: Tensor) -> Tensor:
    """The context within 1/16 of the shorter side (at least 2 pixels) of a hole: bool (1, h, w) -> bool (1, h, w)."""
    reach = max(round(_BAND * min(hole.shape[1:])), 2)
    grown = F.max_pool2d(hole[None].float(), 2 * reach + 1, stride=1, padding=reach)[0] > 0.5
    return grown & ~hole


def best_fit(image: Tensor, hole: Tensor, candidates: Tensor, align: int = 0) -> Fit:
    """The candidate that differs least from `image` in the band around the hole.

    Parameters
    ----------
    image, hole
        uint8 (3, h, w) and bool (1, h, w), True = missing. What stands under the hole is not looked at.
    candidates
        uint8 (k, 3, h, w).
    align
        Each candidate is tried in every scale of `SCALES`, moved by up to so many pixels each way, as long as it
        covers the hole's bounding box; what it leaves of the band beyond its edge is compared with that edge. 0: as it
        is. Of equal errors the first candidate wins, then the first scale, then the shortest shift.
    """
    band = band_around(hole)
    top, bottom, left, right = _box(band | hole)
    weights = band[:, top:bottom, left:right].double()
    wanted = image[:, top:bottom, left:right].double() * weights
    fits: list[Fit] = []
    for scale in SCALES if align else (1.0,):
        scaled = _scaled(candidates, scale)
        offset = _offset(image, scale)
        shifts = torch.arange(-align, align + 1)
        rows, columns = (
            (torch.arange(start - align, stop + align) - off).clamp(0, side - 1)
            for start, stop, off, side in (
                (top, bottom, offset[0], scaled.shape[2]),
                (left, right, offset[1], scaled.shape[3]),
            )
        )
        window = scaled[:, :, rows][..., columns].double()
        squares = _correlated(window.square().sum(1, keepdim=True), weights)
        errors = squares - 2 * _correlated(window, wanted) + wanted.square().sum()
        # Moved down by s, the window is read from s pixels further up: errors come in falling order of the shift.
        errors = errors[:, : len(shifts), : len(shifts)].flip(1, 2)
        errors = errors.masked_fill(~_covering(hole, offset, scaled.shape[2:], shifts), torch.inf)
        least = (errors == errors.min()).nonzero() - torch.tensor([0, align, align])
        candidate, down, right_by = min(least.tolist(), key=lambda at: (at[0], abs(at[1]) + abs(at[2])))
        fits.append(Fit(candidate, scale, down, right_by, float(errors.min() / (3 * weights.sum()))))
    return min(fits, key=lambda fit: (fit.error, fit.candidate))


def fitted(candidates: Tensor, fit: Fit) -> Tensor:
    """The candidate of `fit`, scaled and moved, its edge repeated beyond it: uint8 (k, 3, h, w) -> uint8 (3, h, w)."""
    one = candidates[fit.candidate]
    scaled = _scaled(one[None], fit.scale)[0]
    off = _offset(one, fit.scale)
    rows = (torch.arange(one.shape[1]) - off[0] - fit.down).clamp(0, scaled.shape[1] - 1)
    columns = (torch.arange(one.shape[2]) - off[1] - fit.right).clamp(0, scaled.shape[2] - 1)
    return scaled[:, rows][..., columns]


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    """First row, one after the last, and the same of columns: bool (1, h, w)."""
    rows, columns = mask[0].any(1).nonzero()[:, 0], mask[0].any(0).nonzero()[:, 0]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _correlated(windows: Tensor, pattern: Tensor) -> Tensor:
    """The sums of products of a pattern, float64 (c, h, w), laid on windows, float64 (k, c, H, W), at each offset.

    All are whole numbers, and so are the sums, exactly: float64 (k, H, W), by Fourier transforms; right where the
    pattern lies within the window: offsets to H - h, W - w.
    """
    size = windows.shape[2:]
    spectrum = (torch.fft.rfft2(windows) * torch.fft.rfft2(pattern, s=size).conj()).sum(1)
    found: Tensor = torch.fft.irfft2(spectrum, s=size).round()
    return found


def _scaled(images: Tensor, scale: float) -> Tensor:
    """uint8 (k, 3, h, w), antialiased bicubic."""
    if scale == 1.0:
        return images
    size = [round(scale * side) for side in images.shape[2:]]
    resized = F.interpolate(images.float(), size=size, mode="bicubic", antialias=True, align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8)


def _offset(image: Tensor, scale: float) -> tuple[int, int]:
    """Where the first row and column of a centred, scaled image (3, h, w) come to lie."""
    down, right = ((side - round(scale * side)) // 2 for side in image.shape[1:])
    return down, right


def _covering(hole: Tensor, offset: tuple[int, int], size: torch.Size, shifts: Tensor) -> Tensor:
    """Which shifts leave the hole's box covered: bool (shifts down, shifts right). Shift 0 at scale 1 always does."""
    top, bottom, left, right = _box(hole)
    down = (offset[0] + shifts <= top) & (offset[0] + shifts + size[0] >= bottom)
    along = (offset[1] + shifts <= left) & (offset[1] + shifts + size[1] >= right)
    return down[:, None] & along[None]
