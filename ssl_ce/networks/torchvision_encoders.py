"""VGG-11 and ResNets: torchvision's own layers, cut into stages, without pretrained weights.

Weights are torchvision's initial ones and follow torch's generator.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torchvision.models import ResNet
from torchvision.models import resnet18 as torchvision_resnet18
from torchvision.models import resnet50 as torchvision_resnet50
from torchvision.models.vgg import cfgs, make_layers

from ssl_ce.errors import UserError
from ssl_ce.networks.encoder import EncoderConfig, InputSpec, StagedEncoder, refuse_axes
from ssl_ce.networks.layers import convolution, scaled

SMALLEST = 32
# Below this size a ResNet's ordinary stem would leave too little to look at.
_SMALL = 64


def vgg11(size: int, config: EncoderConfig) -> StagedEncoder:
    """VGG's configuration A for square images of `size` pixels, with taps conv1, pool1, conv2, ..., pool8.

    A pooling layer is called after the convolution before it. `norm: batch` is torchvision's `vgg11_bn`.
    Source: Simonyan and Zisserman, arXiv 1409.1556, table 1.

    Raises
    ------
    UserError
        If images have fewer than 32 pixels a side, of which five halvings leave nothing.
    """
    refuse_axes(config, "patch", "depth")
    _check_size(config, size)
    norm = config.norm == "batch"
    widths = [scaled(layer, config.width) if isinstance(layer, int) else layer for layer in cfgs["A"]]
    layers = make_layers(widths, batch_norm=norm)
    _initialize(layers)
    stages: dict[str, nn.Module] = {}
    parts: list[nn.Module] = []
    number = channels = 0
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            stages[f"pool{number}"] = _in_place_of(layer, channels, norm) if config.pool_free else layer
            continue
        parts.append(layer)
        if isinstance(layer, nn.Conv2d):
            number, channels = number + 1, layer.out_channels
        elif isinstance(layer, nn.ReLU):
            stages[f"conv{number}"] = nn.Sequential(*parts)
            parts = []
    return StagedEncoder(InputSpec(size), stages)


def resnet18(size: int, config: EncoderConfig) -> StagedEncoder:
    """ResNet-18 for square images of `size` pixels, with taps stem, layer1, ..., layer4.

    Below 64 pixels the stem is that for CIFAR: a 3 x 3 convolution of stride 1, and no pooling.
    Source: He et al., "Deep Residual Learning", CVPR 2016, table 1; for the small stem section 4.2.

    Raises
    ------
    UserError
        If images have fewer than 32 pixels a side.
    """
    return _resnet(torchvision_resnet18, size, config)


def resnet50(size: int, config: EncoderConfig) -> StagedEncoder:
    """ResNet-50: bottleneck blocks, up to 2,048 channels; otherwise like `resnet18`."""
    return _resnet(torchvision_resnet50, size, config)


def _resnet(make: Callable[..., ResNet], size: int, config: EncoderConfig) -> StagedEncoder:
    refuse_axes(config, "width", "norm", "patch", "depth")
    _check_size(config, size)
    model = make(weights=None, num_classes=1)
    channels = model.conv1.out_channels
    if size < _SMALL:
        first = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
        _initialize(first)
        stem = [first, model.bn1, model.relu]
    else:
        pool = _in_place_of(model.maxpool, channels, norm=True) if config.pool_free else model.maxpool
        stem = [model.conv1, model.bn1, model.relu, pool]
    blocks = {f"layer{number}": getattr(model, f"layer{number}") for number in (1, 2, 3, 4)}
    return StagedEncoder(InputSpec(size), {"stem": nn.Sequential(*stem), **blocks})


def _in_place_of(pool: nn.MaxPool2d, channels: int, norm: bool) -> nn.Sequential:
    """A convolution of the pooling layer's kernel, stride and padding (all whole numbers), channels kept."""
    assert isinstance(pool.kernel_size, int)
    assert isinstance(pool.stride, int)
    assert isinstance(pool.padding, int)
    return convolution(channels, channels, pool.kernel_size, pool.stride, pool.padding, norm)


def _initialize(module: nn.Module) -> None:
    """Convolutions as torchvision's constructors set them; BatchNorm comes with weight 1 and bias 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _check_size(config: EncoderConfig, size: int) -> None:
    if size < SMALLEST:
        raise UserError(
            f"The encoder '{config.name}' takes images from {SMALLEST} pixels, not {size}. Use larger ones."
        )
