"""Networks: encoders, bottlenecks, decoders and discriminators. Plain `nn.Module`s that know nothing of training.

A registered encoder is called as `encoder(size, config)` with an `EncoderConfig` and returns an `Encoder`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssl_ce.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssl_ce.networks.encoder import Encoder

encoders: Registry[Callable[..., Encoder]] = Registry("encoder", "ssl_ce.encoders")
encoders.add("alexnet", "ssl_ce.networks.alexnet:alexnet", "the paper's encoder: AlexNet, conv1 to pool5")
encoders.add(
    "dcgan",
    "ssl_ce.networks.dcgan:dcgan_encoder",
    "the public code's encoder: 4 x 4 convolutions of stride 2",
)

__all__ = ["encoders"]
