from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.knn import InstdiscConfig, InstdiscKnn, Knn, KnnConfig, vote
from ssl_ce.evaluators.ranks import true_class_ranks
from ssl_ce.evaluators.sampling import draw_labels
from ssl_ce.records.record import Record
from ssl_ce.search import nearest


def judged(data: EvaluationData, env: Env, subject: Any, **settings: Any) -> Record:
    evaluator = Knn(KnnConfig(**settings))
    evaluator.check(subject, data)
    (record,) = evaluator.run(subject, data, env)
    return record


def ranking_by_loop(query: np.ndarray, base: np.ndarray, labels: np.ndarray, k: int, classes: int) -> list[int]:
    """Classes from most to least votes, one float64 operation at a time."""
    similarities = []
    for place, row in enumerate(base):
        length = math.sqrt(sum(float(a) ** 2 for a in query)) * math.sqrt(sum(float(b) ** 2 for b in row))
        similarities.append((-sum(float(a) * float(b) for a, b in zip(query, row, strict=True)) / length, place))
    votes = [0.0] * classes
    for negative, place in sorted(similarities)[:k]:
        votes[labels[place]] += math.exp(-negative / 0.07)
    return sorted(range(classes), key=lambda number: (-votes[number], number))


@pytest.fixture
def points() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Few distinct vectors of small whole numbers, so that many neighbours are equally near."""
    rng = np.random.default_rng(0)
    base, queries = (rng.integers(1, 4, (n, 3)).astype(np.float32) * 2.0 for n in (90, 25))
    return queries, base, rng.integers(0, 8, 90), rng.integers(0, 8, 25)


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_it_equals_a_brute_force_loop_on_ties_and_on_top5(backend: Any, points: Any) -> None:
    if backend == "faiss":
        pytest.importorskip("faiss")
    queries, base, labels, targets = points
    similarities, indices = nearest(queries, base, 20, metric="cosine", backend=backend)
    votes = vote(similarities, labels[indices], [3, 20], 8, 0.07)
    for k in (3, 20):
        ranks = true_class_ranks(votes[k], targets)
        for query, target, rank in zip(queries, targets, ranks, strict=True):
            assert ranking_by_loop(query, base, labels, k, 8).index(target) == rank


def test_both_back_ends_give_the_same_votes_to_the_last_bit(points: Any) -> None:
    pytest.importorskip("faiss")
    queries, base, labels, _ = points
    found = [
        vote(similarities, labels[indices], [10, 20], 8, 0.07)
        for backend in ("faiss", "torch")
        for similarities, indices in [nearest(queries, base, 20, backend=backend)]  # type: ignore[arg-type]
    ]
    for k in (10, 20):
        np.testing.assert_array_equal(found[0][k], found[1][k])


def test_classes_without_votes_come_last_by_their_number() -> None:
    scores = np.array([[0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 0.0]] * 4)
    np.testing.assert_array_equal(true_class_ranks(scores, np.array([2, 4, 0, 6])), [0, 1, 2, 6])


def test_the_record_holds_every_k_with_twenty_as_headline(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    record = judged(digits, env, grey())
    assert record.protocol == "knn-dino@1"
    assert list(record.metrics) == ["accuracy", "top5", "accuracy_k10", "accuracy_k100", "accuracy_k200"]
    assert record.variant == {}
    assert record.chosen == {}
    assert record.outcomes is not None
    assert all(len(values) == 200 for values in record.outcomes.values())
    metric = record.metrics["accuracy"]
    assert metric.low is not None
    assert metric.high is not None
    assert metric.low < metric.value < metric.high


def test_each_accuracy_on_digits_equals_the_loop(
    make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any]
) -> None:
    data = EvaluationData(test=make_digits(slice(120, 140), "test"), train=make_digits(slice(0, 60), "train"))
    assert data.train is not None
    record = judged(data, env, grey(), neighbours=(5, 20))
    base, queries = (grey().describe(images.read(range(len(images)))).numpy() for images in (data.train, data.test))
    for name, k, place in (("accuracy", 20, 1), ("top5", 20, 5), ("accuracy_k5", 5, 1)):
        right = [
            target in ranking_by_loop(query, base, data.train.targets(), k, 10)[:place]
            for query, target in zip(queries, data.test.targets(), strict=True)
        ]
        assert record.outcomes is not None
        np.testing.assert_array_equal(record.outcomes[name], np.array(right, dtype=float))
        assert record.metrics[name].value == pytest.approx(np.mean(right))


def test_more_neighbours_than_train_images_are_left_out(
    make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any]
) -> None:
    data = EvaluationData(test=make_digits(slice(150, 190), "test"), train=make_digits(slice(0, 100), "train"))
    assert list(judged(data, env, grey()).metrics) == ["accuracy", "top5", "accuracy_k10", "accuracy_k100"]


def test_fewer_train_images_than_the_headline_are_refused(
    make_digits: Callable[..., Any], grey: Callable[..., Any]
) -> None:
    data = EvaluationData(test=make_digits(slice(150, 190), "test"), train=make_digits(slice(0, 19), "train"))
    with pytest.raises(UserError, match="has 19 images, fewer than the 20 neighbours"):
        Knn(KnnConfig()).check(grey(), data)


def test_five_classes_have_no_top5(make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any]) -> None:
    train, test = make_digits(slice(0, 100), "train", below=5), make_digits(slice(100, 150), "test", below=5)
    assert list(judged(EvaluationData(test, train), env, grey()).metrics) == ["accuracy", "accuracy_k10"]


def test_a_changed_constant_shows_in_the_row(digits: EvaluationData, env: Env, grey: Callable[..., Any]) -> None:
    assert judged(digits, env, grey(), temperature=0.1).variant == {"temperature": "0.1"}


def test_the_headline_must_be_reported() -> None:
    with pytest.raises(ValidationError, match="must be one of the neighbours"):
        KnnConfig(neighbours=(5,), headline=20)


# Instance discrimination


def test_instance_discrimination_votes_with_200_neighbours(
    make_digits: Callable[..., Any], env: Env, grey: Callable[..., Any]
) -> None:
    data = EvaluationData(test=make_digits(slice(300, 320), "test"), train=make_digits(slice(0, 210), "train"))
    assert data.train is not None
    (record,) = InstdiscKnn(InstdiscConfig()).run(grey(), data, env)
    assert record.protocol == "knn-instdisc@1"
    assert list(record.metrics) == ["accuracy", "top5"]
    assert (record.config, record.variant) == ({"neighbours": [200], "headline": 200, "temperature": 0.07}, {})
    base, queries = (grey().describe(images.read(range(len(images)))).numpy() for images in (data.train, data.test))
    right = [
        ranking_by_loop(query, base, data.train.targets(), 200, 10)[0] == target
        for query, target in zip(queries, data.test.targets(), strict=True)
    ]
    assert record.outcomes is not None
    np.testing.assert_array_equal(record.outcomes["accuracy"], np.array(right, dtype=float))


# Few labels


def test_few_labels_are_searched_draw_by_draw(digits: EvaluationData, env: Env, grey: Callable[..., Any]) -> None:
    assert digits.train is not None
    record = judged(digits, env, grey(), labels_per_class=2, draws=3, neighbours=(2, 15, 25), headline=15)
    assert record.variant == {"labels": "2 a class, 3 draws", "k": "2", "neighbours": "2, 15, 25", "headline": "15"}
    assert list(record.metrics) == ["accuracy", "accuracy_k1", "accuracy_k15", "accuracy_sd"]
    labels = digits.train.targets()
    features = grey().describe(digits.train.read(range(len(labels)))).numpy()
    queries = grey().describe(digits.test.read(range(20))).numpy()
    right = np.zeros((3, 20))
    for draw in range(3):
        rows = draw_labels(labels, 2, env.seed, draw)
        for place, (query, target) in enumerate(zip(queries, digits.test.targets()[:20], strict=True)):
            right[draw, place] = ranking_by_loop(query, features[rows], labels[rows], 2, 10)[0] == target
    assert record.outcomes is not None
    np.testing.assert_allclose(record.outcomes["accuracy"][:20], right.mean(axis=0))
    accuracies = record.outcomes["accuracy_draws"]
    assert len(accuracies) == 3
    assert record.metrics["accuracy"].value == pytest.approx(sum(accuracies) / 3)
    assert record.metrics["accuracy_sd"].value == pytest.approx(statistics.stdev(accuracies))
    assert (record.metrics["accuracy_sd"].low, record.metrics["accuracy_sd"].higher_is_better) == (None, None)


@pytest.mark.parametrize(
    ("per_class", "k", "metrics"),
    [
        (1, "1", ["accuracy", "accuracy_k10", "accuracy_sd"]),
        (6, "6", ["accuracy", "top5", "accuracy_k1", "accuracy_k10", "accuracy_k20", "accuracy_sd"]),
        (
            30,
            "20",
            ["accuracy", "top5", "accuracy_k1", "accuracy_k10", "accuracy_k100", "accuracy_k200", "accuracy_sd"],
        ),
    ],
)
def test_no_more_neighbours_vote_than_a_class_has_labels(
    digits: EvaluationData, env: Env, grey: Callable[..., Any], per_class: int, k: str, metrics: list[str]
) -> None:
    record = judged(digits, env, grey(), labels_per_class=per_class, draws=2)
    assert record.variant["k"] == k
    assert list(record.metrics) == metrics


def test_one_draw_has_no_spread_and_every_subject_the_same_draws(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    first, second = (judged(digits, env, grey(factor), labels_per_class=3, draws=1) for factor in (1.0, 2.0))
    assert "accuracy_sd" not in first.metrics
    assert first.variant["labels"] == "3 a class, 1 draw"
    assert first.metrics == second.metrics  # twice the features have the same cosines, so only other draws could differ


def test_a_class_with_fewer_images_than_labels_is_refused(digits: EvaluationData, grey: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"Class '\d' of made has \d+ images in train, and labels_per_class=70 asks"):
        Knn(KnnConfig(labels_per_class=70)).check(grey(), digits)


def test_settings_that_draw_nothing_read_as_they_did_before_there_were_draws() -> None:
    """Cells and tables of records that are there already must not fall apart."""
    before = {"neighbours": [10, 20, 100, 200], "headline": 20, "temperature": 0.07}
    assert KnnConfig().model_dump(mode="json") == before
    assert KnnConfig(**before) == KnnConfig()
    drawn = KnnConfig(labels_per_class=5)
    assert drawn.model_dump(mode="json") == {**before, "labels_per_class": 5, "draws": 10}
    assert KnnConfig(**drawn.model_dump(mode="json")) == drawn
