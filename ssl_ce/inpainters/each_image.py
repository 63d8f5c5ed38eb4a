"""What classical inpainters share: each image is filled on its own, several at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.images import as_holes, as_images
from ssl_ce.references import identity_of, reference_of


@dataclass
class EachImage(ABC):
    """An inpainter that fills image by image. A subclass adds its options as fields, and `fill_one`.

    The images of a call are shared among as many threads as torch uses; the libraries that do the work let go of
    Python's lock. The result is the same whatever their number.

    Attributes
    ----------
    registered
        The name it is registered under.
    version
        Raised when the numbers it gives change.
    """

    registered: ClassVar[str]
    version: ClassVar[int] = 1
    name: str = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = reference_of(self.registered, self)
        self.identity = identity_of(self.registered, self.version, self)

    @abstractmethod
    def fill_one(self, image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """RGB uint8 (h, w, 3), 0 under the hole; bool (h, w), True = missing, neither nothing nor everything.

        Returns uint8 (h, w, 3). What it makes of the context is thrown away.
        """

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """uint8 (n, 3, h, w), bool (n, 1, h, w), True = missing -> uint8 (n, 3, h, w), on the CPU."""
        images, holes = context_alone(images, holes)
        result = images.clone()
        places = holes.flatten(1).any(1).nonzero()[:, 0].tolist()
        pixels = [np.ascontiguousarray(images[place].permute(1, 2, 0).numpy()) for place in places]
        with _workers(len(places)) as pool:
            for place, filled in zip(places, pool.map(self.fill_one, pixels, holes[places, 0].numpy()), strict=True):
                result[place] = torch.from_numpy(filled.transpose(2, 0, 1).copy())
        return torch.where(holes, result, images)

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity


def context_alone(images: Any, holes: Any) -> tuple[Tensor, Tensor]:
    """Images with their holes put to 0, since libraries do look under a hole, and the holes; both on the CPU.

    Raises
    ------
    UserError
        If a hole covers its whole image.
    """
    images = as_images(images).cpu()
    holes = as_holes(holes, images).cpu()
    if bool(holes.flatten(1).all(1).any()):
        raise UserError("A hole covers its whole image and leaves no context to fill from. Use smaller holes.")
    return images.masked_fill(holes, 0), holes


@contextmanager
def _workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of torch's threads for `count` images. OpenCV's own take what it leaves over, and no more."""
    threads = torch.get_num_threads()
    workers = max(min(threads, count), 1)
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads // workers)
    try:
        with ThreadPoolExecutor(workers) as pool:
            yield pool
    finally:
        cv2.setNumThreads(before)
