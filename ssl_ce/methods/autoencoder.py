"""Autoencoders without holes: the paper's contrast. One has its bottleneck only, the other undoes corruption."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from ssl_ce.methods.base import Batch
from ssl_ce.methods.encoder_decoder import (
    BottleneckConfig,
    EncoderDecoder,
    EncoderDecoderConfig,
    build_networks,
    initial_weights,
)
from ssl_ce.randomness import normal, uniform
from ssl_ce.settings import Settings


class AutoencoderConfig(EncoderDecoderConfig):
    """Size and networks."""

    bottleneck: BottleneckConfig = BottleneckConfig()


class Autoencoder(EncoderDecoder):
    """Reconstruct the image from its code: L = ‖x − F(x)‖² / (3 x pixels) in [-1, 1], the mean over images.

    It fills nothing: a hole would be content to it, and it would reproduce the hole.
    """

    name = "autoencoder"
    Config: type[AutoencoderConfig] = AutoencoderConfig
    capabilities = frozenset({"encode"})

    def __init__(self, config: AutoencoderConfig, seed: int = 0) -> None:
        self.config = config
        with initial_weights(seed):
            networks = build_networks(config, config.size)
        super().__init__(config, networks)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [-1, 1] (n, 3, size, size), as truth and as `context`."""
        images = self.encoder.input.normalize(batch.images)
        return {"images": images, "context": images}

    def loss(self, player: str, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error in [-1, 1], over the whole image."""
        error = (outputs["predicted"] - outputs["images"]).square().mean()
        return error, {"reconstruction": error.detach()}


class CorruptionConfig(Settings):
    """What is done to single pixels.

    `masking` sets a share `amount` of the pixels to the mean fill; `gaussian` adds noise of standard deviation
    `amount` to values in [-1, 1].
    """

    kind: Literal["masking", "gaussian"] = "masking"
    amount: Annotated[float, Field(gt=0.0)] = 0.5

    @model_validator(mode="after")
    def _a_share(self) -> Self:
        if self.kind == "masking" and self.amount >= 1.0:
            raise ValueError("masking takes an amount below 1: the share of pixels that are missing")
        return self


class DenoisingAutoencoderConfig(AutoencoderConfig):
    """The autoencoder's choices, and the corruption."""

    corruption: CorruptionConfig = CorruptionConfig()


class DenoisingAutoencoder(Autoencoder):
    """Reconstruct the image from a corrupted one (Vincent et al., ICML 2008): low-level, for no region is missing.

    The loss is over all pixels. With `masking`, a hole is what it was trained on, in one piece, so it fills; with
    `gaussian` it does not.
    """

    name = "denoising-autoencoder"
    Config = DenoisingAutoencoderConfig
    config: DenoisingAutoencoderConfig

    def __init__(self, config: DenoisingAutoencoderConfig, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.capabilities = frozenset({"encode", "fill"} if config.corruption.kind == "masking" else {"encode"})

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [-1, 1] (n, 3, size, size) and the same corrupted; with masking, `holes` are the pixels lost."""
        corruption, size = self.config.corruption, self.config.size
        keys = batch.keys("corruption")
        if corruption.kind == "masking":
            return self.masking.inputs(batch.images, uniform(keys, 1, size, size) < corruption.amount)
        images = self.encoder.input.normalize(batch.images)
        return {"images": images, "context": images + corruption.amount * normal(keys, *images.shape[1:])}
