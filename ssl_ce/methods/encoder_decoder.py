"""Encoder, bottleneck, decoder: what the inpainting methods and the autoencoders have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_ce.methods.masking import Byte, Masking
from ssl_ce.networks.bottleneck import GaussianBottleneck, channelwise_bottleneck, convolution_bottleneck
from ssl_ce.networks.dcgan import dcgan_decoder
from ssl_ce.networks.decoder import upconv_decoder
from ssl_ce.networks.encoder import Encoder, EncoderConfig, build_encoder
from ssl_ce.settings import Settings, Side, Size, Width


class BottleneckConfig(Settings):
    """`channelwise-fc`, the paper's; or `convolution` to `dim` numbers, the public code's."""

    kind: Literal["channelwise-fc", "convolution"] = "channelwise-fc"
    dim: Size = 4000


class GaussianConfig(Settings):
    """A Gaussian of `dim` numbers, each with a mean and a variance."""

    dim: Size = 2000


class DecoderConfig(Settings):
    """`upconv`, the paper's five up-convolutions; or `dcgan`, the public code's transposed convolutions."""

    kind: Literal["upconv", "dcgan"] = "upconv"
    width: Width = 1.0


class EncoderDecoderConfig(Settings):
    """Networks, and what missing pixels look like.

    Attributes
    ----------
    size
        Side of the square images, in pixels.
    mean_fill
        What missing pixels are set to, RGB of 255 (the public code's 117/104/123).
    """

    size: Side = 128
    encoder: EncoderConfig = EncoderConfig()
    bottleneck: BottleneckConfig | GaussianConfig = BottleneckConfig()
    decoder: DecoderConfig = DecoderConfig()
    mean_fill: tuple[Byte, Byte, Byte] = (117, 104, 123)


class EncoderDecoder:
    """The networks of one method, how an image goes through them, and how a hole is filled with what comes out.

    A method adds `prepare` and `loss` (`methods.base.Method`).

    Parameters
    ----------
    config
        Size, networks and mean fill.
    networks
        "encoder", "bottleneck" and "decoder": the generator's.
    """

    capabilities: frozenset[str] = frozenset({"encode", "fill"})
    default_holes: tuple[str, Mapping[str, Any]] | None = None

    def __init__(self, config: EncoderDecoderConfig, networks: dict[str, nn.Module]) -> None:
        encoder: Any = networks["encoder"]
        self.encoder: Encoder = encoder
        self.networks = networks
        self.players: dict[str, tuple[str, ...]] = {"generator": ("encoder", "bottleneck", "decoder")}
        self.masking = Masking(encoder.input, config.mean_fill)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """F((1 − M̂) ⊙ x): adds `predicted`, float32 (n, 3, output size, output size) in [-1, 1]."""
        code = self.networks["bottleneck"](self.networks["encoder"](inputs["context"]))
        return {**inputs, "predicted": self.networks["decoder"](code).float()}

    @torch.no_grad()
    def reconstruct(self, images: Tensor, holes: Tensor) -> Tensor:
        """All that the decoder predicts, the context as well: float32 (n, 3, output size, output size) in [-1, 1].

        uint8 images (n, 3, size, size) and bool holes (n, 1, size, size), True = missing. Without randomness.
        """
        images, holes = self.masking.check(images, holes)
        return self.forward(self.masking.inputs(images, holes))["predicted"]

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """Complete uint8 images (n, 3, size, size) under bool holes, True = missing; the context stays bit for bit.

        Raises
        ------
        UserError
            If the images have another size.
        """
        return self.masking.complete(images, holes, self.reconstruct(images, holes))


def build_networks(config: EncoderDecoderConfig, output_size: int) -> dict[str, nn.Module]:
    """Encoder, bottleneck and decoder for an output of `output_size` pixels. Their weights follow torch's generator."""
    encoder: Any = build_encoder(config.encoder, config.size)
    channels, side, _ = encoder.output_shape()
    bottleneck: nn.Module
    if isinstance(config.bottleneck, GaussianConfig):
        bottleneck = GaussianBottleneck(channels, side, config.bottleneck.dim)
    elif config.bottleneck.kind == "convolution":
        bottleneck = convolution_bottleneck(channels, side, config.bottleneck.dim)
    else:
        bottleneck = channelwise_bottleneck(channels, side)
    if isinstance(config.bottleneck, GaussianConfig) or config.bottleneck.kind == "convolution":
        channels, side = config.bottleneck.dim, 1
    build = upconv_decoder if config.decoder.kind == "upconv" else dcgan_decoder
    decoder = build(channels, side, output_size, config.decoder.width)
    return {"encoder": encoder, "bottleneck": bottleneck, "decoder": decoder}


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """What is built inside has the weights of `seed`; torch's own generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
