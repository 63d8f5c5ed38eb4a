"""Masked autoencoder: the modern sibling. Patches are left out, and predicted from those that are left.

Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022 (arXiv 2111.06377).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ssl_ce.errors import UserError
from ssl_ce.holes import draw
from ssl_ce.methods.base import Batch
from ssl_ce.methods.encoder_decoder import initial_weights
from ssl_ce.methods.masking import Byte, HolesConfig, Masking
from ssl_ce.networks.encoder import EncoderConfig, build_encoder
from ssl_ce.networks.vit import PatchDecoder, PatchEncoder
from ssl_ce.settings import Settings, Side, Size

# Holes that are drawn to see whether any patch stays whole.
_TRIED = 64


class PatchDecoderConfig(Settings):
    """Blocks and channels of the decoder, which is thrown away after pretraining."""

    channels: Size = 96
    depth: Size = 2


class MaeConfig(Settings):
    """Every choice of the method.

    Attributes
    ----------
    holes
        The region strategy. `patches` with 75 % missing is MAE's own; without `cells` among its options, its grid is
        the encoder's. Under any other, each patch that a hole touches is missing as a whole.
    normalize_patches
        Predict each patch less its mean, over its standard deviation (the paper's best features). Such a network
        fills no holes: the patch's mean is part of what is missing.
    mean_fill
        What stands for missing pixels when features of a context are asked for, RGB of 255.
    """

    size: Side = 32
    encoder: EncoderConfig = EncoderConfig(name="vit")
    decoder: PatchDecoderConfig = PatchDecoderConfig()
    holes: HolesConfig = Field(default_factory=lambda: HolesConfig(strategy="patches"))
    normalize_patches: bool = False
    mean_fill: tuple[Byte, Byte, Byte] = (117, 104, 123)


class Mae:
    """The encoder sees visible patches only; a small decoder predicts the pixels of the others.

    Parameters
    ----------
    config
        A `MaeConfig`. Its encoder must be one that takes patches: `vit`.
    seed
        Decides the initial weights.
    """

    name = "mae"
    Config = MaeConfig

    def __init__(self, config: MaeConfig, seed: int = 0) -> None:
        self.config = config
        self.capabilities = frozenset({"encode"} if config.normalize_patches else {"encode", "fill"})
        with initial_weights(seed):
            encoder = build_encoder(config.encoder, config.size)
            if not isinstance(encoder, PatchEncoder):
                raise UserError(
                    f"A masked autoencoder leaves patches out, and '{config.encoder.name}' takes whole images. "
                    "Set encoder.name to vit."
                )
            channels = encoder.output_shape()[0]
            decoder = PatchDecoder(channels, config.decoder.channels, encoder.side, encoder.patch, config.decoder.depth)
        self.encoder = encoder
        self.patch = encoder.patch
        self.holes = _on_the_grid(config.holes, encoder.side)
        self.holes.check(config.size)
        self.default_holes = (self.holes.strategy, self.holes.options)
        self._refuse_blindness()
        self.networks: dict[str, nn.Module] = {"encoder": encoder, "decoder": decoder}
        self.players = {"autoencoder": ("encoder", "decoder")}
        self.masking = Masking(encoder.input, config.mean_fill)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [-1, 1] (n, 3, size, size), their holes, and the numbers of the patches that are whole."""
        return self._inputs(batch.images, self.holes.draw(batch, self.config.size))

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds `predicted`, float32 (n, patches, 3 x patch²): values in [-1, 1], unless patches are normalised."""
        tokens = self.networks["encoder"](inputs["images"], inputs["visible"])
        return {**inputs, "predicted": self.networks["decoder"](tokens, inputs["visible"]).float()}

    def loss(self, player: str, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of each missing patch; the mean over an image's missing patches, then over images."""
        target = to_patches(outputs["images"], self.patch)
        if self.config.normalize_patches:
            target = (target - target.mean(2, keepdim=True)) / (target.var(2, keepdim=True) + 1e-6).sqrt()
        error = (outputs["predicted"] - target).square().mean(2)
        missing = outputs["missing"].float()
        loss = ((error * missing).sum(1) / missing.sum(1)).mean()
        return loss, {"reconstruction": loss.detach()}

    @torch.no_grad()
    def reconstruct(self, images: Tensor, holes: Tensor) -> Tensor:
        """All that the decoder predicts, visible patches as well: float32 (n, 3, size, size) in [-1, 1].

        uint8 images (n, 3, size, size) and bool holes (n, 1, size, size), True = missing. What it predicts where it
        was never scored means little.
        """
        if self.config.normalize_patches:
            raise UserError("This network predicts normalised patches, which have lost their brightness: no image.")
        images, holes = self.masking.check(images, holes)
        return from_patches(self.forward(self._inputs(images, holes))["predicted"], self.patch)

    def fill(self, images: Tensor, holes: Tensor) -> Tensor:
        """Complete uint8 images (n, 3, size, size) under bool holes, True = missing; the context stays bit for bit."""
        return self.masking.complete(images, holes, self.reconstruct(images, holes))

    def _refuse_blindness(self) -> None:
        """Raise `UserError` if holes of this strategy touch every patch: nothing could be learnt from nothing."""
        size = self.config.size
        holes = draw(self.holes.strategy, torch.arange(_TRIED), size, size, self.holes.options)
        if bool(F.max_pool2d(holes.float(), self.patch).all()):
            raise UserError(
                f"With patches of {self.patch} pixels, '{self.holes.strategy}' holes {dict(self.holes.options)} leave "
                "no patch of an image whole. Take smaller patches (encoder.patch) or fewer, larger holes."
            )

    def _inputs(self, images: Tensor, holes: Tensor) -> dict[str, Tensor]:
        missing = F.max_pool2d(holes.float(), self.patch).flatten(1) > 0.5
        inputs = self.masking.inputs(images, holes)
        return {"images": inputs["images"], "holes": holes, "missing": missing, "visible": visible_patches(missing)}


def _on_the_grid(holes: HolesConfig, side: int) -> HolesConfig:
    if holes.strategy != "patches" or "cells" in holes.options:
        return holes
    return holes.model_copy(update={"options": {**holes.options, "cells": side}})


def visible_patches(missing: Tensor) -> Tensor:
    """bool (n, patches) -> int64 (n, most): numbers of the patches that are not missing, in order, padded with -1."""
    order = missing.to(torch.uint8).argsort(dim=1, stable=True)
    counts = (~missing).sum(1, keepdim=True)
    most = int(counts.max())
    return order[:, :most].masked_fill(torch.arange(most, device=missing.device) >= counts, -1)


def to_patches(images: Tensor, patch: int) -> Tensor:
    """(n, 3, size, size) -> (n, patches, 3 x patch²), patches row by row, each by channel, row and column."""
    return F.unfold(images, patch, stride=patch).transpose(1, 2)


def from_patches(patches: Tensor, patch: int) -> Tensor:
    """The inverse of `to_patches`, for square images."""
    size = patch * round(patches.shape[1] ** 0.5)
    return F.fold(patches.transpose(1, 2), (size, size), patch, stride=patch)
