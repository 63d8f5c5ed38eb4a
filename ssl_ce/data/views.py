"""Crops and flips, batched on the images' device, from per-sample keys."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.randomness import fold, integers, uniform


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


def random_resized_crop(
    images: Tensor, keys: Tensor, size: int, *, smallest: float = 0.08, aspect: float = 4 / 3
) -> Tensor:
    """A rectangle of each image at its own place, resized: uint8 (n, 3, h, w), int64 keys (n,) -> (n, 3, size, size).

    Its area is uniform from `smallest` of the image's to all of it, its aspect ratio log-uniform from 1 / `aspect` to
    `aspect`; a side longer than the image's is cut to it. Each new pixel is the mean of what it covers.
    """
    from torchvision.ops import roi_align  # as long to import as torch itself

    height, width = images.shape[2:]
    area = height * width * (smallest + (1 - smallest) * uniform(fold(keys, "area")))
    ratio = torch.exp(math.log(aspect) * (2 * uniform(fold(keys, "aspect")) - 1))
    columns, rows = (area * ratio).sqrt().clamp(max=width), (area / ratio).sqrt().clamp(max=height)
    left, top = uniform(fold(keys, "left")) * (width - columns), uniform(fold(keys, "top")) * (height - rows)
    places = torch.arange(len(images), device=images.device)
    boxes = torch.stack([places, left, top, left + columns, top + rows], dim=1)
    found: Tensor = roi_align(images.float(), boxes, size, sampling_ratio=-1, aligned=True)
    return found.round().clamp(0, 255).to(torch.uint8)


def random_flip(images: Tensor, keys: Tensor) -> Tensor:
    """Each image mirrored left to right, or not, with equal chance: uint8 (n, 3, h, w) -> the same shape."""
    mirrored = integers(fold(keys, "flip"), 0, 2, 1).bool()[:, 0, None, None, None]
    return torch.where(mirrored, images.flip(-1), images)


def resized(images: Tensor, size: int) -> Tensor:
    """Antialiased bicubic resizing, rounded: uint8 (n, 3, h, w) -> (n, 3, size, size)."""
    if images.shape[2:] == (size, size):
        return images
    found = F.interpolate(images.float(), size=(size, size), mode="bicubic", antialias=True, align_corners=False)
    return found.round().clamp(0, 255).to(torch.uint8)


def center_crop(images: Tensor, size: int) -> Tensor:
    """The central square of each image: uint8 (n, 3, h, w) -> (n, 3, size, size). Odd margins round down."""
    height, width = images.shape[-2:]
    _check_size(size, height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size]


def _check_size(size: int, height: int, width: int) -> None:
    if not 0 < size <= min(height, width):
        raise UserError(f"A crop of {size} x {size} pixels does not fit into images of {height} x {width}.")
