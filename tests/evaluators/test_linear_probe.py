from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.linear_probe import Costs, LinearProbe, LinearProbeConfig
from ssl_ce.evaluators.sampling import draw_labels, held_out_split, stratified_folds
from ssl_ce.records.record import Record

FEW = Costs(first=-4, last=2, count=4)


def probe(data: EvaluationData, env: Env, subject: Any, **settings: Any) -> Record:
    evaluator = LinearProbe(LinearProbeConfig(**settings))
    evaluator.check(subject, data)
    (record,) = evaluator.run(subject, data, env)
    return record


def model(cost: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=cost, solver="newton-cg", tol=1e-8, max_iter=1000))


def test_the_costs_of_the_preset_are_those_of_the_protocol() -> None:
    np.testing.assert_allclose(LinearProbeConfig().costs.values(), 10 ** np.linspace(-6, 5, 45))


def test_by_held_out_train_it_equals_the_protocol_written_out_with_scikit_learn(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    assert digits.train is not None
    subject = grey()
    x, y = subject.describe(digits.train.read(range(600))).double().numpy(), digits.train.targets()
    tests, targets = subject.describe(digits.test.read(range(200))).double().numpy(), digits.test.targets()
    split = held_out_split(y, 0.1, seed=0)
    losses = [
        log_loss(y[split.held_out], model(c).fit(x[split.fit], y[split.fit]).predict_proba(x[split.held_out]))
        for c in FEW.values()
    ]
    cost = FEW.values()[np.argmin(losses)]
    fitted = model(cost).fit(x, y)

    record = probe(digits, env, subject, costs=FEW, tolerance=1e-8)

    assert record.chosen["C"] == cost
    assert record.chosen["on"] == "10 % of train, held out by seed 0"
    assert record.chosen["converged"]
    assert record.protocol == "linear-probe@1"
    assert record.variant["labels"] == "all"
    assert record.outcomes is not None
    right = (fitted.predict(tests) == targets).astype(float)
    np.testing.assert_array_equal(record.outcomes["accuracy"], right)
    assert record.metrics["accuracy"].value == pytest.approx(right.mean())
    assert record.metrics["log_loss"].value == pytest.approx(log_loss(targets, fitted.predict_proba(tests)), rel=1e-4)
    assert not record.metrics["log_loss"].higher_is_better
    top5 = np.argsort(-fitted.predict_proba(tests), axis=1)[:, :5] == targets[:, None]
    assert record.metrics["top5"].value == pytest.approx(top5.any(axis=1).mean())


def test_with_few_labels_it_equals_the_protocol_written_out_with_scikit_learn(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    assert digits.train is not None
    subject = grey()
    features = subject.describe(digits.train.read(range(600))).double().numpy()
    tests, targets = subject.describe(digits.test.read(range(200))).double().numpy(), digits.test.targets()
    costs, right = [], []
    for draw in range(3):
        rows = draw_labels(digits.train.targets(), 6, seed=0, draw=draw)
        x, y = features[rows], digits.train.targets()[rows]
        losses = np.zeros(4)
        for split in stratified_folds(y, 5, seed=0, draw=draw):
            for place, cost in enumerate(FEW.values()):
                given = model(cost).fit(x[split.fit], y[split.fit]).predict_proba(x[split.held_out])
                losses[place] += log_loss(y[split.held_out], given, normalize=False, labels=range(10))
        costs.append(FEW.values()[losses.argmin()])
        right.append(model(costs[-1]).fit(x, y).predict(tests) == targets)

    record = probe(digits, env, subject, costs=FEW, labels_per_class=6, draws=3)

    assert record.chosen["C"] == costs
    assert record.chosen["on"] == "stratified 5-fold of each draw of train, by seed 0"
    assert record.variant == {"labels": "6 a class, 3 draws", "costs": "first=-4.0, last=2.0, count=4"}
    assert record.outcomes is not None
    np.testing.assert_allclose(record.outcomes["accuracy"], np.mean(right, axis=0))
    np.testing.assert_allclose(record.outcomes["accuracy_draws"], np.mean(right, axis=1))
    assert record.metrics["accuracy"].value == pytest.approx(np.mean(right))
    assert record.metrics["accuracy_sd"].value == pytest.approx(np.std(np.mean(right, axis=1), ddof=1))
    assert record.metrics["accuracy_sd"].spread == "n/a"
    assert record.metrics["accuracy_sd"].low is None


def test_it_chooses_by_folds_where_a_class_has_fewer_than_fifty_labels(
    make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any]
) -> None:
    data = EvaluationData(test=make_digits(slice(400, 500), "test"), train=make_digits(slice(0, 300), "train"))
    record = probe(data, env, grey(), costs=FEW, tolerance=1e-8)
    assert record.chosen["on"] == "stratified 5-fold of train, by seed 0"


def test_there_are_as_many_folds_as_the_rarest_class_has_labels(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    record = probe(digits, env, grey(), costs=FEW, labels_per_class=2, draws=2)
    assert record.chosen["on"].startswith("stratified 2-fold")


def test_ties_go_to_the_smaller_cost(digits: EvaluationData, env: Env, grey: Callable[..., Any]) -> None:
    faint = grey(factor=1e-20)  # no weight that any cost allows moves a logit
    assert probe(digits, env, faint, costs=FEW, standardize=False).chosen["C"] == FEW.values()[0]


def test_standardized_features_may_be_scaled_by_anything(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    first, second = (probe(digits, env, grey(factor), costs=FEW) for factor in (1.0, 256.0))
    assert first.outcomes is not None
    assert second.outcomes is not None
    assert first.outcomes["accuracy"] == second.outcomes["accuracy"]
    raw = probe(digits, env, grey(256.0), costs=FEW, standardize=False)
    assert raw.variant["standardize"] == "False"
    assert raw.metrics["log_loss"].value != pytest.approx(first.metrics["log_loss"].value, rel=1e-3)


def test_nothing_is_chosen_on_test(digits: EvaluationData, env: Env, grey: Callable[..., Any]) -> None:
    test: Any = digits.test
    other = replace(test, images=255 - test.images, labels=(test.labels + 1) % 10)
    first = probe(digits, env, grey(), costs=FEW, tolerance=1e-8)
    second = probe(EvaluationData(test=other, train=digits.train), env, grey(), costs=FEW, tolerance=1e-8)
    assert first.chosen == second.chosen
    assert first.metrics["accuracy"].value > 0.8 > second.metrics["accuracy"].value


def test_classes_are_counted_in_train(
    make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any], digits: EvaluationData
) -> None:
    only_small = make_digits(slice(600, 800), "test", below=3)
    test = replace(only_small, classes=tuple(map(str, range(10))))
    record = probe(EvaluationData(test=test, train=digits.train), env, grey(), costs=FEW, tolerance=1e-8)
    assert record.metrics["top5"].value >= record.metrics["accuracy"].value > 0.8


def test_five_classes_have_no_top5(make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any]) -> None:
    train, test = make_digits(slice(0, 300), "train", below=5), make_digits(slice(300, 500), "test", below=5)
    record = probe(EvaluationData(test, train), env, grey(), costs=FEW, tolerance=1e-8)
    assert list(record.metrics) == ["accuracy", "log_loss"]


def test_the_seed_decides_everything_random(digits: EvaluationData, env: Env, grey: Callable[..., Any]) -> None:
    settings = {"costs": FEW, "labels_per_class": 5, "draws": 2}
    first, again = probe(digits, env, grey(), **settings), probe(digits, env, grey(), **settings)
    other = probe(digits, replace(env, seed=1), grey(), **settings)
    assert (first.id, first.cell, first.outcomes) == (again.id, again.cell, again.outcomes)
    assert first.cell != other.cell
    assert first.outcomes != other.outcomes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: replace(data, train=None), "needs a train split"),
        (lambda data: replace(data, train=data.test), "the same images"),
        (lambda data: replace(data, test=replace(data.test, task="none")), "no class labels"),
        (
            lambda data: replace(data, test=replace(data.test, classes=tuple("abcdefghij"))),
            "differ in their classes: 0",
        ),
        (
            lambda data: replace(data, test=replace(data.test, images=data.test.images[..., :8])),
            "same --size",
        ),
        (lambda data: replace(data, train=replace(data.train, classes=("0",))), "one class only"),
    ],
)
def test_data_that_cannot_be_classified_are_refused(
    change: Callable[[Any], EvaluationData], message: str, digits: EvaluationData, grey: Callable[..., Any]
) -> None:
    with pytest.raises(UserError, match=message):
        LinearProbe(LinearProbeConfig()).check(grey(), change(digits))


def test_a_class_with_too_few_labels_is_named(digits: EvaluationData, grey: Callable[..., Any]) -> None:
    train: Any = digits.train
    rows = np.flatnonzero((train.labels != 7) | (np.cumsum(train.labels == 7) <= 1))
    single = replace(
        digits, train=replace(train, images=train.images[torch.from_numpy(rows)], labels=train.labels[rows])
    )
    with pytest.raises(UserError, match=r"Class '7' of made \(train\) has fewer than the two images"):
        LinearProbe(LinearProbeConfig()).check(grey(), single)
    with pytest.raises(UserError, match="labels_per_class=200 asks for more"):
        LinearProbe(LinearProbeConfig(labels_per_class=200)).check(grey(), digits)


def test_draws_without_labels_to_draw_are_refused() -> None:
    with pytest.raises(ValueError, match="draws=4 are draws of labels: set labels_per_class too"):
        LinearProbeConfig(draws=4)
