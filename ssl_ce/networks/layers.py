"""The layer that several encoders are made of."""

from __future__ import annotations

from torch import nn


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
