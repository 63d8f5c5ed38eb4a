"""The inpainter contract: anything that fills holes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Inpainter(Protocol):
    """Fills holes. Context pixels come back bit for bit.

    Attributes
    ----------
    name
        The reference that makes this inpainter again: "telea?radius=5", "runs/x", "nearest:hog".
    identity
        Hash of everything that decides its output: weights, parameters, the images it searches.
    """

    name: str
    identity: str

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """Complete images: uint8 (n, 3, h, w) and bool (n, 1, h, w), True = missing -> uint8 (n, 3, h, w).

        What stands under a hole in `images` is never looked at.
        """
        ...

    def state_hash(self) -> str:
        """Hash of parameters and buffers as they are now: equal before and after an evaluation."""
        ...
