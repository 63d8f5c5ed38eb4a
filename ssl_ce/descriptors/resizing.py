"""What hand-crafted descriptors share: keeping to the context, area means under a mask, smooth filling of
holes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_ce.images import as_holes, as_images


def context_of(images: Any, holes: Any = None) -> tuple[Tensor, Tensor | None]:
    """`images` with what stands under the holes put to 0, and the context's weights.

    Returns
    -------
    images, context
        uint8 (n, 3, h, w) on the CPU, and float32 (n, 1, h, w), 1 = known and 0 = missing; None without
        holes. Whoever works on these alone cannot depend on a pixel under a hole.
    """
    images = as_images(images).cpu()
    if holes is None:
        return images, None
    holes = as_holes(holes, images).cpu()
    return images.masked_fill(holes, 0), (~holes).float()


def area_mean(values: Tensor, height: int, width: int, weights: Tensor | None = None) -> Tensor:
    """Means over a grid of equal cells; a pixel that lies in two cells counts in each by its share.

    Parameters
    ----------
    values
        float (n, c, h, w).
    height, width
        The grid. It may be finer than the image: then pixels are repeated.
    weights
        float (n, 1, h, w), 0 = not looked at. A cell of no weight takes the weighted mean of the whole image.

    Returns
    -------
    Tensor
        float (n, c, height, width).
    """
    if weights is None:
        return _cells(values, height, width)
    weighted, total = values * weights, _cells(weights, height, width)
    everywhere = weighted.sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True).clamp(min=1e-12)
    return torch.where(total > 0, _cells(weighted, height, width) / total.clamp(min=1e-12), everywhere)


def resize_bilinear(values: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bilinear resizing: float (n, c, h, w) -> float (n, c, height, width)."""
    return F.interpolate(values, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


def smooth_fill(values: Tensor, weights: Tensor) -> Tensor:
    """`values` (float (n, c, h, w)) with what has weight 0 (float (n, 1, h, w)) continued smoothly from the
    rest.

    Pull and push: means over ever coarser grids of what is known, handed back bilinearly where nothing is
    (Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.3). Known values stay; no new extremes arise.
    """
    height, width = values.shape[2:]
    known = weights > 0
    if (height, width) == (1, 1) or bool(known.all()):
        return values
    half = ((height + 1) // 2, (width + 1) // 2)
    coarse = smooth_fill(area_mean(values, *half, weights), (_cells(weights, *half) > 0).to(weights.dtype))
    return torch.where(known, values, F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False))


def _cells(values: Tensor, height: int, width: int) -> Tensor:
    rows = _shares(values.shape[2], height).to(values.dtype)
    columns = _shares(values.shape[3], width).to(values.dtype)
    return rows @ values @ columns.T


@lru_cache(maxsize=64)
def _shares(size: int, cells: int) -> Tensor:
    """Each cell's mean as weights of pixels: float64 (cells, size). Overlaps are counted in whole 1/cells of
    a pixel, so that a pixel outside a cell has weight 0 exactly."""
    cell, pixel = torch.arange(cells)[:, None], torch.arange(size)[None, :]
    start = torch.maximum(cell * size, pixel * cells)
    stop = torch.minimum((cell + 1) * size, (pixel + 1) * cells)
    return (stop - start).clamp(min=0).double() / size
