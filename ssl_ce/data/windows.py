"""Windows onto images: crops and flips of an image together with the map or the boxes that belong to it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_ce.randomness import fold, integers, uniform


class Windows(NamedTuple):
    """A square part of each image: left, top and side as shares of the image's side, and whether it is mirrored.

    float32 (n,), bool (n,).
    """

    left: Tensor
    top: Tensor
    side: Tensor
    mirrored: Tensor


def random_windows(keys: Tensor, smallest: float) -> Windows:
    """A window for each of the int64 keys (n,): its side uniform in (smallest, 1], anywhere, mirrored by chance."""
    side = 1.0 - (1.0 - smallest) * uniform(fold(keys, "side"))
    left, top = (uniform(fold(keys, edge)) * (1.0 - side) for edge in ("left", "top"))
    return Windows(left, top, side, integers(fold(keys, "flip"), 0, 2).bool())


def through_windows(images: Tensor, windows: Windows, mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
    """What each window shows, at the images' size: float32 (n, c, h, w) -> the same shape."""
    zero = torch.zeros_like(windows.side)
    across = torch.where(windows.mirrored, -windows.side, windows.side)
    middles = [2.0 * edge + windows.side - 1.0 for edge in (windows.left, windows.top)]
    rows = (torch.stack([across, zero, middles[0]], dim=1), torch.stack([zero, windows.side, middles[1]], dim=1))
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)


def boxes_through_window(boxes: Tensor, windows: Windows, place: int, size: int) -> Tensor:
    """Boxes in the image at `place`, of `size` pixels a side, as the window shows them; they may reach beyond it.

    Left, top, right and bottom in pixels, float32 (k, 4) -> the same shape.
    """
    left, top, side = (float(share[place]) for share in (windows.left, windows.top, windows.side))
    moved = (boxes - size * torch.tensor([left, top, left, top])) / side
    if not windows.mirrored[place]:
        return moved
    return torch.stack([size - moved[:, 2], moved[:, 1], size - moved[:, 0], moved[:, 3]], dim=1)
