import pytest
import torch
import torchvision

from ssl_ce.errors import UserError
from ssl_ce.methods.context_encoder import ContextEncoder, ContextEncoderConfig
from ssl_ce.networks.alexnet import stem_of, torchvision_state
from ssl_ce.networks.bottleneck import ChannelwiseFullyConnected, GaussianBottleneck
from ssl_ce.networks.dcgan import Discriminator, dcgan_widths
from ssl_ce.networks.decoder import upconv_decoder
from ssl_ce.networks.encoder import EncoderConfig, build_encoder, tap_shape
from ssl_ce.networks.layers import PointConvTranspose2d, WholeMapConv2d
from ssl_ce.pretraining.recipe import load_recipe

POOL5 = {227: 6, 128: 6, 96: 5, 64: 7, 32: 3}
STEMS = {227: (11, 4, 0), 128: (11, 2, 0), 96: (11, 2, 5), 64: (5, 1, 2), 32: (5, 1, 2)}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("size", sorted(POOL5))
@pytest.mark.parametrize("pool_free", [False, True])
def test_pool5_has_the_side_that_the_stem_promises(size: int, pool_free: bool):
    assert stem_of(size) == STEMS[size]
    encoder = build_encoder(EncoderConfig(name="alexnet", width=0.1, pool_free=pool_free), size)
    assert tap_shape(encoder, "pool5")[1:] == (POOL5[size], POOL5[size])
    assert list(encoder.taps) == ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]


def pool5_side(size: int) -> int:
    """By the arithmetic of convolutions and pooling, rounded down."""
    kernel, stride, padding = stem_of(size)
    side = (size + 2 * padding - kernel) // stride + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side


def test_alexnet_leaves_a_map_at_every_size_from_32():
    assert min(pool5_side(size) for size in range(32, 513)) == 3
    for size in (33, 79, 80, 100, 111, 112, 150, 191, 192, 224, 255, 256):
        with torch.device("meta"):
            encoder = build_encoder(EncoderConfig(name="alexnet"), size)
        assert encoder.output_shape() == (256, pool5_side(size), pool5_side(size))


def test_the_pool_free_alexnet_is_alexnet_with_pool_free_set():
    with torch.device("meta"):
        named = build_encoder(EncoderConfig(name="alexnet-poolfree"), 64)
        told = build_encoder(EncoderConfig(name="alexnet", pool_free=True), 64)
    assert str(named) == str(told)
    assert not any(isinstance(part, torch.nn.MaxPool2d) for part in named.modules())


def test_pool5_of_the_paper_has_9216_activations():
    channels, height, width = tap_shape(build_encoder(EncoderConfig(name="alexnet"), 227), "pool5")
    assert channels * height * width == 9216


def test_asking_for_an_unknown_tap_names_the_closest():
    with pytest.raises(UserError, match="Did you mean conv4"):
        build_encoder(EncoderConfig(name="alexnet", width=0.1), 32).maps(torch.zeros(1, 3, 32, 32), ["convv4"])


def test_a_size_that_the_layers_do_not_fit_is_refused():
    with pytest.raises(UserError, match="from 32 pixels, not 31"):
        build_encoder(EncoderConfig(name="alexnet"), 31)
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


@pytest.mark.parametrize("size", [16, 17, 30, 32, 64, 96, 100, 128, 224])
def test_a_discriminator_gives_one_logit_for_each_image(size: int):
    with torch.no_grad():
        assert Discriminator(size, width=0.1)(torch.zeros(3, 3, size, size)).shape == (3,)


def test_a_discriminator_at_a_power_of_two_is_the_public_codes():
    shapes = [tuple(weight.shape) for weight in Discriminator(128).parameters() if weight.ndim == 4]
    assert shapes == [
        (64, 3, 4, 4),
        (64, 64, 4, 4),
        (128, 64, 4, 4),
        (256, 128, 4, 4),
        (512, 256, 4, 4),
        (1, 512, 4, 4),
    ]


def test_a_discriminator_of_pairs_takes_six_channels():
    assert Discriminator(32, width=0.1, inputs=6)(torch.zeros(2, 6, 32, 32)).shape == (2,)
    with pytest.raises(UserError, match="from 16 pixels, not 15"):
        Discriminator(15)


@torch.no_grad()
@pytest.mark.parametrize(("channels", "side"), [(256, 3), (512, 7), (8, 1)])
def test_the_gaussian_bottleneck_gives_means_then_log_variances_near_zero(channels: int, side: int):
    torch.manual_seed(0)
    found = GaussianBottleneck(channels, side, 100)(torch.randn(20, channels, side, side))
    assert found.shape == (20, 200, 1, 1)
    assert float(found[:, :100].std()) == pytest.approx(1.0, rel=0.2)
    assert float(found[:, 100:].std()) == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize(
    ("channels", "side", "size"),
    [(4000, 1, 32), (8, 1, 256), (8, 2, 33), (8, 31, 32), (8, 32, 32), (8, 40, 32), (8, 7, 224)],
)
def test_the_decoder_goes_from_any_side_to_any_size(channels: int, side: int, size: int):
    decoder = upconv_decoder(channels, side, size, width=0.05)
    with torch.no_grad():
        assert decoder(torch.zeros(2, channels, side, side)).shape == (2, 3, size, size)


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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("ours", "peer", "shape"),
    [
        (WholeMapConv2d(6, 10, 4), torch.nn.Conv2d(6, 10, 4), (5, 6, 4, 4)),
        (WholeMapConv2d(6, 1, 3, bias=False), torch.nn.Conv2d(6, 1, 3, bias=False), (5, 6, 3, 3)),
        (PointConvTranspose2d(10, 6, 4), torch.nn.ConvTranspose2d(10, 6, 4, 1, 0, bias=False), (5, 10, 1, 1)),
        (PointConvTranspose2d(10, 1, 4), torch.nn.ConvTranspose2d(10, 1, 4, 1, 0, bias=False), (1, 10, 1, 1)),
    ],
)
def test_matrix_products_are_the_convolutions_that_they_stand_for(
    ours: torch.nn.Module, peer: torch.nn.Module, shape: tuple[int, ...], layout: torch.memory_format
):
    ours.load_state_dict(peer.state_dict())
    found = []
    for layer in (ours, peer):
        layer.to(memory_format=layout).zero_grad()
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=layout).requires_grad_()
        y = layer(x)
        (y * torch.arange(y.numel()).view(y.shape)).sum().backward()
        found.append((y, x.grad, *(parameter.grad for parameter in layer.parameters())))
    for own, theirs in zip(*found, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-4)
