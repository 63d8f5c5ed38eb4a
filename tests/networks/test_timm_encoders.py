from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from ssl_ce.errors import UserError
from ssl_ce.networks.encoder import Encoder, EncoderConfig, build_encoder, tap_shape

timm = pytest.importorskip("timm")


def seeded(name: str, size: int, seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_encoder(EncoderConfig(name=name), size)


@torch.no_grad()
@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("name", ["timm:mobilenetv3_small_050", "timm:convnext_atto"])
def test_a_timm_network_is_an_encoder(name: str, size: int) -> None:
    encoder = seeded(name, size).eval()
    assert isinstance(encoder, Encoder)
    x = torch.randn(2, 3, size, size)
    maps = encoder.maps(x, encoder.taps)
    assert list(maps) == list(encoder.taps)
    for tap, (channels, stride) in encoder.taps.items():
        assert "." not in tap
        assert maps[tap].shape[1] == channels
        assert round(size / maps[tap].shape[2]) == stride
    last = list(encoder.taps)[-1]
    assert torch.equal(encoder(x), maps[last])
    assert encoder.output_shape() == tap_shape(encoder, last)
    with pytest.raises(UserError, match="no tap named"):
        encoder.maps(x, ["nonesuch"])


@torch.no_grad()
def test_its_maps_are_those_of_timms_whole_network() -> None:
    encoder = seeded("timm:mobilenetv3_small_050", 64).eval()
    whole = timm.create_model("mobilenetv3_small_050").eval()
    whole.load_state_dict(encoder.model.state_dict(), strict=False)
    x = torch.randn(2, 3, 64, 64)
    last = list(encoder.taps)[-1]
    assert last == "blocks_5"
    assert torch.allclose(encoder(x), whole.blocks(whole.bn1(whole.conv_stem(x))), atol=1e-6)


def test_its_weights_are_a_function_of_the_seed() -> None:
    first, again, other = (seeded("timm:mobilenetv3_small_050", 32, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_gradients_reach_every_parameter_through_forward_alone() -> None:
    encoder = seeded("timm:mobilenetv3_small_050", 32).train()
    encoder(torch.randn(4, 3, 32, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("timm:resnt18", 64, "no timm model named 'resnt18'. Did you mean .*resnet18"),
        ("timm:vit_tiny_patch16_224", 64, "cannot be an encoder of images of 64 pixels"),
        ("timm:swin_tiny_patch4_window7_224", 224, "no maps of 96 channels"),
    ],
)
def test_what_cannot_be_an_encoder_is_refused(name: str, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_encoder(EncoderConfig(name=name), size)


def test_axes_are_refused() -> None:
    with pytest.raises(UserError, match=r"encoder\.width"):
        build_encoder(EncoderConfig(name="timm:resnet18", width=0.5), 64)


def test_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"needs the extra 'timm'"):
        build_encoder(EncoderConfig(name="timm:resnet18"), 64)
