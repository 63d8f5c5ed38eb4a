"""Holes in, completed images out: what every method that fills does before and after its networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.holes import draw
from ssl_ce.images import as_holes, as_images
from ssl_ce.methods.base import Batch
from ssl_ce.networks.encoder import InputSpec
from ssl_ce.settings import Settings

Byte = Annotated[int, Field(ge=0, le=255)]


class HolesConfig(Settings):
    """The region strategy of training and its options."""

    strategy: str = "random-region"
    options: dict[str, Any] = Field(default_factory=dict)

    def check(self, size: int) -> None:
        """Options that do not fit are refused here (`UserError`), before anything is written."""
        draw(self.strategy, torch.zeros(1, dtype=torch.int64), size, size, self.options)

    def draw(self, batch: Batch, size: int) -> Tensor:
        """One hole for each sample, from its key: bool (n, 1, size, size), True = missing."""
        return draw(self.strategy, batch.keys("hole"), size, size, self.options)


@dataclass(frozen=True)
class Masking:
    """Mean-filled images for an encoder of `spec`, and completed images from what its decoder predicts.

    Parameters
    ----------
    spec
        The encoder's input.
    mean_fill
        What missing pixels are set to, RGB of 255.
    """

    spec: InputSpec
    mean_fill: tuple[int, int, int]

    def inputs(self, images: Tensor, holes: Tensor) -> dict[str, Tensor]:
        """`images` in [-1, 1] (n, 3, size, size), `holes`, and `context`: the same images mean-filled."""
        fill = torch.tensor(self.mean_fill, dtype=torch.uint8, device=images.device).view(1, 3, 1, 1)
        return {
            "images": self.spec.normalize(images),
            "holes": holes,
            "context": self.spec.normalize(torch.where(holes, fill, images)),
        }

    def check(self, images: Tensor, holes: Tensor) -> tuple[Tensor, Tensor]:
        """Images and holes as tensors; a `UserError` if the network is for images of another size."""
        images, size = as_images(images), self.spec.size
        holes = as_holes(holes, images)
        if images.shape[2:] != (size, size):
            raise UserError(
                f"This network fills images of {size} x {size} pixels; got {images.shape[2]} x {images.shape[3]}."
            )
        return images, holes

    def complete(self, images: Tensor, holes: Tensor, predicted: Tensor) -> Tensor:
        """Under the holes `predicted`, in [-1, 1], centred if it is smaller than the image: uint8, like `images`."""
        images = as_images(images)
        whole = to_canvas(to_bytes(predicted), self.spec.size)
        return torch.where(as_holes(holes, images), whole, images)


def to_bytes(values: Tensor) -> Tensor:
    """Values in [-1, 1] -> uint8 of the same shape."""
    return ((values + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_canvas(values: Tensor, size: int) -> Tensor:
    """(n, c, side, side) in the centre of zeros (n, c, size, size)."""
    margin = (size - values.shape[-1]) // 2
    return F.pad(values, (margin,) * 4) if margin else values


def central(values: Tensor, side: int) -> Tensor:
    """The central `side` x `side` pixels of (..., size, size)."""
    margin = (values.shape[-1] - side) // 2
    return values[..., margin : margin + side, margin : margin + side]
