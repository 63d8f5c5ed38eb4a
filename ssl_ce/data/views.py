"""Crops and flips, batched on the images' device, from per-sample keys."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.randomness import fold, integers


def random_crop(images: Tensor, keys: Tensor, size: int) -> Tensor:
    """A square of each image at its own place: uint8 (n, 3, h, w), int64 keys (n,) -> (n, 3, size, size)."""
    n, _, height, width = images.shape
    _check_size(size, height, width)
    top = integers(fold(keys, "top"), 0, height - size + 1, 1)
    left = integers(fold(keys, "left"), 0, width - size + 1, 1)
    offsets = torch.arange(size, device=images.device)
    rows = (top + offsets)[:, None, :, None]
    columns = (left + offsets)[:, None, None, :]
    samples = torch.arange(n, device=images.device)[:, None, None, None]
    channels = torch.arange(3, device=images.device)[None, :, None, None]
    return images[samples, channels, rows, columns]


def random_flip(images: Tensor, keys: Tensor) -> Tensor:
    """Each image mirrored left to right, or not, with equal chance: uint8 (n, 3, h, w) -> the same shape."""
    mirrored = integers(fold(keys, "flip"), 0, 2, 1).bool()[:, 0, None, None, None]
    return torch.where(mirrored, images.flip(-1), images)


def center_crop(images: Tensor, size: int) -> Tensor:
    """The central square of each image: uint8 (n, 3, h, w) -> (n, 3, size, size). Odd margins round down."""
    height, width = images.shape[-2:]
    _check_size(size, height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size]


def _check_size(size: int, height: int, width: int) -> None:
    if not 0 < size <= min(height, width):
        raise UserError(f"A crop of {size} x {size} pixels does not fit into images of {height} x {width}.")
