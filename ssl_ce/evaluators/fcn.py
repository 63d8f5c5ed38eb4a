"""A fully convolutional head on several maps of an encoder.

Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ce.networks.encoder import Encoder


class FullyConvolutional(nn.Module):
    """Scores for each class at each pixel: those of several maps, from the coarsest to the finest, summed.

    Each map is scored by BatchNorm and a 1 x 1 convolution. Sums are enlarged bilinearly to the next finer map, the
    last to the image. A frozen encoder is always in evaluation mode.
    """

    def __init__(self, encoder: Encoder, taps: Sequence[str], classes: int, *, frozen: bool = False) -> None:
        super().__init__()
        self.frozen = frozen
        self.encoder: Any = encoder
        self.taps = tuple(taps)
        channels = [encoder.taps[tap][0] for tap in taps]
        self.scores = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(c), nn.Conv2d(c, classes, 1)) for c in channels)

    def train(self, mode: bool = True) -> FullyConvolutional:
        """As `nn.Module.train`, but for a frozen encoder."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, x: Tensor, size: int) -> Tensor:
        """Normalised images (n, 3, s, s) -> scores (n, classes, size, size)."""
        maps = self.encoder.maps(x, self.taps)
        total: Tensor | None = None
        for tap, score in reversed(list(zip(self.taps, self.scores, strict=True))):
            found = score(maps[tap])
            total = found if total is None else found + _enlarged(total, found.shape[-1])
        assert total is not None
        return _enlarged(total, size)


def scored_taps(encoder: Encoder, tap: str, finest: int) -> list[str]:
    """The last tap of each stride of `finest` pixels or more, up to `tap`, and `tap` itself."""
    names = list(encoder.taps)
    of_stride = {encoder.taps[name][1]: name for name in names[: names.index(tap) + 1]}
    return [name for stride, name in of_stride.items() if stride >= finest or name == tap]


@torch.no_grad()
def predict(network: FullyConvolutional, images: Tensor) -> NDArray[np.int64]:
    """The likeliest class of each pixel: uint8 images (n, 3, s, s) -> int64 (n, s, s)."""
    device = next(network.parameters()).device
    scores = network(network.encoder.input.prepare(images.to(device)), images.shape[-1])
    return scores.argmax(dim=1).cpu().numpy()  # type: ignore[no-any-return]


def _enlarged(scores: Tensor, side: int) -> Tensor:
    if scores.shape[-1] == side:
        return scores
    return F.interpolate(scores, size=(side, side), mode="bilinear", align_corners=False)
