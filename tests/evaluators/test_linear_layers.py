from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC

from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.linear_layers import LinearLayers, LinearLayersConfig
from ssl_ce.evaluators.linear_svm import SvmConfig, fit_svms


def several(make_set: Callable[..., Any], made: Any) -> Any:
    """Digits as a multi-label set: odd, above 4, a multiple of 3; every fifth image is not scored for the last."""
    targets = np.stack([made.labels % 2, made.labels > 4, made.labels % 3 == 0], axis=1).astype(np.int64)
    targets[::5, 2] = -1
    return make_set(made.images, targets, made.split, ("odd", "large", "threes"), task="multilabel")


@pytest.fixture
def multilabel(make_set: Callable[..., Any], digits: EvaluationData) -> EvaluationData:
    return EvaluationData(test=several(make_set, digits.test), train=several(make_set, digits.train))


def test_the_constants_are_those_of_vissls_configuration_for_alexnet() -> None:
    config = LinearLayersConfig()
    assert (config.rates, config.batch_size, config.epochs, config.milestones) == ((0.01,), 256, 28, (8, 16, 24))
    assert (config.momentum, config.nesterov, config.weight_decay, config.norm) == (0.9, False, 5e-4, "channel")
    svm = config.svm
    assert svm.costs == (0.01, 0.1, 1.0, 2, 5, 10, 15, 20, 50, 100, 1000)
    assert (svm.folds, svm.positive_weight, svm.tolerance, svm.max_iterations) == (3, 2.0, 1e-4, 2000)


@pytest.mark.parametrize(
    ("channels", "dimensions"),
    [(96, 9600), (256, 9216), (384, 9600), (64, 9216), (512, 8192), (1024, 9216), (2048, 8192)],
)
def test_stages_have_as_many_numbers_as_those_of_vissls_alexnet_and_resnet(channels: int, dimensions: int) -> None:
    class Wide(NetworkDescriptor):
        def __init__(self) -> None:
            self.encoder, self.tap = SimpleNamespace(taps={"stage": (channels, 1)}), "stage"

        def at(self, tap: str, pool: int | str) -> Any:
            return channels * int(pool) ** 2

    assert LinearLayers(LinearLayersConfig()).pooled(Wide()) == dimensions  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("runs/x", "runs/x@all"),
        ("runs/x@conv2", "runs/x@conv2"),
        ("random:alexnet?size=32&width=0.5", "random:alexnet@all?size=32&width=0.5"),
        ("torchvision:resnet18", "torchvision:resnet18@all"),
        ("hog?cell=4", "hog?cell=4"),
    ],
)
def test_a_network_without_a_tap_is_every_tap(text: str, means: str) -> None:
    assert LinearLayers(LinearLayersConfig()).reference(text) == means


def test_every_tap_has_a_record_and_the_chosen_one_stands_for_all(digits: EvaluationData, env: Env) -> None:
    evaluator = LinearLayers(LinearLayersConfig(batch_size=60, epochs=6, milestones=(4,)))
    subject = evaluator.resolve(evaluator.reference("random:dcgan?size=32&width=0.1"), digits, env.device)
    evaluator.check(subject, digits)
    records = list(evaluator.run(subject, digits, env))
    assert [record.subject.name.partition("?")[0] for record in records] == [
        "random:dcgan@conv1", "random:dcgan@conv2", "random:dcgan@conv3", "random:dcgan@all",
    ]  # fmt: skip
    assert max(record.metrics["accuracy"].value for record in records) > 0.6
    chosen = records[-1].chosen
    there = chosen["accuracy there"]
    assert chosen["tap"] == max(there, key=lambda tap: there[tap])
    assert records[-1].metrics == records[list(there).index(chosen["tap"])].metrics


def test_machines_are_those_of_scikit_learns_grid_search(multilabel: EvaluationData, grey: Callable[..., Any]) -> None:
    assert multilabel.train is not None
    features = grey().describe(multilabel.train.read(range(150))).numpy()
    targets: NDArray[np.int64] = multilabel.train.targets(range(150))
    tests = grey().describe(multilabel.test.read(range(50))).numpy()
    config = SvmConfig(costs=(0.01, 0.1, 1.0))
    found = fit_svms(features, targets, tests, config, seed=0, advance=lambda number: None)
    x, unseen = (rows / (np.linalg.norm(rows.astype(float), axis=1)[:, None] + 1e-5) for rows in (features, tests))
    for number in range(3):
        machine = LinearSVC(class_weight={1: 2, -1: 1}, tol=1e-4, max_iter=2000, dual=True, random_state=0)
        search = GridSearchCV(machine, {"C": [0.01, 0.1, 1.0]}, cv=3, scoring="average_precision")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(x, np.where(targets[:, number] == 1, 1, -1))
        assert found.costs[number] == search.best_params_["C"]
        np.testing.assert_allclose(found.scores[:, number], search.decision_function(unseen), atol=1e-8)


def test_multilabel_sets_are_classified_by_machines_and_unscored_labels_do_not_count(
    multilabel: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    evaluator = LinearLayers(LinearLayersConfig(svm=SvmConfig(costs=(0.1, 1.0))))
    evaluator.check(grey(), multilabel)
    (record,) = evaluator.run(grey(), multilabel, env)
    assert list(record.metrics) == ["map", "map_11point"]
    assert record.metrics["map"].spread == "n/a"
    assert record.metrics["map"].value > 0.8
    assert record.chosen["on"] == "3-fold of train"
    assert set(record.chosen["C"]) <= {0.1, 1.0}


def test_taps_of_a_multilabel_set_have_their_records(multilabel: EvaluationData, env: Env) -> None:
    evaluator = LinearLayers(LinearLayersConfig(svm=SvmConfig(costs=(1.0,), max_iterations=50), dimensions=64))
    every = load_descriptor("random:dcgan@all?size=32&width=0.1")
    records = list(evaluator.run(every, multilabel, env))
    assert len(records) == 4
    assert set(records[-1].chosen["map there"]) == {"conv1", "conv2", "conv3"}


def test_a_class_with_fewer_images_than_folds_is_named(multilabel: EvaluationData, grey: Callable[..., Any]) -> None:
    train: Any = multilabel.train
    train.labels[:, 1] = 0
    train.labels[:2, 1] = 1
    with pytest.raises(UserError, match=r"2 images of made .train. show 'large', and 3 are needed"):
        LinearLayers(LinearLayersConfig()).check(grey(), multilabel)
