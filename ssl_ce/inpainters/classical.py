"""The mean colour, and the two classical algorithms of OpenCV. The rows that every learned fill must be set beside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.inpainters.each_image import EachImage, context_alone
from ssl_ce.references import check_whole, identity_of, reference_of


@dataclass
class MeanColor:
    """Each hole in the mean colour of its image's context, rounded to whole numbers."""

    name: str = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = reference_of("mean-color", self)
        self.identity = identity_of("mean-color", 1, self)

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """uint8 (n, 3, h, w), bool (n, 1, h, w), True = missing -> uint8 (n, 3, h, w), on the CPU."""
        images, holes = context_alone(images, holes)
        known = (~holes).sum((2, 3), keepdim=True)
        means = images.sum((2, 3), keepdim=True).double() / known
        return torch.where(holes, means.round().to(torch.uint8), images)

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity


@dataclass
class OpenCvInpaint(EachImage):
    """`cv2.inpaint`, whichever its algorithm.

    Parameters
    ----------
    radius
        Pixels around each missing one that it is computed from.
    """

    algorithm: ClassVar[int]
    radius: int = 5

    def __post_init__(self) -> None:
        check_whole(self.registered, "radius", self.radius, 1, 100)
        super().__post_init__()

    def fill_one(self, image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """See `EachImage.fill_one`."""
        return np.asarray(cv2.inpaint(image, hole.astype(np.uint8), self.radius, self.algorithm), np.uint8)


@dataclass
class Telea(OpenCvInpaint):
    """Fast marching inwards from the edge of the hole (Telea, "An image inpainting technique based on the
    fast marching method", J. Graphics Tools 9(1), 2004), by OpenCV. `radius` as in `OpenCvInpaint`."""

    registered: ClassVar[str] = "telea"
    algorithm: ClassVar[int] = cv2.INPAINT_TELEA


@dataclass
class NavierStokes(OpenCvInpaint):
    """Isophotes continued as streamlines (Bertalmio, Bertozzi and Sapiro, "Navier-Stokes, fluid dynamics, and
    image and video inpainting", CVPR 2001), by OpenCV. `radius` as in `OpenCvInpaint`."""

    registered: ClassVar[str] = "navier-stokes"
    algorithm: ClassVar[int] = cv2.INPAINT_NS
