"""VGG and ResNets compute what torchvision's own models compute, given the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from ssl_ce.descriptors.checkpoints import FileOptions, file_encoder
from ssl_ce.errors import UserError
from ssl_ce.networks.encoder import EncoderConfig, build_encoder


def unsettle(model: nn.Module) -> None:
    """Give BatchNorm statistics that matter."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)


@torch.no_grad()
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_vgg11_is_torchvisions(norm: Any, tmp_path: Path) -> None:
    features = make_layers(cfgs["A"], batch_norm=norm == "batch").eval()
    unsettle(features)
    path = tmp_path / "vgg11.pth"
    torch.save({f"features.{key}": value for key, value in features.state_dict().items()}, path)
    encoder: Any = file_encoder(path, EncoderConfig(name="vgg11", norm=norm), FileOptions(size=64))[0]
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(encoder.eval()(x), features(x))
    assert [tap for tap in encoder.taps if tap.startswith("pool")] == ["pool1", "pool2", "pool4", "pool6", "pool8"]
    assert sum(tap.startswith("conv") for tap in encoder.taps) == 8


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_are_torchvisions_from_64_pixels(name: str, tmp_path: Path) -> None:
    model = torchvision.models.get_model(name, num_classes=2).eval()
    unsettle(model)
    torch.save(model.state_dict(), tmp_path / "resnet.pth")
    encoder: Any = file_encoder(tmp_path / "resnet.pth", EncoderConfig(name=name), FileOptions(size=64))[0]
    x = torch.randn(2, 3, 64, 64)
    expected = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        expected = layer(expected)
    assert torch.equal(encoder.eval()(x), expected)
    assert list(encoder.taps) == ["stem", "layer1", "layer2", "layer3", "layer4"]


def test_resnets_have_the_stem_for_cifar_below_64_pixels() -> None:
    with torch.device("meta"):
        small: Any = build_encoder(EncoderConfig(name="resnet18"), 32)
        large: Any = build_encoder(EncoderConfig(name="resnet18"), 64)
    # He et al. 2016, section 4.2: the first convolution is 3 x 3 and keeps the 32 pixels, nothing is pooled.
    assert small.stages["stem"][0].weight.shape == (64, 3, 3, 3)
    assert [stride for _, stride in small.taps.values()] == [1, 1, 2, 4, 8]
    assert large.stages["stem"][0].weight.shape == (64, 3, 7, 7)
    assert [stride for _, stride in large.taps.values()] == [4, 4, 8, 16, 32]


@pytest.mark.parametrize("name", ["vgg11", "resnet18"])
def test_a_pool_free_network_has_no_pooling_and_the_same_taps(name: str) -> None:
    with torch.device("meta"):
        plain: Any = build_encoder(EncoderConfig(name=name), 64)
        free: Any = build_encoder(EncoderConfig(name=name, pool_free=True), 64)
    assert any(isinstance(part, nn.MaxPool2d) for part in plain.modules())
    assert not any(isinstance(part, nn.MaxPool2d) for part in free.modules())
    assert free.taps == plain.taps


def test_the_width_of_vgg11_scales_every_layer() -> None:
    with torch.device("meta"):
        half: Any = build_encoder(EncoderConfig(name="vgg11", width=0.5), 32)
    assert [channels for tap, (channels, _) in half.taps.items() if tap.startswith("conv")] == [
        32, 64, 128, 128, 256, 256, 256, 256,
    ]  # fmt: skip


def test_a_file_with_another_networks_weights_is_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(UserError, match="covers 0 of"):
        file_encoder(tmp_path / "resnet.pth", EncoderConfig(name="vgg11", width=0.1), FileOptions(size=32))
