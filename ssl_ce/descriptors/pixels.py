"""The pixels themselves, resized to a small square: the plainest floor."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ssl_ce.descriptors.resizing import area_mean, context_of
from ssl_ce.references import check_flag, check_whole, identity_of, reference_of

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass
class Pixels:
    """Mean colours (or greys) over a grid of `side` x `side` equal cells, values in [0, 1].

    With holes a cell is the mean over its pixels of the context; a cell wholly missing takes the mean of the
    context.

    Parameters
    ----------
    side
        Cells along each side.
    color
        Three channels (channel by channel, each row by row); false: the luma of ITU-R BT.601.
    """

    side: int = 16
    color: bool = True
    name: str = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        check_whole("pixels", "side", self.side, 1, 512)
        check_flag("pixels", "color", self.color)
        self.name = reference_of("pixels", self)
        self.identity = identity_of("pixels", 1, self)

    def dim(self, height: int, width: int) -> int:
        """`channels * side * side`, whatever the images' size."""
        return (3 if self.color else 1) * self.side * self.side

    def describe(self, images: Tensor, holes: Tensor | None = None) -> Tensor:
        """uint8 (n, 3, h, w), holes None or bool (n, 1, h, w), True = missing -> float32 (n, dim) in [0,
        1]."""
        images, context = context_of(images, holes)
        values = images.float() / 255.0
        if not self.color:
            values = (values * torch.tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
        return area_mean(values, self.side, self.side, context).flatten(1)

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity
