"""Layers that several networks are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WholeMapConv2d(nn.Conv2d):
    """A convolution whose kernel covers the whole map, computed as the one matrix product that it is.

    (n, inputs, side, side) -> (n, outputs, 1, 1). The weights are `nn.Conv2d`'s, the numbers too up to rounding. As
    convolutions the public code's two layers of 4,000 x 512 x 4 x 4 weights slow its training on a CPU to 0.4 of its
    rate (benchmarks/speed/pretraining.py --each).
    """

    def __init__(self, inputs: int, outputs: int, side: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, side, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """See the class."""
        return F.linear(_rows(input, self.weight), _rows(self.weight, self.weight), self.bias)[:, :, None, None]


class PointConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution of a map of one pixel, without a bias, computed as the one matrix product that it is.

    (n, inputs, 1, 1) -> (n, outputs, side, side). The weights are `nn.ConvTranspose2d`'s, as with `WholeMapConv2d`.
    """

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__(inputs, outputs, side, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """See the class."""
        found = input.flatten(1) @ _rows(self.weight, self.weight)
        outputs, height, width = self.weight.shape[1:]
        if _channels_last(self.weight):
            return found.view(-1, height, width, outputs).permute(0, 3, 1, 2)
        return found.view(-1, outputs, height, width)


def _rows(values: Tensor, weight: Tensor) -> Tensor:
    """`values` (n, ...) as (n, numbers), in the order in which `weight` lies in memory: nothing is moved."""
    return (values.permute(0, 2, 3, 1) if _channels_last(weight) else values).flatten(1)


def _channels_last(weight: Tensor) -> bool:
    return not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)


def convolution(inputs: int, outputs: int, kernel: int, stride: int, padding: int, norm: bool) -> nn.Sequential:
    """A convolution with He's initial weights, BatchNorm if `norm`, and ReLU: (n, inputs, h, w) -> (n, outputs, ...).

    It has biases (0) where there is no BatchNorm. Source: He et al. 2015, arXiv 1502.01852.
    """
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not norm)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU())


def scaled(channels: int, width: float) -> int:
    """The number of channels times `width`, at least 1."""
    return max(1, round(channels * width))
