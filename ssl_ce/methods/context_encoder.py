"""Context Encoder: fill dropped-out regions from their context. Source: Pathak et al., CVPR 2016 (arXiv 1604.07379)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from ssl_ce.errors import UserError
from ssl_ce.holes import draw, predicted_region
from ssl_ce.images import as_holes, as_images
from ssl_ce.methods.base import Batch
from ssl_ce.networks.bottleneck import channelwise_bottleneck, convolution_bottleneck
from ssl_ce.networks.dcgan import Discriminator, dcgan_decoder
from ssl_ce.networks.decoder import upconv_decoder
from ssl_ce.networks.encoder import EncoderConfig, build_encoder
from ssl_ce.settings import Settings

Byte = Annotated[int, Field(ge=0, le=255)]


class BottleneckConfig(Settings):
    """`channelwise-fc`, the paper's; or `convolution` to `dim` numbers, the public code's."""

    kind: Literal["channelwise-fc", "convolution"] = "channelwise-fc"
    dim: PositiveInt = 4000


class DecoderConfig(Settings):
    """`upconv`, the paper's five up-convolutions; or `dcgan`, the public code's transposed convolutions.

    `output` is the part of the image that comes out: all of it, or the central half (which fills centre holes only).
    """

    kind: Literal["upconv", "dcgan"] = "upconv"
    output: Literal["image", "center"] = "image"
    width: PositiveFloat = 1.0


class HolesConfig(Settings):
    """The region strategy of training and its options."""

    strategy: str = "random-region"
    options: dict[str, Any] = Field(default_factory=dict)


class ReconstructionConfig(Settings):
    """The L2 loss.

    Attributes
    ----------
    weight
        λ_rec.
    region
        What is scored: "hole" (what is missing, grown by `overlap`) or "output" (all that the decoder predicts).
    overlap
        Width in pixels of the border of known pixels that is predicted as well.
    overlap_weight
        Factor on the squared error where pixels are known.
    normalization
        "hole": summed, over 3 x missing pixels, for each image; then the mean over images (this project's
        convention). "published": the mean over all predicted values of a batch, as in the public code.
    """

    weight: NonNegativeFloat = 1.0
    region: Literal["hole", "output"] = "hole"
    overlap: NonNegativeInt = 0
    overlap_weight: NonNegativeFloat = 10.0
    normalization: Literal["hole", "published"] = "hole"


class AdversarialConfig(Settings):
    """The adversarial loss: λ_adv, and the discriminator's width. D sees the whole output, never the context."""

    weight: PositiveFloat = 0.001
    width: PositiveFloat = 1.0


class ContextEncoderConfig(Settings):
    """Every choice of the method.

    Attributes
    ----------
    size
        Side of the square images, in pixels.
    mean_fill
        What missing pixels are set to, RGB of 255 (the public code's 117/104/123).
    """

    size: PositiveInt = 128
    encoder: EncoderConfig = EncoderConfig()
    bottleneck: BottleneckConfig = BottleneckConfig()
    decoder: DecoderConfig = DecoderConfig()
    holes: HolesConfig = HolesConfig()
    mean_fill: tuple[Byte, Byte, Byte] = (117, 104, 123)
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    adversarial: AdversarialConfig | None = None


