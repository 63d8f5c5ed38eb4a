"""The descriptor contract: anything that maps images to vectors."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.networks.encoder import Encoder


@runtime_checkable
class Descriptor(Protocol):
    """Maps uint8 images to float32 vectors. Holes, normalisation and resizing are its own business.

    Attributes
    ----------
    name
        The reference that makes this descriptor again: "hog?cell=4", "runs/x@conv4".
    identity
        Hash of everything that decides its output: weights and parameters.
    """

    name: str
    identity: str

    def dim(self, height: int, width: int) -> int:
        """Length of the vector for images of this size."""
        ...

    def describe(self, images: Tensor, holes: Tensor | None = None) -> Tensor:
        """Describe images: uint8 (n, 3, h, w) -> float32 (n, dim), on the CPU.

        With `holes` (bool (n, 1, h, w), True = missing) it describes the context only: changing pixels under a
        hole changes nothing. How a hole is treated stands in each descriptor's documentation.
        """
        ...

    def state_hash(self) -> str:
        """Hash of parameters and buffers as they are now: equal before and after an evaluation."""
        ...


@runtime_checkable
class Calibratable(Protocol):
    """A descriptor whose untrained BatchNorm statistics must be estimated before it is judged."""

    def calibrated(self, images: ImageSet) -> Descriptor:
        """A copy whose BatchNorm statistics come from `images` (unlabelled train images). Its identity says so."""
        ...


@runtime_checkable
class TrainableBackbone(Protocol):
    """A descriptor that can be trained further (fine-tuning, detection, segmentation).

    Attributes
    ----------
    tap
        The tap of its encoder that it describes.
    """

    tap: str

    def trainable(self) -> Encoder:
        """A fresh copy of the encoder, in training mode, every parameter requiring gradients."""
        ...
