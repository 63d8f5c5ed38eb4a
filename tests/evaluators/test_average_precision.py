from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ssl_ce.evaluators.average_precision import average_precision


def made(levels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 6 classes with many ties if there are few levels, and targets with some that are not scored."""
    generator = np.random.default_rng(seed)
    targets = generator.choice([-1, 0, 1], (200, 6), p=[0.1, 0.7, 0.2])
    return (generator.integers(0, levels, (200, 6)) + targets) / levels, targets


def devkit(scores: np.ndarray, positive: np.ndarray) -> float:
    """VOC 2007's VOCevalcls.m, loop for loop."""
    order = np.argsort(-scores, kind="stable")
    right = wrong = 0
    recall, precision = [], []
    for index in order:
        right, wrong = right + int(positive[index]), wrong + int(not positive[index])
        recall.append(right / positive.sum())
        precision.append(right / (right + wrong))
    found = 0.0
    for tenth in range(11):
        reached = [p for r, p in zip(recall, precision, strict=True) if r >= tenth / 10]
        found += max(reached, default=0.0) / 11
    return found


@pytest.mark.parametrize("levels", [3, 20, 1_000_000])
def test_the_area_is_scikit_learns_whatever_is_tied(levels: int) -> None:
    scores, targets = made(levels)
    expected = [
        average_precision_score(targets[scored, k] == 1, scores[scored, k]) for k, scored in enumerate((targets >= 0).T)
    ]
    np.testing.assert_allclose(average_precision(scores, targets), expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_eleven_points_are_the_devkits(seed: int) -> None:
    scores, targets = made(1 << 40, seed)
    expected = [devkit(scores[scored, k], targets[scored, k] == 1) for k, scored in enumerate((targets >= 0).T)]
    np.testing.assert_allclose(average_precision(scores, targets, eleven_point=True), expected, rtol=1e-12)


@pytest.mark.parametrize("positives", range(1, 31))
def test_a_recall_of_a_tenth_exactly_reaches_that_tenth(positives: int) -> None:
    scores = -np.arange(2.0 * positives)[:, None]
    targets = np.tile([1, 0], positives)[:, None]
    expected = devkit(scores[:, 0], targets[:, 0] == 1)
    assert average_precision(scores, targets, eleven_point=True)[0] == pytest.approx(expected, rel=1e-12)


def test_perfect_and_worst_rankings() -> None:
    targets = np.array([[1], [1], [0], [0]])
    for eleven_point in (False, True):
        assert average_precision(-np.arange(4.0)[:, None], targets, eleven_point=eleven_point)[0] == 1.0
    assert average_precision(np.arange(4.0)[:, None], targets)[0] == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_what_is_not_scored_changes_nothing() -> None:
    scores, targets = made(1000)
    loud = np.where(targets < 0, 1e9, scores)
    np.testing.assert_array_equal(average_precision(loud, targets), average_precision(scores, targets))


def test_a_class_without_a_positive_is_nan() -> None:
    found = average_precision(np.ones((3, 2)), np.array([[0, 1], [-1, 0], [0, 0]]))
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.ones((2, 2)), np.ones((2, 3), int), "one shape"),
        (np.array([[np.nan]]), np.array([[1]]), "finite"),
        (np.ones((1, 1)), np.array([[2]]), "1 .there., 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(scores: np.ndarray, targets: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        average_precision(scores, targets)
