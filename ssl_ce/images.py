"""The common currency between rooms: uint8 RGB images (n, 3, h, w) and bool holes (n, 1, h, w), True = missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_ce.errors import UserError


def as_images(images: Any) -> Tensor:
    """`images` (torch or numpy) checked to be uint8 (n, 3, h, w), as a torch tensor that shares memory if it can."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[1] != 3:
        raise UserError(f"Images must be uint8 RGB of shape (n, 3, height, width); got {_what(images)}.")
    return tensor


def as_holes(holes: Any, images: Tensor) -> Tensor:
    """`holes` checked to be bool (n, 1, h, w) for `images`; one hole (1, 1, h, w) serves all images."""
    tensor = torch.from_numpy(np.ascontiguousarray(holes)) if isinstance(holes, np.ndarray) else holes
    n, _, height, width = images.shape
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.bool or tensor.ndim != 4:
        raise UserError(f"Holes must be bool of shape (n, 1, height, width), True = missing; got {_what(holes)}.")
    if tuple(tensor.shape) not in {(n, 1, height, width), (1, 1, height, width)}:
        raise UserError(f"Holes of shape {tuple(tensor.shape)} do not fit images of shape {tuple(images.shape)}.")
    return tensor.expand(n, 1, height, width)


def _what(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
