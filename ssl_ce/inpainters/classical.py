"""Classical inpainters: the mean colour, and OpenCV's two. The rows that every learned fill must be set
beside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.images import as_holes, as_images
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
        images, holes = _context_alone(images, holes)
        known = (~holes).sum((2, 3), keepdim=True)
        means = images.sum((2, 3), keepdim=True).double() / known
        return torch.where(holes, means.round().to(torch.uint8), images)

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity


@dataclass
class Telea:
    """Fast marching inwards from the edge of the hole (Telea, "An image inpainting technique based on the
    fast marching method", J. Graphics Tools 9(1), 2004), by OpenCV.

    Parameters
    ----------
    radius
        Pixels around each missing one that it is computed from.
    """

    radius: int = 5
    name: str = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        check_whole("telea", "radius", self.radius, 1, 100)
        self.name = reference_of("telea", self)
        self.identity = identity_of("telea", 1, self)

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """uint8 (n, 3, h, w), bool (n, 1, h, w), True = missing -> uint8 (n, 3, h, w), on the CPU."""
        return _inpaint(images, holes, self.radius, cv2.INPAINT_TELEA)

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity


@dataclass
class NavierStokes:
    """Isophotes continued as streamlines (Bertalmio, Bertozzi and Sapiro, "Navier-Stokes, fluid dynamics, and
    image and video inpainting", CVPR 2001), by OpenCV.

    Parameters
    ----------
    radius
        Pixels around each missing one that it is computed from.
    """

    radius: int = 5
    name: str = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        check_whole("navier-stokes", "radius", self.radius, 1, 100)
        self.name = reference_of("navier-stokes", self)
        self.identity = identity_of("navier-stokes", 1, self)

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """uint8 (n, 3, h, w), bool (n, 1, h, w), True = missing -> uint8 (n, 3, h, w), on the CPU."""
        return _inpaint(images, holes, self.radius, cv2.INPAINT_NS)

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity


def _inpaint(images: Any, holes: Any, radius: int, algorithm: int) -> Tensor:
    """`cv2.inpaint` on each image, in as many threads as torch uses."""
    images, holes = _context_alone(images, holes)

    def one(image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        channels_last = np.ascontiguousarray(image.transpose(1, 2, 0))
        filled = cv2.inpaint(channels_last, hole[0].astype(np.uint8), radius, algorithm)
        return np.asarray(filled, np.uint8).transpose(2, 0, 1)

    result = images.clone()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for place, filled in enumerate(pool.map(one, images.numpy(), holes.numpy())):
            result[place] = torch.from_numpy(filled)
    return torch.where(holes, result, images)


def _context_alone(images: Any, holes: Any) -> tuple[Tensor, Tensor]:
    """Images with their holes put to 0, since OpenCV's gradients do look under a hole, and the holes."""
    images = as_images(images).cpu()
    holes = as_holes(holes, images).cpu()
    if bool(holes.flatten(1).all(1).any()):
        raise UserError("A hole covers its whole image and leaves no context to fill from. Use smaller holes.")
    return images.masked_fill(holes, 0), holes
