"""GAN with an encoder: a masked image in, the whole image out, judged as a whole.

Source: the system that Desai and Ghosal report beside their VAE. In this project's words it is a Context Encoder
that predicts the whole image from a bottleneck of 500 to 4,000 numbers, with an adversary that weighs a hundred
times as much as the paper's: sharp rather than exact.
"""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from ssl_ce.methods.adversary import AdversarialConfig
from ssl_ce.methods.context_encoder import ContextEncoder, ContextEncoderConfig, ReconstructionConfig
from ssl_ce.methods.encoder_decoder import BottleneckConfig
from ssl_ce.methods.masking import HolesConfig


class GanBottleneckConfig(BottleneckConfig):
    """To `dim` numbers."""

    kind: Literal["channelwise-fc", "convolution"] = "convolution"


class GanReconstructionConfig(ReconstructionConfig):
    """The mean squared error over the whole image, every pixel alike."""

    weight: NonNegativeFloat = 0.9
    region: Literal["hole", "output"] = "output"
    overlap_weight: NonNegativeFloat = 1.0
    normalization: Literal["hole", "published"] = "published"


class GanAdversarialConfig(AdversarialConfig):
    """A hundred times the Context Encoder's weight."""

    weight: PositiveFloat = 0.1


class GanConfig(ContextEncoderConfig):
    """A Context Encoder's choices with the report's values: the central quarter of the side missing."""

    bottleneck: GanBottleneckConfig = GanBottleneckConfig()
    holes: HolesConfig = HolesConfig(strategy="center", options={"side": 0.25})
    reconstruction: GanReconstructionConfig = GanReconstructionConfig()
    adversarial: GanAdversarialConfig = GanAdversarialConfig()


class Gan(ContextEncoder):
    """See the module: `GanConfig` says all that sets it apart."""

    name = "gan"
    Config = GanConfig
