"""What every registered encoder promises, built in or added by a plug-in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ssl_ce.errors import UserError
from ssl_ce.networks import encoders
from ssl_ce.networks.bottleneck import GaussianBottleneck, channelwise_bottleneck, convolution_bottleneck
from ssl_ce.networks.decoder import upconv_decoder
from ssl_ce.networks.encoder import Encoder, EncoderConfig, build_encoder, tap_shape

SIZES = (32, 64, 96, 128, 224, 256)
AXES: dict[str, Any] = {"width": 0.5, "norm": "batch", "pool_free": True, "patch": 4, "depth": 2}


def seeded(name: str, size: int, seed: int = 0, **axes: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_encoder(EncoderConfig(name=name, **axes), size)


@pytest.fixture(params=[(name, size) for name in encoders.names() for size in (32, 64)], ids=str)
def built(request: pytest.FixtureRequest) -> Any:
    name, size = request.param
    return seeded(name, size).eval()


@torch.no_grad()
def test_taps_go_from_the_input_to_the_last_map_with_the_channels_and_stride_they_state(built: Any) -> None:
    assert isinstance(built, Encoder)
    assert isinstance(built, nn.Module)
    size = built.input.size
    x = torch.randn(2, 3, size, size)
    maps = built.maps(x, built.taps)
    assert list(maps) == list(built.taps)
    for tap, (channels, stride) in built.taps.items():
        assert maps[tap].shape[:2] == (2, channels)
        assert maps[tap].shape[2] == maps[tap].shape[3]
        assert round(size / maps[tap].shape[2]) == stride
    strides = [stride for _, stride in built.taps.values()]
    assert strides == sorted(strides)
    last = list(built.taps)[-1]
    assert torch.equal(built(x), maps[last])
    assert built.output_shape() == tap_shape(built, last) == tuple(maps[last].shape[1:])


@torch.no_grad()
def test_a_tap_is_the_same_whether_asked_for_alone_or_with_others(built: Any) -> None:
    x = torch.randn(1, 3, built.input.size, built.input.size)
    together = built.maps(x, built.taps)
    first, last = next(iter(built.taps)), list(built.taps)[-1]
    assert torch.equal(built.maps(x, [first])[first], together[first])
    assert list(built.maps(x, [last])) == [last]
    with pytest.raises(UserError, match="There is no tap named 'nonesuch'"):
        built.maps(x, ["nonesuch"])


@pytest.mark.parametrize("name", encoders.names())
def test_weights_are_a_function_of_the_seed(name: str) -> None:
    first = seeded(name, 32).state_dict()
    torch.randn(7)  # what others drew before must not matter
    again, other = seeded(name, 32).state_dict(), seeded(name, 32, seed=1).state_dict()
    assert list(first) == list(again)
    assert all(torch.equal(first[key], again[key]) for key in first)
    matrices = [key for key in first if first[key].ndim > 1 and first[key].std() > 0]
    assert matrices
    assert not any(torch.equal(first[key], other[key]) for key in matrices)


def shapes(encoder: Any) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in encoder.state_dict().items()}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", encoders.names())
def test_an_axis_is_taken_or_refused_by_name(name: str, axis: str) -> None:
    with torch.device("meta"):
        usual = build_encoder(EncoderConfig(name=name), 64)
        try:
            changed = build_encoder(EncoderConfig(name=name, **{axis: AXES[axis]}), 64)
        except UserError as error:
            refusal = str(error)
        else:
            refusal = ""
    if refusal:
        assert f"'{name}'" in refusal
        assert f"encoder.{axis}" in refusal
    elif (name, axis) != ("alexnet-poolfree", "pool_free"):  # which it is already
        assert shapes(changed) != shapes(usual), f"{name} ignores {axis}"


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("alexnet", ("patch", "depth")),
        ("alexnet-poolfree", ("patch", "depth")),
        ("dcgan", ("norm", "pool_free", "patch", "depth")),
        ("vgg11", ("patch", "depth")),
        ("resnet18", ("width", "norm", "patch", "depth")),
        ("resnet50", ("width", "norm", "patch", "depth")),
        ("vit", ("norm", "pool_free")),
    ],
)
def test_axes_that_an_encoder_does_not_have_are_refused(name: str, refused: tuple[str, ...]) -> None:
    for axis in refused:
        with pytest.raises(UserError, match=f"encoder '{name}' has no {axis} to set"):
            build_encoder(EncoderConfig(name=name, **{axis: AXES[axis]}), 64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", encoders.names())
def test_every_encoder_a_bottleneck_and_the_decoder_fit_at_every_size(name: str, size: int) -> None:
    if name == "dcgan" and size not in (32, 64, 128, 256):
        pytest.skip("powers of two only")
    with torch.device("meta"):  # shapes without numbers
        encoder: Any = build_encoder(EncoderConfig(name=name), size)
        code = encoder(torch.zeros(2, 3, size, size))
        channels, side, _ = encoder.output_shape()
        assert code.shape == (2, channels, side, side)
        mixed = channelwise_bottleneck(channels, side)(code)
        assert upconv_decoder(channels, side, size)(mixed).shape == (2, 3, size, size)
        squeezed = convolution_bottleneck(channels, side, 4000)(code)
        assert squeezed.shape == (2, 4000, 1, 1)
        assert upconv_decoder(4000, 1, size)(squeezed).shape == (2, 3, size, size)
        assert GaussianBottleneck(channels, side, 32)(code).shape == (2, 64, 1, 1)


@pytest.mark.parametrize("name", [name for name in encoders.names() if name != "vit"])
def test_images_that_are_too_small_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="not 8"):
        build_encoder(EncoderConfig(name=name), 8)
