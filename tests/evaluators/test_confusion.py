from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from ssl_ce.evaluators.confusion import class_iou, count_pixels, mean_iou, pixel_accuracy, pooled_metric


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true maps of 12 images and 4 classes; of the last class nothing is there, 255 is no class."""
    generator = np.random.default_rng(0)
    truth = generator.choice([0, 1, 2, 255], (12, 9, 7), p=[0.5, 0.25, 0.15, 0.1])
    guess = np.where(generator.random(truth.shape) < 0.6, np.minimum(truth, 2), generator.integers(0, 3, truth.shape))
    return guess, truth


def test_counts_are_those_of_scikit_learns_matrix(maps: tuple[np.ndarray, np.ndarray]) -> None:
    counts = count_pixels(*maps, classes=4)
    for one, guess, true in zip(counts, *maps, strict=True):
        known = true != 255
        matrix = confusion_matrix(true[known], guess[known], labels=range(4))
        np.testing.assert_array_equal(one, [np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)])


def test_iou_is_scikit_learns_jaccard_score(maps: tuple[np.ndarray, np.ndarray]) -> None:
    guess, truth = maps
    known = truth != 255
    counts = count_pixels(guess, truth, classes=4).sum(axis=0)
    expected = jaccard_score(truth[known], guess[known], labels=range(3), average=None)
    np.testing.assert_allclose(class_iou(counts)[:3], expected)
    assert np.isnan(class_iou(counts)[3])
    assert mean_iou(counts) == pytest.approx(expected.mean())
    assert pixel_accuracy(counts) == pytest.approx((truth == guess)[known].mean())


def test_a_class_that_is_predicted_and_not_there_counts_as_missed() -> None:
    truth = np.zeros((1, 2, 2), dtype=np.int64)
    guess = np.array([[[0, 0], [0, 1]]])
    counts = count_pixels(guess, truth, classes=3)
    np.testing.assert_allclose(class_iou(counts[0]), [0.75, 0.0, np.nan])
    assert mean_iou(counts[0]) == 0.375


def test_nothing_labelled_is_nan_and_changes_nothing(maps: tuple[np.ndarray, np.ndarray]) -> None:
    counts = count_pixels(*maps, classes=4)
    blank = count_pixels(maps[0][:1], np.full_like(maps[1][:1], 255), classes=4)
    assert np.isnan(mean_iou(blank)).all()
    assert np.isnan(pixel_accuracy(blank)).all()
    assert pooled_metric(np.concatenate([blank, counts]), mean_iou, seed=0) == pooled_metric(counts, mean_iou, seed=0)


def test_the_interval_is_that_of_a_plain_bootstrap(maps: tuple[np.ndarray, np.ndarray]) -> None:
    counts = count_pixels(*maps, classes=4)
    generator = np.random.default_rng(5)
    scores = [mean_iou(counts[generator.integers(0, 12, 12)].sum(axis=0)) for _ in range(3000)]
    metric = pooled_metric(counts, mean_iou, seed=0)
    assert metric.value == pytest.approx(float(mean_iou(counts.sum(axis=0))))
    assert [metric.low, metric.high] == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.004)
    assert metric.spread == "bootstrap over test images' confusion matrices"
    assert pooled_metric(counts[:1], mean_iou, seed=0).low is None
