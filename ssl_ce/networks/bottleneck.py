"""What stands between encoder and decoder, and lets information travel across the whole image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_ce.networks.dcgan import initialize
from ssl_ce.networks.layers import WholeMapConv2d


class ChannelwiseFullyConnected(nn.Module):
    """Connects all positions within each feature map, and no two maps: m maps of n x n give m·n⁴ weights.

    Source: Pathak et al. 2016, section 3.1 ("Channel-wise fully-connected layer").

    Parameters
    ----------
    channels, side
        m and n.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        positions = side * side
        self.weight = nn.Parameter(torch.empty(channels, positions, positions))
        # ReLU follows one convolution later; this keeps the variance of the maps as it is.
        nn.init.normal_(self.weight, 0.0, positions**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(n, m, side, side) -> the same shape: out[c, q] = sum over p of in[c, p] · weight[c, p, q]."""
        mixed = torch.einsum("ncp,cpq->ncq", x.flatten(2), self.weight)
        return mixed.reshape(x.shape)


class GaussianBottleneck(nn.Module):
    """A variational autoencoder's bottleneck: one convolution over the whole map to a Gaussian for each image.

    No nonlinearity follows, for means and log-variances have any sign. Over a map of unit variance the initial means
    have unit variance and the initial log-variances a hundredth of it, however large the map: variances begin near 1.
    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, arXiv 1312.6114, appendix C.2.

    Parameters
    ----------
    channels, side
        Of the map.
    dim
        Numbers that are drawn for one image.
    """

    def __init__(self, channels: int, side: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.convolution = WholeMapConv2d(channels, 2 * dim, side)
        spread = (channels * side * side) ** -0.5
        nn.init.normal_(self.convolution.weight[:dim], 0.0, spread)
        nn.init.normal_(self.convolution.weight[dim:], 0.0, 0.1 * spread)
        assert self.convolution.bias is not None
        nn.init.zeros_(self.convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, side, side) -> (n, 2 * dim, 1, 1): `dim` means, then `dim` log-variances."""
        parameters: Tensor = self.convolution(x)
        return parameters


def channelwise_bottleneck(channels: int, side: int) -> nn.Sequential:
    """The paper's bottleneck: channel-wise fully connected, then a 1 x 1 convolution across maps, then ReLU."""
    mixing = nn.Conv2d(channels, channels, 1)
    nn.init.kaiming_normal_(mixing.weight, nonlinearity="relu")
    assert mixing.bias is not None
    nn.init.zeros_(mixing.bias)
    return nn.Sequential(ChannelwiseFullyConnected(channels, side), mixing, nn.ReLU())


def convolution_bottleneck(channels: int, side: int, dim: int) -> nn.Sequential:
    """The public code's bottleneck: one convolution over the whole map to `dim` numbers: (n, dim, 1, 1)."""
    bottleneck = nn.Sequential(WholeMapConv2d(channels, dim, side, bias=False), nn.BatchNorm2d(dim), nn.LeakyReLU(0.2))
    initialize(bottleneck)
    return bottleneck
