"""The paper's decoder: five up-convolutions, from an encoder's map to the image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_WIDTHS = (256, 128, 64, 32)


class UpConvolution(nn.Module):
    """Upsampling followed by a convolution: (n, inputs, h, w) -> (n, outputs, side, side).

    Written so, and not as a transposed convolution, because it reaches any size exactly and leaves no
    checkerboard (Odena et al., 2016). Source: Pathak et al. 2016, section 3.1 ("Decoder").
    """

    def __init__(self, inputs: int, outputs: int, side: int, norm: bool, last: bool) -> None:
        super().__init__()
        self.side = side
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=last or not norm)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear" if last else "relu")
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
        after: list[nn.Module] = [] if last else [*([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]
        self.layers = nn.Sequential(convolution, *after)

    def forward(self, x: Tensor) -> Tensor:
        """Nearest-neighbour upsampling to `side`, then the convolution."""
        result: Tensor = self.layers(F.interpolate(x, size=(self.side, self.side), mode="nearest"))
        return result


def upconv_decoder(channels: int, side: int, size: int, width: float = 1.0, norm: bool = True) -> nn.Sequential:
    """Five up-convolutions, each but the last with ReLU: (n, channels, side, side) -> (n, 3, size, size).

    Sides grow by a constant factor, rounded: the decoder starts from a map of any side (a small one may keep its
    side in a layer) and reaches any size. The last layer is linear, for it predicts values in [-1, 1].
    """
    sides = [round(side * (size / side) ** (step / 5)) for step in range(1, 6)]
    widths = [max(1, round(count * width)) for count in _WIDTHS] + [3]
    layers: list[nn.Module] = []
    for number, (outputs, reached) in enumerate(zip(widths, sides, strict=True)):
        layers.append(UpConvolution(channels, outputs, reached, norm, last=number == 4))
        channels = outputs
    return nn.Sequential(*layers)
