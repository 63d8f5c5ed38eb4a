"""A joint histogram of colours (Swain and Ballard, "Color Indexing", IJCV 1991)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ssl_ce.descriptors.resizing import context_of
from ssl_ce.references import check_whole, identity_of, reference_of


@dataclass
class ColorHistogram:
    """Square roots of the shares of pixels in each RGB bin, so that dot products compare as Hellinger's
    affinity.

    With holes only pixels of the context are counted. Vectors have Euclidean length 1.

    Parameters
    ----------
    bins
        Bins for each channel; `bins`³ dimensions, red slowest and blue fastest.
    """

    bins: int = 8
    name: str = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        check_whole("color-histogram", "bins", self.bins, 2, 32)
        self.name = reference_of("color-histogram", self)
        self.identity = identity_of("color-histogram", 1, self)

    def dim(self, height: int, width: int) -> int:
        """`bins`³, whatever the images' size."""
        return self.bins**3

    def describe(self, images: Tensor, holes: Tensor | None = None) -> Tensor:
        """uint8 (n, 3, h, w), holes None or bool (n, 1, h, w), True = missing -> float32 (n, bins³) in [0,
        1]."""
        images, context = context_of(images, holes)
        red, green, blue = (images.long() * self.bins // 256).flatten(2).unbind(1)
        places = (red * self.bins + green) * self.bins + blue
        votes = torch.ones(places.shape) if context is None else context.flatten(1)
        counts = torch.zeros(len(images), self.bins**3).scatter_add_(1, places, votes)
        return (counts / votes.sum(1, keepdim=True).clamp(min=1.0)).sqrt()

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity
