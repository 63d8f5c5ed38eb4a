from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.every_tap import EveryTap
from ssl_ce.errors import MachineError, UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.head_training import SgdConfig
from ssl_ce.evaluators.linear_sgd import (
    Dinov2Config,
    LinearSgd,
    LinearSgdDinov2,
    LinearSgdMae,
    LinearSgdSimclr,
    MaeConfig,
    SimclrConfig,
)
from ssl_ce.files import digest
from ssl_ce.records.record import Record

NETWORK = "random:dcgan?size=32&width=0.1"
SHORT = {"batch_size": 100, "iterations": 30}


def judged(kind: type[LinearSgd], data: EvaluationData, env: Env, subject: Any, **settings: Any) -> list[Record]:
    evaluator = kind(kind.Config(**settings))  # type: ignore[arg-type]
    if isinstance(subject, str):
        subject = evaluator.resolve(subject, data, env.device)
    evaluator.check(subject, data)
    return list(evaluator.run(subject, data, env))


def test_dinov2s_constants_are_those_of_its_script() -> None:
    config = Dinov2Config()
    assert config.rates == (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
    assert (config.iterations, config.momentum, config.nesterov, config.weight_decay) == (10 * 1250, 0.9, False, 0.0)
    assert (config.taps, config.weight_std, config.norm, config.optimizer) == ((1, 4), 0.01, "none", "sgd")


def test_maes_constants_are_those_of_its_script() -> None:
    config = MaeConfig()
    assert (config.rates, config.epochs, config.warmup_epochs, config.weight_decay) == ((0.1,), 90, 10, 0.0)
    assert (config.norm, config.norm_eps, config.weight_std) == ("feature", 1e-6, 0.01)
    assert (config.optimizer, config.momentum, config.trust) == ("lars", 0.9, 1e-3)


def test_simclrs_constants_are_those_of_its_command() -> None:
    config = SimclrConfig()
    assert (config.rates, config.epochs, config.warmup_epochs, config.weight_decay) == ((0.1,), 90, 0, 0.0)
    assert (config.optimizer, config.momentum, config.nesterov, config.weight_std) == ("sgd", 0.9, True, 0.0)


def test_rates_follow_a_cosine_after_the_warm_up_or_fall_at_milestones() -> None:
    warm = SgdConfig(warmup_epochs=2)
    assert [warm.factor(step, 100, 10) for step in (0, 9, 19)] == pytest.approx([0.05, 0.5, 1.0])
    assert [warm.factor(step, 100, 10) for step in (20, 60, 99)] == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * share)) for share in (0.0, 0.5, 79 / 80)]
    )
    falling = SgdConfig(milestones=(8, 16, 24))
    assert [falling.factor(step, 280, 10) for step in (79, 80, 159, 160, 240)] == pytest.approx(
        [1, 0.1, 0.1, 0.01, 1e-3]
    )


def test_dinov2s_heads_look_at_one_and_four_taps_on_grids_and_as_means() -> None:
    network = load_descriptor("random:alexnet?size=64&width=0.1")
    inputs = LinearSgdDinov2(Dinov2Config()).inputs(network)
    assert list(inputs) == [
        "the last tap, grid",
        "the last tap, mean",
        "the last 4 taps, grid",
        "the last 4 taps, mean",
    ]
    assert [[part.tap for part in parts] for parts in inputs.values()][2] == list(network.encoder.taps)[-4:]
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    maps = network.encoder.maps(network.encoder.input.prepare(images), [network.tap])[network.tap]
    described = inputs["the last tap, mean"][0].describe(images)
    torch.testing.assert_close(described, maps.mean(dim=(2, 3)).detach())


def test_thirteen_heads_of_a_vector_and_fifty_two_of_a_network(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    (vector,) = judged(LinearSgdDinov2, digits, env, grey(), batch_size=100, iterations=2)
    (network,) = judged(LinearSgdDinov2, digits, env, NETWORK, batch_size=100, iterations=2)
    assert (vector.chosen["heads"], network.chosen["heads"]) == (13, 52)
    assert vector.protocol == "linear-sgd-dinov2@1"
    assert vector.variant == {"batch_size": "100", "iterations": "2"}


def test_the_head_is_chosen_on_held_out_train_and_test_has_no_say(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    test: Any = digits.test
    poisoned = replace(test, labels=(test.labels + 1) % 10)
    settings = {**SHORT, "rates": (1e-4, 0.3)}
    subject = grey(1 / 255)
    (first,) = judged(LinearSgdSimclr, digits, env, subject, **settings)
    (second,) = judged(LinearSgdSimclr, replace(digits, test=poisoned), env, subject, **settings)
    assert first.chosen == second.chosen
    assert first.chosen["head"] == "the subject, rate 0.3"
    assert first.chosen["on"] == "10 % of train, held out by seed 0"
    assert first.metrics["accuracy"].value > 0.6 > second.metrics["accuracy"].value


def test_a_single_head_sees_all_of_train_and_has_nothing_to_choose(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    (record,) = judged(LinearSgdMae, digits, env, grey(), epochs=2)
    assert record.chosen == {}
    assert record.notes["batch"] == 512
    assert record.notes["steps"] == 2
    (small,) = judged(LinearSgdMae, digits, env, grey(), epochs=2, batch_size=10_000)
    assert small.notes["batch"] == 600


def test_a_head_is_scored_on_the_central_crop_and_learns(digits: EvaluationData, env: Env) -> None:
    (record,) = judged(LinearSgdSimclr, digits, env, NETWORK, **{**SHORT, "rates": (1.0,)})
    assert record.metrics["accuracy"].value > 0.6
    assert record.metrics["top5"].value > record.metrics["accuracy"].value
    assert record.outcomes is not None
    assert record.metrics["accuracy"].value == pytest.approx(np.mean(record.outcomes["accuracy"]))


def test_the_seed_decides_everything_random(digits: EvaluationData, env: Env, grey: Callable[..., Any]) -> None:
    subject = grey(1 / 255)
    (first,), (again,) = (judged(LinearSgdDinov2, digits, env, subject, **SHORT) for _ in range(2))
    (other,) = judged(LinearSgdDinov2, digits, replace(env, seed=1), subject, **SHORT)
    assert (first.id, first.outcomes, first.chosen) == (again.id, again.outcomes, again.chosen)
    assert first.outcomes != other.outcomes


def test_taps_trained_in_one_pass_are_those_trained_alone(digits: EvaluationData, env: Env) -> None:
    every = load_descriptor("random:dcgan@all?size=32&width=0.1")
    assert isinstance(every, EveryTap)
    records = judged(LinearSgdSimclr, digits, env, every, batch_size=100, iterations=5)
    assert [record.subject.name for record in records] == [tap.name for tap in every.taps.values()] + [every.name]
    for tap, record in zip(every.taps.values(), records, strict=False):
        (alone,) = judged(LinearSgdSimclr, digits, env, tap, batch_size=100, iterations=5)
        assert alone.outcomes == record.outcomes
    assert records[-1].chosen["tap"] in every.taps


def test_training_that_diverges_is_no_result(digits: EvaluationData, env: Env, grey: Callable[..., Any]) -> None:
    with pytest.raises(MachineError, match="training diverged"):
        judged(LinearSgdSimclr, digits, env, grey(1e18), **{**SHORT, "rates": (1e30,)})


@pytest.mark.parametrize(("factor", "message"), [(0.0, "the same features"), (float("nan"), "not finite")])
def test_features_that_say_nothing_are_refused(
    factor: float, message: str, digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    with pytest.raises(UserError, match=message):
        judged(LinearSgdSimclr, digits, env, grey(factor), **SHORT)


def test_the_subject_is_left_as_it_was(digits: EvaluationData, env: Env) -> None:
    descriptor = load_descriptor("random:alexnet?size=32&width=0.1&norm=batch")
    before = descriptor.state_hash()
    judged(LinearSgdSimclr, digits, env, descriptor, batch_size=100, iterations=2)
    assert descriptor.state_hash() == before != digest("")
