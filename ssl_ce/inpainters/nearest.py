"""Holes filled with the region of the nearest training context (Pathak et al., CVPR 2016, section 5.1:
NN-inpainting)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.errors import UserError
from ssl_ce.files import digest
from ssl_ce.images import as_holes, as_images
from ssl_ce.search import Metric, nearest

MOST_HOLES = 16
"""Different holes in one call: each has the training images described anew."""


class Nearest:
    """Finds the training image whose context is nearest, and pastes what it shows there into the hole.

    Both sides are described under the same hole, by the descriptor's own treatment of holes, and compared by
    the cosine (or Euclidean distance) of the features as they come, without standardising. So every different
    hole costs one description of all training images, kept in the feature cache. A query that is itself among
    the training images may find itself: keep the two apart.

    Parameters
    ----------
    descriptor
        Describes contexts.
    index
        The training images that are searched, read when needed and never held.
    cache
        Where features are kept; the default cache when None.
    metric
        "cosine" or "l2".
    """

    def __init__(
        self,
        descriptor: Descriptor,
        index: ImageSet,
        cache: FeatureCache | None = None,
        metric: Metric = "cosine",
    ) -> None:
        if index.size is None:
            raise UserError(f"The images of '{index.name}' have no common size. Pack them first (ce data pack).")
        descriptor.dim(*index.size)  # one that cannot describe images of this size says so now
        self.name = f"nearest:{descriptor.name}"
        self.identity = digest("nearest", "1", descriptor.identity, index.fingerprint, metric)
        self.descriptor = descriptor
        self.index = index
        self.size = index.size[0] if index.size[0] == index.size[1] else None
        self.metric: Metric = metric
        self._cache = FeatureCache() if cache is None else cache

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """uint8 (n, 3, h, w), bool (n, 1, h, w), True = missing -> uint8 (n, 3, h, w), on the CPU.

        Raises
        ------
        UserError
            If the images are not of the training images' size, or more than `MOST_HOLES` different holes were
            given to this inpainter.
        """
        images, holes = self._checked(images, holes)
        if len(images) == 0:
            return images.clone()
        return torch.where(holes, self.index.read(self.neighbours(images, holes, 1)[:, 0]), images)

    def neighbours(self, images: Tensor, holes: Tensor, k: int) -> NDArray[np.int64]:
        """The places in `index` of the `k` nearest training contexts, nearest first: int64 (n, k). Errors as
        in `fill`."""
        images, holes = self._checked(images, holes)
        result = np.empty((len(images), k), np.int64)
        for rows in self._groups(holes):
            hole = holes[rows[:1]]
            queries = self.descriptor.describe(images[rows], hole.expand(len(rows), -1, -1, -1)).numpy()
            _, result[rows] = nearest(
                queries, self._cache.features(self.descriptor, self.index, hole), k, metric=self.metric
            )
        return result

    def state_hash(self) -> str:
        """The descriptor's."""
        return self.descriptor.state_hash()

    def _checked(self, images: Tensor, holes: Tensor) -> tuple[Tensor, Tensor]:
        images = as_images(images).cpu()
        holes = as_holes(holes, images).cpu()
        if tuple(images.shape[2:]) != self.index.size:
            raise UserError(
                f"'{self.name}' searches images of {self.index.size} pixels, and those to fill have "
                f"{tuple(images.shape[2:])}. Pack both at one size (--size)."
            )
        return images, holes

    def _groups(self, holes: Tensor) -> list[NDArray[np.int64]]:
        """The rows that share a hole, in order of appearance."""
        groups: dict[bytes, list[int]] = {}
        for row, hole in enumerate(np.packbits(holes.flatten(1).numpy(), axis=1)):
            groups.setdefault(hole.tobytes(), []).append(row)
        if len(groups) > MOST_HOLES:
            raise UserError(
                f"'{self.name}' describes its training images for each hole anew, and was given more "
                f"than {MOST_HOLES} different ones. Use ce evaluate nn-inpainting, with its bank of masks."
            )
        return [np.array(rows) for rows in groups.values()]
