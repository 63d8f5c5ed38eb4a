from __future__ import annotations

import numpy as np
import pytest

from ssl_ce.errors import UserError
from ssl_ce.evaluators.sampling import draw_labels, draw_share, held_out_split, stratified_folds

LABELS = np.array([0] * 53 + [1] * 20 + [2] * 7)[np.random.default_rng(0).permutation(80)]


def test_every_row_is_held_out_by_exactly_one_fold() -> None:
    folds = stratified_folds(LABELS, 5, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.held_out for fold in folds])), np.arange(80))
    for fold in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.fit, fold.held_out])), np.arange(80))


def test_folds_are_even_in_every_class_and_in_size() -> None:
    folds = stratified_folds(LABELS, 5, seed=0)
    counts = np.array([np.bincount(LABELS[fold.held_out], minlength=3) for fold in folds])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_a_share_of_each_class_is_held_out() -> None:
    split = held_out_split(LABELS, 0.1, seed=0)
    np.testing.assert_array_equal(np.bincount(LABELS[split.held_out]), [5, 2, 1])
    assert not set(split.fit) & set(split.held_out)
    assert len(split.fit) + len(split.held_out) == 80


def test_a_draw_is_balanced_and_follows_seed_and_number() -> None:
    drawn = draw_labels(LABELS, 4, seed=0, draw=0)
    np.testing.assert_array_equal(np.bincount(LABELS[drawn]), [4, 4, 4])
    np.testing.assert_array_equal(drawn, draw_labels(LABELS, 4, seed=0, draw=0))
    assert set(drawn) != set(draw_labels(LABELS, 4, seed=0, draw=1))
    assert set(drawn) != set(draw_labels(LABELS, 4, seed=1, draw=0))


def test_draws_choose_every_row_equally_often() -> None:
    chosen = np.zeros(80)
    for draw in range(400):
        chosen[draw_labels(LABELS, 4, seed=3, draw=draw)] += 1
    for label in range(3):
        share = 4 / (label == LABELS).sum()
        deviation = np.sqrt(share * (1 - share) / 400)
        assert np.abs(chosen[label == LABELS] / 400 - share).max() < 4 * deviation


def test_a_share_is_as_many_labels_of_each_class() -> None:
    rows = draw_share(LABELS, 0.15, seed=3, draw=1)  # 12 of 80
    np.testing.assert_array_equal(np.bincount(LABELS[rows]), [4, 4, 4])
    np.testing.assert_array_equal(rows, draw_labels(LABELS, 4, seed=3, draw=1))
    assert set(rows) != set(draw_share(LABELS, 0.15, seed=3, draw=2))


@pytest.mark.parametrize(
    ("share", "message"), [(0.01, r"less than one label .* share=0\.04"), (0.4, r"is 11 labels .* rarest class has 7")]
)
def test_a_share_that_no_draw_can_have_is_refused(share: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw_share(LABELS, share, seed=0, draw=0)