class ContextEncoder:
    """Encoder, bottleneck and decoder that predict what is missing; optionally a discriminator that judges it.

    `networks`, `players`, `prepare`, `forward` and `loss` are what the training loop uses (`methods.base.Method`).

    Parameters
    ----------
    config
        A `ContextEncoderConfig`.
    seed
        Decides the initial weights.
    """

    name = "context-encoder"
    Config = ContextEncoderConfig
    capabilities = frozenset({"encode", "fill"})

    def __init__(self, config: ContextEncoderConfig, seed: int = 0) -> None:
        self.config = config
        self.default_holes: tuple[str, Mapping[str, Any]] = (config.holes.strategy, config.holes.options)
        # Options that do not fit are refused here, before anything is written, and not at the first step.
        draw(config.holes.strategy, torch.zeros(1, dtype=torch.int64), config.size, config.size, config.holes.options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = build_encoder(config.encoder, config.size)
            channels, side = _last_map(self.encoder)
            if config.bottleneck.kind == "channelwise-fc":
                bottleneck = channelwise_bottleneck(channels, side)
            else:
                bottleneck = convolution_bottleneck(channels, side, config.bottleneck.dim)
                channels, side = config.bottleneck.dim, 1
            size = self.output_size
            if config.decoder.kind == "upconv":
                decoder = upconv_decoder(channels, side, size, config.decoder.width)
            else:
                decoder = dcgan_decoder(channels, side, size, config.decoder.width)
            assert isinstance(self.encoder, nn.Module)
            self.networks: dict[str, nn.Module] = {
                "encoder": self.encoder,
                "bottleneck": bottleneck,
                "decoder": decoder,
            }
            self.players: dict[str, tuple[str, ...]] = {"generator": ("encoder", "bottleneck", "decoder")}
            if config.adversarial is not None:
                self.networks["discriminator"] = Discriminator(size, config.adversarial.width)
                self.players = {"discriminator": ("discriminator",), **self.players}

    @property
    def output_size(self) -> int:
        """Side of what the decoder predicts, in pixels."""
        return self.config.size if self.config.decoder.output == "image" else self.config.size // 2

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [-1, 1] (n, 3, size, size), their holes (bool, True = missing), and the same images mean-filled."""
        holes = draw(
            self.config.holes.strategy,
            batch.keys("hole"),
            self.config.size,
            self.config.size,
            self.config.holes.options,
        )
        return self._inputs(batch.images, holes)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """F((1 − M̂) ⊙ x): adds `predicted`, float32 (n, 3, output_size, output_size) in [-1, 1]."""
        code = self.networks["bottleneck"](self.networks["encoder"](inputs["context"]))
        return {**inputs, "predicted": self.networks["decoder"](code).float()}

    def loss(self, player: str, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's λ_rec L_rec + λ_adv L_adv, or the discriminator's cross-entropy. Equations (1) to (3)."""
        if player == "discriminator":
            return self._discriminator_loss(outputs)
        reconstruction = self._reconstruction_loss(outputs)
        logs = {"reconstruction": reconstruction.detach()}
        loss = self.config.reconstruction.weight * reconstruction
        if self.config.adversarial is not None:
            # The non-saturating loss: −log D(F(x)) instead of log(1 − D(F(x))).
            adversarial = F.softplus(-self.networks["discriminator"](outputs["predicted"]).float()).mean()
            logs["adversarial"] = adversarial.detach()
            loss = loss + self.config.adversarial.weight * adversarial
        return loss, logs

    @torch.no_grad()
    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """Complete uint8 images (n, 3, size, size) under bool holes, True = missing; the context stays bit for bit.

        Raises
        ------
        UserError
            If the images have another size, or a hole reaches beyond what a centre network predicts.
        """
        images, size = as_images(images), self.config.size
        holes = as_holes(holes, images)
        if images.shape[2:] != (size, size):
            raise UserError(
                f"This network fills images of {size} x {size} pixels; got {images.shape[2]} x {images.shape[3]}."
            )
        region = self._output_region(holes)
        if bool((holes & ~region).any()):
            raise UserError(
                f"This network predicts the central {self.output_size} x {self.output_size} pixels only; "
                "a hole reaches beyond them. Use --holes center, or a recipe with decoder.output: image."
            )
        predicted = self.forward(self._inputs(images, holes))["predicted"]
        values = ((predicted + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        margin = (size - self.output_size) // 2
        whole = F.pad(values, (margin,) * 4)
        return torch.where(holes, whole, images)

    def _inputs(self, images: Tensor, holes: Tensor) -> dict[str, Tensor]:
        fill = torch.tensor(self.config.mean_fill, dtype=torch.uint8, device=images.device).view(1, 3, 1, 1)
        normalize = self.encoder.input.normalize
        return {
            "images": normalize(images),
            "holes": holes,
            "context": normalize(torch.where(holes, fill, images)),
        }

    def _output_region(self, holes: Tensor) -> Tensor:
        """Where the decoder predicts: bool, shaped like `holes`."""
        margin = (self.config.size - self.output_size) // 2
        inner = torch.ones(*holes.shape[:2], self.output_size, self.output_size, dtype=torch.bool, device=holes.device)
        return F.pad(inner, (margin,) * 4)

    def _cropped(self, values: Tensor) -> Tensor:
        margin = (self.config.size - self.output_size) // 2
        return values[..., margin : margin + self.output_size, margin : margin + self.output_size]

    def _reconstruction_loss(self, outputs: dict[str, Tensor]) -> Tensor:
        """‖M̂ ⊙ (x − F((1 − M̂) ⊙ x))‖², equation (1), with the overlap's weight; normalised as the recipe says."""
        settings = self.config.reconstruction
        holes = outputs["holes"]
        scored = predicted_region(holes, settings.overlap) if settings.region == "hole" else self._output_region(holes)
        weight = torch.where(holes, 1.0, settings.overlap_weight) * scored
        weighted = self._cropped(weight) * (outputs["predicted"] - self._cropped(outputs["images"])).square()
        if settings.normalization == "published":
            return weighted.mean()
        missing = holes.flatten(1).sum(1)
        return (weighted.flatten(1).sum(1) / (3.0 * missing)).mean()

    def _discriminator_loss(self, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """−log D(x) − log(1 − D(F(x))): equation (2), which D maximises."""
        discriminator = self.networks["discriminator"]
        real = discriminator(self._cropped(outputs["images"])).float()
        filled = discriminator(outputs["predicted"].detach()).float()
        logs = {
            "log_d_real": F.logsigmoid(real).mean().detach(),
            "log_d_filled": F.logsigmoid(filled).mean().detach(),
        }
        return F.softplus(-real).mean() + F.softplus(filled).mean(), logs


def _last_map(encoder: Any) -> tuple[int, int]:
    channels, height, _ = encoder.output_shape()
    return channels, height
