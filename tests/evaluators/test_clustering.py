from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest

from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.clustering import Clustering, ClusteringConfig, matched_accuracy
from ssl_ce.evaluators.encoding import unit_rows
from ssl_ce.kmeans import kmeans
from ssl_ce.records.record import Record


def judged(data: EvaluationData, env: Env, subject: Any, **settings: Any) -> Record:
    evaluator = Clustering(ClusteringConfig(**settings))
    evaluator.check(subject, data)
    (record,) = evaluator.run(subject, data, env)
    return record


def entropy(counts: Any) -> float:
    total = sum(counts)
    return -sum(count / total * math.log(count / total) for count in counts)


def nmi_by_hand(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Mutual information over the mean of the two entropies."""
    apart = entropy(Counter(labels).values()), entropy(Counter(clusters).values())
    together = entropy(Counter(zip(labels, clusters, strict=True)).values())
    return 2 * (sum(apart) - together) / sum(apart)


def ari_by_hand(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Hubert and Arabie (1985), over all pairs of images."""
    pairs = [(labels[a] == labels[b], clusters[a] == clusters[b]) for a, b in combinations(range(len(labels)), 2)]
    both, same, alike = (sum(map(test, pairs)) for test in (all, lambda pair: pair[0], lambda pair: pair[1]))
    expected = same * alike / len(pairs)
    return (both - expected) / ((same + alike) / 2 - expected)


def accuracy_by_hand(labels: np.ndarray, clusters: np.ndarray, count: int) -> float:
    return max(np.mean(np.array(classes)[clusters] == labels) for classes in permutations(range(count)))


def test_the_numbers_are_those_of_loops_over_pairs_and_permutations(
    make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any]
) -> None:
    data = EvaluationData(test=make_digits(slice(0, 300), "test", below=6))
    record = judged(data, env, grey())
    assert record.protocol == "clustering@1"
    assert list(record.metrics) == ["nmi", "ari", "accuracy", "nmi_sd"]
    features = grey().describe(data.test.read(range(len(data.test)))).numpy()
    units = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    found = list(kmeans(units, 6, seed=env.seed))
    best = min(found, key=lambda one: one.inertia)
    labels = data.test.targets()
    values = {name: metric.value for name, metric in record.metrics.items()}
    assert values["nmi"] == pytest.approx(nmi_by_hand(labels, best.labels))
    assert values["ari"] == pytest.approx(ari_by_hand(labels, best.labels))
    assert values["accuracy"] == pytest.approx(accuracy_by_hand(labels, best.labels, 6))
    assert values["nmi_sd"] == pytest.approx(statistics.stdev(nmi_by_hand(labels, one.labels) for one in found))
    assert 0.2 < values["ari"] < values["nmi"] < 1
    assert record.notes["clusters"] == 6
    assert record.notes["inertia"] == pytest.approx(best.inertia, rel=1e-4)
    assert record.notes["k-means by"] in ("faiss", "scikit-learn")


def test_no_interval_and_no_outcome_of_single_images_is_claimed(
    make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any]
) -> None:
    record = judged(EvaluationData(test=make_digits(slice(0, 100), "test")), env, grey(), restarts=1)
    assert [metric.low for metric in record.metrics.values()] == [None, None, None]
    assert {metric.spread for metric in record.metrics.values()} == {"n/a"}
    assert record.outcomes == {}
    assert record.variant == {"restarts": "1"}


@pytest.mark.parametrize(("clusters", "classes"), [(4, 4), (5, 3), (3, 5)])
def test_the_matching_is_the_best_of_all_permutations(clusters: int, classes: int) -> None:
    generator = np.random.default_rng(clusters)
    for _ in range(20):
        found, labels = generator.integers(0, clusters, 40), generator.integers(0, classes, 40)
        assert matched_accuracy(labels, found) == pytest.approx(accuracy_by_hand(labels, found, max(clusters, classes)))


def test_train_images_and_the_scale_of_features_change_nothing(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    alone, beside = (judged(data, env, grey(), restarts=2) for data in (replace(digits, train=None), digits))
    assert alone.metrics == beside.metrics
    assert judged(digits, env, grey(8.0), restarts=2).metrics == beside.metrics


def test_there_are_as_many_clusters_as_declared_classes_whatever_test_shows(
    make_set: Callable[..., Any], make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any]
) -> None:
    shown = make_digits(slice(0, 200), "test", below=4)
    declared = replace(shown, classes=tuple("0123456"))
    assert judged(EvaluationData(test=declared), env, grey(), restarts=2).notes["clusters"] == 7


def test_too_few_images_or_one_class_are_refused(make_digits: Callable[..., Any], grey: Callable[..., Any]) -> None:
    evaluator = Clustering(ClusteringConfig())
    with pytest.raises(UserError, match=r"made \(test\) has 9 images, fewer than its 10 classes"):
        evaluator.check(grey(), EvaluationData(test=make_digits(slice(0, 9), "test")))
    ones = replace(make_digits(slice(0, 60), "test", below=1), classes=("0", "1"))
    assert len(ones) > 2
    with pytest.raises(UserError, match="are of the class '0'; clusters are compared with two classes or more"):
        evaluator.check(grey(), EvaluationData(test=ones))


def test_rows_of_length_one_are_a_copy_and_zeros_stay() -> None:
    features = np.array([[3, 4], [0, 0], [1e-30, 0]], dtype=np.float32)
    np.testing.assert_allclose(unit_rows(features), [[0.6, 0.8], [0, 0], [1, 0]])
    assert features[0, 0] == 3
