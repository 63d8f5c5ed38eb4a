"""A run as an inpainter: its networks fill the hole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_ce.errors import UserError
from ssl_ce.files import digest
from ssl_ce.images import as_holes, as_images
from ssl_ce.methods.base import Method
from ssl_ce.methods.saved import state_hash

_BATCH = 64


class Parametric:
    """The fill of a method's decoder, on images of the method's size. Context pixels come back bit for bit.

    `reach` is the central share of the side within which it fills holes: 1, or less for a centre network.
    """

    def __init__(self, name: str, method: Method, device: str = "cpu") -> None:
        if "fill" not in method.capabilities:
            raise UserError(f"'{name}' is a {method.name}, which fills no holes.")
        self.name = name
        self.method = method
        self.size = method.encoder.input.size
        self.reach = getattr(method, "fillable_size", self.size) / self.size
        self._device = torch.device(device)
        self._networks = nn.ModuleDict(method.networks).eval()
        self._networks.to(self._device).to(memory_format=torch.channels_last)
        self.identity = digest("parametric", self.state_hash())

    @torch.no_grad()
    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """uint8 (n, 3, size, size), bool (n, 1, size, size), True = missing -> uint8 (n, 3, size, size), on the CPU."""
        images = as_images(images)
        holes = as_holes(holes, images)
        if images.shape[2:] != (self.size, self.size):
            raise UserError(
                f"'{self.name}' fills images of {self.size} x {self.size} pixels, not {images.shape[2]} x "
                f"{images.shape[3]}. Pack them at that size (--size {self.size})."
            )
        self._networks.eval()
        parts = [self._fill(images[at : at + _BATCH], holes[at : at + _BATCH]) for at in range(0, len(images), _BATCH)]
        return torch.cat(parts) if parts else images.clone()

    def _fill(self, images: Tensor, holes: Tensor) -> Tensor:
        try:
            return self.method.fill(images.to(self._device), holes.to(self._device)).cpu()
        except UserError as error:
            raise UserError(f"'{self.name}': {error}") from error

    def state_hash(self) -> str:
        """Hash of all networks as they are now."""
        return state_hash(self._networks)
