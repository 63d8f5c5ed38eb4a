from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ssl_ce.descriptors.external import HookedEncoder
from ssl_ce.errors import MachineError
from ssl_ce.evaluators.training import TrainingConfig, depths, make_optimizer, repeatable, train
from ssl_ce.methods.base import Batch
from ssl_ce.networks.encoder import EncoderConfig, InputSpec, StagedEncoder, build_encoder
from ssl_ce.pretraining.feed import Feed


def staged() -> StagedEncoder:
    """Three taps, of which the second has no parameters."""
    torch.manual_seed(0)
    stages = {
        "one": nn.Conv2d(3, 4, 3),
        "pool": nn.AvgPool2d(2),
        "two": nn.Conv2d(4, 5, 3),
        "three": nn.Conv2d(5, 2, 1),
    }
    return StagedEncoder(InputSpec(16), stages)


def by_stage(found: dict[str, int]) -> dict[str, int]:
    return {name.split(".")[1]: depth for name, depth in found.items()}


def test_a_parameter_is_as_deep_as_the_first_tap_that_depends_on_it() -> None:
    assert by_stage(depths(staged(), "three")) == {"one": 0, "two": 1, "three": 2}
    assert by_stage(depths(staged(), "pool")) == {"one": 0}


def test_depths_of_a_transformer_are_its_blocks() -> None:
    encoder: Any = build_encoder(EncoderConfig(name="vit", width=0.2, depth=3), 32)
    found = depths(encoder, "block2")
    assert found["embed.weight"] == found["summary"] == found["blocks.0.ln_1.weight"] == 0
    assert found["blocks.1.mlp.0.weight"] == 1
    assert not any(name.startswith(("blocks.2", "norm")) for name in found)
    assert depths(encoder, "block3")["norm.weight"] == 2


def test_depths_of_somebody_elses_network_leave_its_statistics_and_mode_alone() -> None:
    model = nn.Sequential()
    model.add_module("stem", nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    model.add_module("relu", nn.ReLU(inplace=True))
    model.add_module("top", nn.Conv2d(4, 4, 3))
    encoder = HookedEncoder(model, InputSpec(16)).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = depths(encoder, "top")
    assert {name.removeprefix("model."): depth for name, depth in found.items()} == {
        "stem.0.weight": 0, "stem.0.bias": 0, "stem.1.weight": 0, "stem.1.bias": 0, "top.weight": 1, "top.bias": 1,
    }  # fmt: skip
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_rates_fall_with_depth_and_vectors_do_not_decay() -> None:
    encoder, head = staged(), nn.Linear(2, 3)
    config = TrainingConfig(rate=0.8, layer_decay=0.5, weight_decay=0.1)
    optimizer = make_optimizer(encoder, "two", head, config, batch_size=64)
    rates = {
        id(parameter): (group["base_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    expected = [(encoder.stages["one"], 0.05), (encoder.stages["two"], 0.1), (head, 0.2)]
    for module, rate in expected:
        assert rates.pop(id(module.weight)) == (pytest.approx(rate), 0.1)
        assert rates.pop(id(module.bias)) == (pytest.approx(rate), 0.0)
    assert not rates
    assert not any(parameter.requires_grad for parameter in encoder.stages["three"].parameters())


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    config = TrainingConfig(warmup=0.1)
    assert [config.factor(step, 100) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    for step in (10, 40, 99):
        assert config.factor(step, 100) == pytest.approx((1 + math.cos(math.pi * (step - 10) / 90)) / 2)


def test_the_rate_is_halved_after_each_eighth() -> None:
    config = TrainingConfig(schedule="halving", warmup=0.0)
    assert [config.factor(10_000 * eighth + 9_999, 80_000) for eighth in range(8)] == [0.5**n for n in range(8)]
    assert config.factor(10_000, 80_000) == 0.5


def feed_of(make_digits: Callable[..., Any], batch_size: int = 20) -> Feed:
    images = make_digits(slice(0, 50), "train")
    return Feed(images, size=16, batch_size=batch_size, flip=False, seed=3, device=torch.device("cpu"))


def test_training_is_stochastic_gradient_descent_written_out(make_digits: Callable[..., Any]) -> None:
    config = TrainingConfig(
        epochs=3,
        optimizer="sgd",
        momentum=0.0,
        rate=2.56,
        layer_decay=0.5,
        weight_decay=0.01,
        warmup=0.2,
        clip_norm=1.0,
    )
    spec = InputSpec(16)

    def network() -> tuple[StagedEncoder, nn.Linear]:
        encoder = staged()
        return encoder, nn.Linear(5, 10)

    def loss_of(encoder: StagedEncoder, head: nn.Linear, batch: Batch) -> torch.Tensor:
        found = encoder.maps(spec.normalize(batch.images), ["two"])["two"].mean((2, 3))
        return nn.functional.cross_entropy(head(found), batch.labels)

    torch.manual_seed(0)
    encoder, head = network()
    feed = feed_of(make_digits)
    lines: list[str] = []
    optimizer = make_optimizer(encoder, "two", head, config, feed.batch_size)
    train(lambda batch: loss_of(encoder, head, batch), feed, optimizer, config, say=lines.append, name="me")

    torch.manual_seed(0)
    other, other_head = network()
    layers = [(other.stages["one"], 0.05), (other.stages["two"], 0.1), (other_head, 0.2)]  # 2.56 x 20 / 256 = 0.2
    factors = [1.0, *((1 + math.cos(math.pi * step / 5)) / 2 for step in range(5))]
    for batch, factor in zip(feed_of(make_digits).batches(0, 6), factors, strict=True):
        parameters = [parameter for layer, _ in layers for parameter in (layer.weight, layer.bias)]
        gradients = torch.autograd.grad(loss_of(other, other_head, batch), parameters)
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        shrink = min(1.0, float(1.0 / (norm + 1e-6)))
        with torch.no_grad():
            for place, parameter in enumerate(parameters):
                decayed = 0.01 * parameter if parameter.ndim > 1 else 0.0
                parameter -= layers[place // 2][1] * factor * (shrink * gradients[place] + decayed)
    for own, expected in zip([encoder, head], [other, other_head], strict=True):
        for name, value in own.state_dict().items():
            torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-5, atol=1e-6)
    assert lines[-1].startswith("me: epoch 3 of 3, loss ")


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({"epochs": 7}, 14), ({"epochs": 7, "fewest_steps": 20}, 20), ({"epochs": 7, "fewest_steps": 20, "steps": 3}, 3)],
)
def test_how_long_it_trains(settings: dict[str, int], steps: int, make_digits: Callable[..., Any]) -> None:
    assert TrainingConfig(**settings).length(feed_of(make_digits)) == steps


def test_a_loss_that_is_not_finite_ends_it(make_digits: Callable[..., Any]) -> None:
    parameter = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([{"params": [parameter], "base_lr": 1.0}], lr=1.0)
    with pytest.raises(MachineError, match=r"me: the loss is nan at step 4 of 4"):
        train(
            lambda batch: parameter / 0 * 0,
            feed_of(make_digits),
            optimizer,
            TrainingConfig(epochs=2),
            say=print,
            name="me",
        )


def test_what_is_repeatable_leaves_the_generator_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn = []
    for _ in range(2):
        with repeatable(1, torch.device("cpu")):
            assert torch.are_deterministic_algorithms_enabled()
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()
