"""Context Encoder: fill dropped-out regions from their context. Source: Pathak et al., CVPR 2016 (arXiv 1604.07379)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.holes import draw, predicted_region
from ssl_ce.methods.adversary import AdversarialConfig, Adversary
from ssl_ce.methods.base import Batch
from ssl_ce.methods.encoder_decoder import (
    BottleneckConfig,
    DecoderConfig,
    EncoderDecoder,
    EncoderDecoderConfig,
    build_networks,
    initial_weights,
)
from ssl_ce.methods.masking import HolesConfig, central
from ssl_ce.settings import Settings


class RegionDecoderConfig(DecoderConfig):
    """`output` is the part of the image that comes out: all of it, or the central half (which fills centre holes)."""

    output: Literal["image", "center"] = "image"


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


class ContextEncoderConfig(EncoderDecoderConfig):
    """Every choice of the method. `adversarial: null` is L2 only, the paper's feature learning."""

    bottleneck: BottleneckConfig = BottleneckConfig()
    decoder: RegionDecoderConfig = RegionDecoderConfig()
    holes: HolesConfig = HolesConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    adversarial: AdversarialConfig | None = None


class ContextEncoder(EncoderDecoder):
    """Encoder, bottleneck and decoder that predict what is missing; optionally a discriminator that judges it.

    Parameters
    ----------
    config
        A `ContextEncoderConfig`.
    seed
        Decides the initial weights.

    Attributes
    ----------
    output_size
        Side of what is predicted, in pixels: `size`, or half of it for a centre network.
    fillable_size
        Side of the central square in which holes can be filled: `size`; for a centre network what was missing in
        training, which with an overlap is less than what is predicted. On a larger hole it lacks the known border
        that it was trained to continue, and fails.
    """

    name = "context-encoder"
    Config: type[ContextEncoderConfig] = ContextEncoderConfig

    def __init__(self, config: ContextEncoderConfig, seed: int = 0) -> None:
        self.config = config
        config.holes.check(config.size)
        self.default_holes = (config.holes.strategy, config.holes.options)
        self.output_size = config.size if config.decoder.output == "image" else config.size // 2
        self.fillable_size = self.output_size if self.output_size == config.size else self._trained_side()
        self.adversary = (
            None if config.adversarial is None else Adversary(config.adversarial, config.size, self.output_size)
        )
        with initial_weights(seed):
            networks = build_networks(config, self.output_size)
            if self.adversary is not None:
                networks["discriminator"] = self.adversary.build()
        super().__init__(config, networks)
        if self.adversary is not None:
            self.players = {"discriminator": ("discriminator",), **self.players}

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [-1, 1] (n, 3, size, size), their holes (bool, True = missing), and the same images mean-filled."""
        return self.masking.inputs(batch.images, self.config.holes.draw(batch, self.config.size))

    def loss(self, player: str, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's λ_rec L_rec + λ_adv L_adv, or the discriminator's cross-entropy. Equations (1) to (3)."""
        if player == "discriminator":
            assert self.adversary is not None
            return self.adversary.discriminator_loss(self.networks["discriminator"], outputs)
        reconstruction = self._reconstruction_loss(outputs)
        logs = {"reconstruction": reconstruction.detach()}
        loss = self.config.reconstruction.weight * reconstruction
        if self.adversary is not None:
            adversarial = self.adversary.generator_loss(self.networks["discriminator"], outputs)
            logs["adversarial"] = adversarial.detach()
            loss = loss + self.adversary.config.weight * adversarial
        return loss, logs

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """Complete uint8 images (n, 3, size, size) under bool holes, True = missing; the context stays bit for bit.

        Raises
        ------
        UserError
            If the images have another size, or a hole reaches beyond what a centre network can fill.
        """
        images, holes = self.masking.check(images, holes)
        side = self.fillable_size
        if bool((holes & ~self._central(holes, side)).any()):
            raise UserError(
                f"This network was trained to fill the central {side} x {side} of {self.config.size} x "
                f"{self.config.size} pixels only, and a hole reaches beyond them. Use --holes center --set "
                f"options.side={side / self.config.size:g}, or a recipe with decoder.output: image."
            )
        return super().fill(images, holes)

    def _trained_side(self) -> int:
        """Side of the central square that was missing in training, at most what is predicted."""
        holes, size = self.config.holes, self.config.size
        if holes.strategy != "center":
            return self.output_size
        hole = draw("center", torch.zeros(1, dtype=torch.int64), size, size, holes.options)
        return min(int(hole[0, 0].any(0).sum()), self.output_size)

    def _central(self, holes: Tensor, side: int) -> Tensor:
        """The central `side` x `side` pixels: bool, shaped like `holes`."""
        margin = (self.config.size - side) // 2
        inner = torch.ones(*holes.shape[:2], side, side, dtype=torch.bool, device=holes.device)
        return F.pad(inner, (margin, self.config.size - side - margin) * 2)

    def _reconstruction_loss(self, outputs: dict[str, Tensor]) -> Tensor:
        """‖M̂ ⊙ (x − F((1 − M̂) ⊙ x))‖², equation (1), with the overlap's weight; normalised as the recipe says."""
        settings, side = self.config.reconstruction, self.output_size
        holes = outputs["holes"]
        scored = predicted_region(holes, settings.overlap) if settings.region == "hole" else self._central(holes, side)
        weight = torch.where(holes, 1.0, settings.overlap_weight) * scored
        weighted = central(weight, side) * (outputs["predicted"] - central(outputs["images"], side)).square()
        if settings.normalization == "published":
            return weighted.mean()
        missing = holes.flatten(1).sum(1)
        return (weighted.flatten(1).sum(1) / (3.0 * missing)).mean()
