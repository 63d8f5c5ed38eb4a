import pytest
import torch
import torchvision

from ssl_ce.errors import UserError
from ssl_ce.methods.context_encoder import ContextEncoder, ContextEncoderConfig
from ssl_ce.networks import encoders
from ssl_ce.networks.alexnet import STEMS, torchvision_state
from ssl_ce.networks.bottleneck import ChannelwiseFullyConnected
from ssl_ce.networks.dcgan import Discriminator, dcgan_widths
from ssl_ce.networks.encoder import EncoderConfig, build_encoder, tap_shape
from ssl_ce.pretraining.recipe import load_recipe

POOL5 = {227: 6, 128: 6, 96: 5, 64: 7, 32: 3}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("size", sorted(STEMS))
@pytest.mark.parametrize("pool_free", [False, True])
def test_pool5_has_the_side_that_the_stem_promises(size: int, pool_free: bool):
    encoder = build_encoder(EncoderConfig(name="alexnet", width=0.1, pool_free=pool_free), size)
    assert tap_shape(encoder, "pool5")[1:] == (POOL5[size], POOL5[size])
    assert list(encoder.taps) == ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]


def test_pool5_of_the_paper_has_9216_activations():
    channels, height, width = tap_shape(build_encoder(EncoderConfig(name="alexnet"), 227), "pool5")
    assert channels * height * width == 9216


@pytest.mark.parametrize("name", encoders.names())
def test_every_encoder_gives_maps_of_the_channels_and_stride_it_states(name: str):
    encoder = build_encoder(EncoderConfig(name=name, width=0.25), 64)
    maps = encoder.maps(torch.randn(2, 3, 64, 64), encoder.taps)
    for tap, (channels, stride) in encoder.taps.items():
        assert maps[tap].shape[:2] == (2, channels)
        assert round(64 / maps[tap].shape[2]) == stride


def test_asking_for_an_unknown_tap_names_the_closest():
    with pytest.raises(UserError, match="Did you mean conv4"):
        build_encoder(EncoderConfig(name="alexnet", width=0.1), 32).maps(torch.zeros(1, 3, 32, 32), ["convv4"])


def test_a_size_without_a_stem_is_refused():
    with pytest.raises(UserError, match="227 pixels, not 100"):
        build_encoder(EncoderConfig(name="alexnet"), 100)
    with pytest.raises(UserError, match="not 96"):
        dcgan_widths(96)


def test_the_channelwise_layer_equals_a_dense_layer_with_a_block_mask():
    m, n = 3, 4
    layer = ChannelwiseFullyConnected(m, n).double()
    assert count(layer) == m * n**4
    x = torch.randn(5, m, n, n, dtype=torch.float64)
    dense = torch.zeros(m * n * n, m * n * n, dtype=torch.float64)
    for channel in range(m):
        block = slice(channel * n * n, (channel + 1) * n * n)
        dense[block, block] = layer.weight[channel].detach()
    expected = (x.flatten(1) @ dense).reshape(x.shape)
    assert torch.allclose(layer(x), expected, atol=1e-12)


def public_code_parameters(output: int) -> tuple[int, int]:
    """Generator and discriminator of the public code by its layer list: 4 x 4 kernels without biases, BatchNorm."""
    encoder = [(3, 64), (64, 64), (64, 128), (128, 256), (256, 512)]
    decoder = [
        (4000, 512),
        (512, 256),
        (256, 128),
        (128, 64),
        *([(64, 64)] if output == 128 else []),
        (64, 3),
    ]
    norms = [64, 128, 256, 512, 4000, 512, 256, 128, 64, *([64] if output == 128 else [])]
    generator = 16 * sum(a * b for a, b in [*encoder, (512, 4000), *decoder]) + 2 * sum(norms)
    layers = encoder if output == 128 else [(3, 64), *encoder[2:]]
    return generator, 16 * sum(a * b for a, b in [*layers, (512, 1)]) + 2 * sum(b for _, b in layers[1:])


@pytest.mark.parametrize(("recipe", "output"), [("ce-center-adv", 64), ("ce-random-adv", 128)])
def test_the_public_codes_networks_have_its_parameter_counts_and_output_shapes(recipe: str, output: int):
    method = ContextEncoder(
        ContextEncoderConfig(**{k: v for k, v in load_recipe(recipe).method.items() if k != "name"})
    )
    generator, discriminator = public_code_parameters(output)
    assert sum(count(method.networks[name]) for name in method.players["generator"]) == generator
    assert count(method.networks["discriminator"]) == discriminator
    if output == 64:
        assert generator == 71_124_544
    x = torch.zeros(2, 3, 128, 128)
    with torch.no_grad():
        code = method.networks["bottleneck"](method.networks["encoder"](x))
        predicted = method.networks["decoder"](code)
        assert code.shape == (2, 4000, 1, 1)
        assert predicted.shape == (2, 3, output, output)
        assert predicted.abs().max() <= 1
        assert method.networks["discriminator"](predicted).shape == (2,)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_discriminator_gives_one_logit_for_each_image(size: int):
    assert Discriminator(size, width=0.1)(torch.zeros(3, 3, size, size)).shape == (3,)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_torchvisions_alexnet_computes_what_the_exported_encoder_computes(norm: str):
    encoder = build_encoder(EncoderConfig(name="alexnet", norm=norm), 227)
    for part in encoder.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    model = torchvision.models.alexnet()
    missing, unexpected = model.load_state_dict(torchvision_state(encoder), strict=False)
    assert not unexpected
    assert all(key.startswith("classifier") for key in missing)
    # torchvision pads its first convolution by 2, the paper's stem does not.
    model.features[0].padding = (0, 0)
    x = torch.randn(2, 3, 227, 227)
    with torch.no_grad():
        assert torch.allclose(encoder.eval()(x), model.eval().features(x), atol=1e-4, rtol=1e-4)


def test_an_encoder_that_torchvision_has_no_place_for_is_refused():
    with pytest.raises(UserError, match="5 x 5"):
        torchvision_state(build_encoder(EncoderConfig(name="alexnet"), 32))
    with pytest.raises(UserError, match="pooled AlexNet"):
        torchvision_state(build_encoder(EncoderConfig(name="dcgan"), 32))
