from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.knn import Knn, KnnConfig
from ssl_ce.evaluators.linear_probe import Costs, LinearProbe, LinearProbeConfig
from ssl_ce.evaluators.sampling import held_out_split, stratified_folds
from ssl_ce.records.record import Record

FEW = Costs(first=-3, last=0, count=3)


def several(make_set: Callable[..., Any], made: Any) -> Any:
    """Digits as a multi-label set: odd, above 4, a multiple of 3; every fifth image is not scored for the last."""
    targets = np.stack([made.labels % 2, made.labels > 4, made.labels % 3 == 0], axis=1).astype(np.int64)
    targets[::5, 2] = -1
    return make_set(made.images, targets, made.split, ("odd", "large", "threes"), task="multilabel")


@pytest.fixture
def data(make_set: Callable[..., Any], make_digits: Callable[..., Any], digits: EvaluationData) -> EvaluationData:
    return EvaluationData(
        test=several(make_set, digits.test), train=several(make_set, make_digits(slice(300), "train"))
    )


def probe(data: EvaluationData, env: Env, subject: Any, **settings: Any) -> Record:
    evaluator = LinearProbe(LinearProbeConfig(costs=FEW, tolerance=1e-8, **settings))
    evaluator.check(subject, data)
    (record,) = evaluator.run(subject, data, env)
    return record


def model(cost: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=cost, solver="newton-cg", tol=1e-8, max_iter=1000))


@pytest.mark.parametrize("fold_below", [50, 500])
def test_it_equals_one_regression_for_each_class_written_out_with_scikit_learn(
    fold_below: int, data: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    assert data.train is not None
    x, y = grey().describe(data.train.read(range(300))).double().numpy(), data.train.targets()
    tests, targets = grey().describe(data.test.read(range(200))).double().numpy(), data.test.targets()
    everything = np.zeros(300, dtype=np.int64)
    by_folds = fold_below == 500
    splits = stratified_folds(everything, 5, 0) if by_folds else [held_out_split(everything, 0.1, 0)]
    losses = np.zeros(3)
    for split in splits:
        for number in range(3):
            fit, held_out = (rows[y[rows, number] >= 0] for rows in (split.fit, split.held_out))
            for place, cost in enumerate(FEW.values()):
                given = model(cost).fit(x[fit], y[fit, number]).predict_proba(x[held_out])
                losses[place] += log_loss(y[held_out, number], given, normalize=False)
    cost = FEW.values()[losses.argmin()]
    precisions, each = [], np.full((200, 3), np.nan)
    for number in range(3):
        rows, scored = y[:, number] >= 0, targets[:, number] >= 0
        chances = model(cost).fit(x[rows], y[rows, number]).predict_proba(tests)[:, 1]
        precisions.append(average_precision_score(targets[scored, number], chances[scored]))
        each[scored, number] = -np.log(np.where(targets[:, number] == 1, chances, 1 - chances))[scored]

    record = probe(data, env, grey(), fold_below=fold_below)

    assert list(record.metrics) == ["map", "map_11point", "log_loss"]
    assert record.chosen["C"] == cost
    assert record.chosen["on"] == ("5-fold of train, by seed 0" if by_folds else "10 % of train, held out by seed 0")
    assert record.metrics["map"].value == pytest.approx(np.mean(precisions), abs=1e-6)
    assert record.metrics["map"].spread == "n/a"
    assert record.outcomes is not None
    np.testing.assert_allclose(record.outcomes["log_loss"], np.nanmean(each, axis=1), rtol=1e-4, atol=1e-6)


def test_a_class_that_no_test_image_shows_is_left_out_and_noted(
    data: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    test: Any = data.test
    without = replace(test, labels=np.where([False, True, False], 0, test.labels))
    record = probe(replace(data, test=without), env, grey())
    assert record.notes["classes left out because no test image shows them"] == ["large"]
    assert np.isfinite(record.metrics["map"].value)


def test_few_labels_a_class_are_refused(data: EvaluationData, grey: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="labels_per_class draws labels of one class an image"):
        LinearProbe(LinearProbeConfig(labels_per_class=5)).check(grey(), data)


@pytest.mark.parametrize(("label", "words"), [(1, "lack"), (0, "show")])
def test_a_class_that_is_everywhere_or_nowhere_is_named(
    label: int, words: str, data: EvaluationData, grey: Callable[..., Any]
) -> None:
    train: Any = data.train
    train.labels[1:, 0] = label
    train.labels[0, 0] = 1 - label
    with pytest.raises(UserError, match=f"1 images of made .train. {words} 'odd', and 2 are needed"):
        LinearProbe(LinearProbeConfig()).check(grey(), data)


def test_several_classes_an_image_are_told_apart_from_none(data: EvaluationData, grey: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="has several classes an image, and this protocol takes one"):
        Knn(KnnConfig()).check(grey(), data)


def test_an_image_without_a_label_to_be_scored_has_no_log_loss(
    data: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    data.test.labels[3] = -1  # type: ignore[attr-defined]
    record = probe(data, env, grey())
    assert record.outcomes is not None
    losses = np.array(record.outcomes["log_loss"])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(losses)), [3])
    assert record.metrics["log_loss"].value == pytest.approx(np.nanmean(losses))
    assert record.metrics["log_loss"].low is not None
