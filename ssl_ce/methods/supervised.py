"""The ceiling and the floor: the same encoder trained on labels, and the same encoder not trained at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from ssl_ce.errors import UserError
from ssl_ce.methods.base import Batch
from ssl_ce.methods.encoder_decoder import initial_weights
from ssl_ce.methods.masking import Byte
from ssl_ce.networks.encoder import Encoder, EncoderConfig, build_encoder
from ssl_ce.settings import Settings, Side

if TYPE_CHECKING:
    from ssl_ce.data.imageset import ImageSet


class RandomInitConfig(Settings):
    """`mean_fill` stands for missing pixels when features of a context are asked for, RGB of 255."""

    size: Side = 128
    encoder: EncoderConfig = EncoderConfig()
    mean_fill: tuple[Byte, Byte, Byte] = (117, 104, 123)


class SupervisedConfig(RandomInitConfig):
    """`classes` is the number of classes; None takes the data's."""

    classes: PositiveInt | None = None

    def for_images(self, images: ImageSet) -> Self:
        """The same for the classes of `images`. Raises `UserError` if they have none, or another number."""
        if images.task != "classes":
            raise UserError(
                f"The supervised ceiling needs one class for each image; {images.name} has "
                f"{'no labels' if images.task == 'none' else images.task}. Give a folder of class folders."
            )
        if self.classes not in (None, len(images.classes)):
            raise UserError(
                f"The recipe says method.classes = {self.classes} and {images.name} has {len(images.classes)}. "
                "Leave the setting out."
            )
        return self.model_copy(update={"classes": len(images.classes)})


class RandomInit:
    """A floor under the same contract: nothing is learnt. Only BatchNorm's statistics are estimated on the images."""

    name = "random-init"
    Config: type[RandomInitConfig] = RandomInitConfig
    capabilities = frozenset({"encode"})
    default_holes: tuple[str, Mapping[str, Any]] | None = None

    def __init__(self, config: RandomInitConfig, seed: int = 0) -> None:
        self.config = config
        with initial_weights(seed):
            self.encoder: Encoder = build_encoder(config.encoder, config.size)
        assert isinstance(self.encoder, nn.Module)
        self.networks: dict[str, nn.Module] = {"encoder": self.encoder}
        self.players: dict[str, tuple[str, ...]] = {}

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [-1, 1] (n, 3, size, size)."""
        return {"images": self.encoder.input.normalize(batch.images)}

    @torch.no_grad()
    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds `map`, the encoder's last, (n, channels, h, w)."""
        return {**inputs, "map": self.networks["encoder"](inputs["images"])}

    def loss(self, player: str, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """There are no players."""
        raise UserError(f"random-init learns nothing; it has no player '{player}'.")


class Supervised:
    """A ceiling: the encoder and a linear layer on its last map, averaged, trained with cross-entropy on labels."""

    name = "supervised"
    Config = SupervisedConfig
    capabilities = frozenset({"encode"})
    default_holes: tuple[str, Mapping[str, Any]] | None = None

    def __init__(self, config: SupervisedConfig, seed: int = 0) -> None:
        self.config = config
        with initial_weights(seed):
            encoder: Any = build_encoder(config.encoder, config.size)
            self.encoder: Encoder = encoder
            self.networks: dict[str, nn.Module] = {"encoder": encoder}
            if config.classes is not None:
                self.networks["head"] = nn.Linear(encoder.output_shape()[0], config.classes)
        self.players = {"classifier": tuple(self.networks)}

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [-1, 1] (n, 3, size, size) and labels, int64 (n,)."""
        if batch.labels is None or self.config.classes is None:
            raise UserError("The supervised ceiling needs images with one class each.")
        return {"images": self.encoder.input.normalize(batch.images), "labels": batch.labels}

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds `scores`, float32 (n, classes)."""
        pooled = self.networks["encoder"](inputs["images"]).mean((2, 3))
        return {**inputs, "scores": self.networks["head"](pooled).float()}

    def loss(self, player: str, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy; logs the share of the batch that is classified correctly."""
        scores, labels = outputs["scores"], outputs["labels"]
        accuracy = (scores.argmax(1) == labels).float().mean()
        return F.cross_entropy(scores, labels), {"accuracy": accuracy.detach()}
