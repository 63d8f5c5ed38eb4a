"""The public code's networks: stride-2 4 x 4 convolutions, as in DCGAN, for encoder, decoder and discriminator.

Source: pathak22/context-encoder (`train.lua`, `train_random.lua`). That code zeroes the biases of all convolutions
at every step; here the convolutions have none, which is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_ce.errors import UserError
from ssl_ce.networks.encoder import EncoderConfig, InputSpec, StagedEncoder, refuse_axes
from ssl_ce.networks.layers import PointConvTranspose2d, WholeMapConv2d, scaled

_SMALLEST = 16


def dcgan_widths(size: int, width: float = 1.0) -> list[int]:
    """Channels of the stride-2 layers that bring `size` pixels down to 4: 64, 64, 128, 256, 512 for 128 pixels.

    Raises
    ------
    UserError
        If `size` is not 4 times a power of two.
    """
    layers = (size // 4).bit_length() - 1
    if size < _SMALLEST or 4 * 2**layers != size:
        raise UserError(
            f"The DCGAN-like networks take images of 16, 32, 64, 128, 256 ... pixels, not {size}. Set another size."
        )
    return _widths(layers, width)


def dcgan_encoder(size: int, config: EncoderConfig) -> StagedEncoder:
    """Stride-2 convolutions down to 4 x 4, with taps conv1, conv2, ... Public code: `netE` without its last layer.

    It always has BatchNorm and never pools, so `norm` and `pool_free` are refused.
    """
    refuse_axes(config, "norm", "pool_free", "patch", "depth")
    return StagedEncoder(InputSpec(size), _stages(dcgan_widths(size, config.width)))


def dcgan_decoder(channels: int, side: int, size: int, width: float = 1.0) -> nn.Sequential:
    """Mirror of the encoder: (n, channels, side, side) -> (n, 3, size, size) in [-1, 1] (Tanh).

    `side` is 1 (after a bottleneck of `channels` numbers) or 4.
    """
    if side not in (1, 4):
        raise UserError(
            f"The dcgan decoder starts from a map of 1 x 1 or 4 x 4, not {side} x {side}; take decoder.kind: upconv."
        )
    widths = dcgan_widths(size, width)[::-1]
    layers: list[nn.Module] = []
    if side == 1:
        layers += [
            PointConvTranspose2d(channels, widths[0], 4),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        channels = widths[0]
    for outputs in [*widths[1:]]:
        layers += [
            nn.ConvTranspose2d(channels, outputs, 4, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
        channels = outputs
    layers += [nn.ConvTranspose2d(channels, 3, 4, 2, 1, bias=False), nn.Tanh()]
    decoder = nn.Sequential(*layers)
    initialize(decoder)
    return decoder


class Discriminator(nn.Module):
    """Real or filled? Images in [-1, 1] (n, inputs, size, size) -> logits (n,), at any size from 16 pixels.

    Stride-2 convolutions until fewer than 8 pixels are left a side, then one convolution over all of them: the
    encoder's layers and a 4 x 4 convolution where `size` is a power of two.

    Parameters
    ----------
    size
        Side of the images in pixels.
    width
        Factor on the number of channels.
    inputs
        Channels of the images: 6 for a prediction beside what it is conditioned on.

    Raises
    ------
    UserError
        If `size` is below 16.
    """

    def __init__(self, size: int, width: float = 1.0, inputs: int = 3) -> None:
        super().__init__()
        if size < _SMALLEST:
            raise UserError(f"The discriminator judges images from {_SMALLEST} pixels, not {size}. Use larger ones.")
        side, layers = size, 0
        while side >= 8:
            side, layers = side // 2, layers + 1
        widths = _widths(layers, width)
        self.layers = nn.Sequential(*_stages(widths, inputs).values(), WholeMapConv2d(widths[-1], 1, side, bias=False))
        initialize(self.layers)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of D(x): positive for real."""
        logits: Tensor = self.layers(x)
        return logits.flatten()


def initialize(module: nn.Module) -> None:
    """The public code's initial weights: convolutions N(0, 0.02), BatchNorm N(1, 0.02) with bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, 0.02)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)


def _widths(layers: int, width: float) -> list[int]:
    """Channels of so many stride-2 layers: the last four double, those before have 64."""
    channels = [64] * max(0, layers - 4) + [64, 128, 256, 512][: min(layers, 4)]
    return [scaled(count, width) for count in channels]


def _stages(widths: list[int], inputs: int = 3) -> dict[str, nn.Module]:
    stages: dict[str, nn.Module] = {}
    channels = inputs
    for number, outputs in enumerate(widths, start=1):
        norm = [nn.BatchNorm2d(outputs)] if number > 1 else []
        stages[f"conv{number}"] = nn.Sequential(
            nn.Conv2d(channels, outputs, 4, 2, 1, bias=False), *norm, nn.LeakyReLU(0.2)
        )
        channels = outputs
    with torch.no_grad():
        for stage in stages.values():
            initialize(stage)
    return stages
