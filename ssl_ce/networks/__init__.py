"""Networks: encoders, bottlenecks, decoders and discriminators. Plain `nn.Module`s that know nothing of training.

A registered encoder is called as `encoder(size, config)` with an `EncoderConfig` and returns an `Encoder`. Any
convolutional network of timm's is an encoder too, by the name `timm:NAME` (`ssl_ce.networks.timm_encoders`).
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
    "alexnet-poolfree",
    "ssl_ce.networks.alexnet:alexnet_pool_free",
    "the paper's encoder with convolutions of stride 2 in place of pooling",
)
encoders.add(
    "dcgan",
    "ssl_ce.networks.dcgan:dcgan_encoder",
    "the public code's encoder: 4 x 4 convolutions of stride 2",
)
encoders.add("vgg11", "ssl_ce.networks.torchvision_encoders:vgg11", "VGG with 11 layers, 8 of them convolutions")
encoders.add("resnet18", "ssl_ce.networks.torchvision_encoders:resnet18", "ResNet of 18 layers")
encoders.add("resnet50", "ssl_ce.networks.torchvision_encoders:resnet50", "ResNet of 50 layers")
encoders.add("vit", "ssl_ce.networks.vit:vit", "a small vision transformer of patches, what `mae` trains")

__all__ = ["encoders"]
