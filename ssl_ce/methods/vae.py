"""Variational autoencoder on masked images.

Source: Kingma and Welling, "Auto-Encoding Variational Bayes" (arXiv 1312.6114), equation (10); Desai and Ghosal's
report, which feeds it images without their centre: ‖x − D(z)‖² + KL.
"""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from ssl_ce.methods.base import Batch
from ssl_ce.methods.encoder_decoder import (
    EncoderDecoder,
    EncoderDecoderConfig,
    GaussianConfig,
    build_networks,
    initial_weights,
)
from ssl_ce.methods.masking import HolesConfig
from ssl_ce.randomness import normal


class VaeConfig(EncoderDecoderConfig):
    """Networks, holes, and the weight of the KL divergence (1: the report's loss).

    The default holes are the report's: the central quarter of the side, 64 of 256 pixels.
    """

    bottleneck: GaussianConfig = GaussianConfig()
    holes: HolesConfig = HolesConfig(strategy="center", options={"side": 0.25})
    kl_weight: NonNegativeFloat = 1.0


class Vae(EncoderDecoder):
    """Encode the context into a Gaussian, draw z from it, decode the whole image.

    `fill` and `reconstruct` use the Gaussian's mean.
    """

    name = "vae"
    Config = VaeConfig

    def __init__(self, config: VaeConfig, seed: int = 0) -> None:
        self.config = config
        config.holes.check(config.size)
        self.default_holes = (config.holes.strategy, config.holes.options)
        with initial_weights(seed):
            networks = build_networks(config, config.size)
        super().__init__(config, networks)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Images in [-1, 1], holes, the images mean-filled, and `noise`, float32 (n, dim, 1, 1), N(0, 1)."""
        inputs = self.masking.inputs(batch.images, self.config.holes.draw(batch, self.config.size))
        return {**inputs, "noise": normal(batch.keys("latent"), self.config.bottleneck.dim, 1, 1)}

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """z = mean + deviation ⊙ noise (the mean without `noise`); adds `mean`, `log_variance` and `predicted`."""
        code = self.networks["bottleneck"](self.networks["encoder"](inputs["context"])).float()
        mean, log_variance = code.chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * inputs["noise"] if "noise" in inputs else mean
        predicted = self.networks["decoder"](z).float()
        return {**inputs, "mean": mean, "log_variance": log_variance, "predicted": predicted}

    def loss(self, player: str, outputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """(‖x − D(z)‖² + β KL) / (3 x pixels), the mean over images; x in [-1, 1], the whole of it.

        KL(q(z|x) ‖ N(0, 1)) = ½ Σ (mean² + variance − log variance − 1), in nats for each image. Both sums are
        divided alike, so that their proportion is the report's while the loss is of the size of the other methods'.
        """
        values = outputs["images"][0].numel()
        error = (outputs["predicted"] - outputs["images"]).square().flatten(1).sum(1).mean()
        mean, log_variance = outputs["mean"], outputs["log_variance"]
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).flatten(1).sum(1).mean()
        loss = (error + self.config.kl_weight * divergence) / values
        return loss, {"reconstruction": (error / values).detach(), "kl": divergence.detach()}
