"""Intervals and tests against scipy, explicit loops and published numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ssl_ce.records.significance import (
    holm,
    mcnemar,
    paired_bootstrap_test,
    paired_bootstrap_tests,
    sign_flip_interval,
    sign_flip_test,
)
from ssl_ce.records.statistics import bootstrap_difference, bootstrap_mean, bootstrap_of_mean, mean_metric

GENERATOR = np.random.default_rng(7)
SKEWED = GENERATOR.exponential(size=200)
RIGHT = GENERATOR.random(500) < 0.9


@pytest.mark.parametrize("values", [SKEWED, RIGHT.astype(float)], ids=["continuous", "right or wrong"])
def test_the_interval_is_scipys_percentile_bootstrap(values):
    ours = bootstrap_mean(values, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", batch=5_000, rng=0
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_the_interval_of_a_share_has_the_ends_of_the_binomial():
    ours = bootstrap_mean(RIGHT, resamples=200_000)
    low, high = stats.binom.ppf([0.025, 0.975], RIGHT.size, RIGHT.mean()) / RIGHT.size
    assert ours.low == pytest.approx(low, abs=1 / RIGHT.size)
    assert ours.high == pytest.approx(high, abs=1 / RIGHT.size)


@pytest.mark.parametrize("other", [SKEWED[:60] + 0.3, np.sqrt(SKEWED)], ids=["fewer", "as many"])
def test_the_interval_of_a_difference_of_groups_is_scipys(other):
    ours = bootstrap_difference(SKEWED, other, resamples=20_000)
    theirs = stats.bootstrap(
        (SKEWED, other),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        n_resamples=20_000,
        method="percentile",
        batch=5_000,
        rng=0,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(SKEWED.mean() - other.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)
    assert bootstrap_difference(SKEWED, other, seed=3) == bootstrap_difference(SKEWED, other, seed=3)


def test_an_interval_is_a_function_of_its_seed():
    assert bootstrap_mean(SKEWED, seed=3) == bootstrap_mean(SKEWED, seed=3)
    assert bootstrap_mean(SKEWED, seed=3) != bootstrap_mean(SKEWED, seed=4)


def test_resampling_in_chunks_gives_a_mean_for_every_resample(monkeypatch):
    monkeypatch.setattr("ssl_ce.records.resampling._CHUNK", 7 * SKEWED.size)
    ours = bootstrap_mean(SKEWED, resamples=5_000)
    error = SKEWED.std() / math.sqrt(SKEWED.size)
    assert ours.low == pytest.approx(SKEWED.mean() - 1.96 * error, abs=0.2 * error)
    assert ours.high == pytest.approx(SKEWED.mean() + 1.96 * error, abs=0.2 * error)


def test_the_interval_of_a_function_of_the_mean_holds_the_functions_of_the_ends():
    def psnr(l2):
        return -10 * np.log10(l2)

    of_mean, mean = bootstrap_of_mean(SKEWED, psnr), bootstrap_mean(SKEWED)
    assert of_mean.value == pytest.approx(psnr(SKEWED.mean()))
    assert of_mean.low == pytest.approx(psnr(mean.high), abs=1e-3)
    assert of_mean.high == pytest.approx(psnr(mean.low), abs=1e-3)


def test_a_metric_says_what_its_interval_is_over():
    metric = mean_metric(SKEWED, seed=0, higher_is_better=False)
    assert metric.low < metric.value < metric.high
    assert metric.spread == "bootstrap over test images"
    assert not metric.higher_is_better


@pytest.mark.parametrize("values", [[0.5], [1.0, math.inf]])
def test_a_metric_has_no_interval_where_it_would_be_unsound(values):
    metric = mean_metric(values, seed=0)
    assert metric.value == np.mean(values)
    assert (metric.low, metric.high, metric.spread) == (None, None, "n/a")


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [1.0, math.nan]])
def test_statistics_refuse_what_is_not_one_finite_number_an_image(values):
    with pytest.raises(ValueError, match="one finite number"):
        bootstrap_mean(values)


@pytest.mark.parametrize("differences", [GENERATOR.normal(0.4, 1, 8), np.array([0.1, 0.2, -0.3, 0.3, 0.0])])
def test_the_sign_flip_test_is_scipys_permutation_test_of_paired_samples(differences):
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_test(differences) == pytest.approx(theirs.pvalue)


def test_the_sign_flip_test_counts_every_flip():
    differences = [0.3, -0.1, 0.7, 0.2, 0.1, 0.6]
    flips = list(itertools.product([1, -1], repeat=6))
    extreme = sum(abs(np.dot(flip, differences)) >= abs(sum(differences)) - 1e-9 for flip in flips)
    assert sign_flip_test(differences) == extreme / 64


def test_ten_draws_that_all_win_give_two_in_1024():
    assert sign_flip_test([0.01 * (i + 1) for i in range(10)]) == 2 / 1024


def test_no_difference_at_all_is_no_evidence():
    assert sign_flip_test([0.0] * 10) == 1.0


def test_the_sign_flip_test_takes_at_most_twenty_differences():
    assert sign_flip_test([1.0] * 20) == 2**-19
    with pytest.raises(ValueError, match="at most 20"):
        sign_flip_test([1.0] * 21)


def test_the_paired_bootstrap_agrees_with_the_t_test_where_both_hold():
    a = GENERATOR.normal(0.00, 1, 400)
    b = a - GENERATOR.normal(0.08, 1, 400)
    ours = paired_bootstrap_test(a, b, resamples=40_000)
    theirs = stats.ttest_rel(a, b)
    interval = theirs.confidence_interval()
    assert ours.difference == pytest.approx((a - b).mean())
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.02)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.01)


def test_the_paired_bootstrap_never_says_impossible():
    assert paired_bootstrap_test(np.arange(50.0) + 10, np.arange(50.0), resamples=999).p == 1 / 1000
    assert paired_bootstrap_test(SKEWED, SKEWED).p == 1.0


@pytest.mark.parametrize(
    "values", [GENERATOR.normal(0.3, 1, 8), np.full(6, 0.1), np.array([0.0, 0.1, 0.2, -0.1, 0.3, 0.3, 0.4])]
)
def test_the_sign_flip_interval_holds_the_centres_that_the_test_does_not_reject(values):
    low, high = sign_flip_interval(values)
    assert low <= values.mean() <= high
    for centre in np.linspace(values.min() - 0.1, values.max() + 0.1, 400):
        if min(abs(centre - low), abs(centre - high)) > 1e-9:
            assert (low < centre < high) == (sign_flip_test(values - centre) > 0.05)


def test_the_sign_flip_interval_leaves_out_the_ends_of_all_subset_means():
    values = GENERATOR.normal(size=7)
    subsets = itertools.chain.from_iterable(itertools.combinations(values, size) for size in range(1, 8))
    means = sorted(sum(subset) / len(subset) for subset in subsets)
    assert sign_flip_interval(values) == pytest.approx((means[2], means[-3]))  # 0.025 x 2^7 = 3.2


def test_five_differences_reject_nothing_at_five_percent():
    assert sign_flip_interval([1.0] * 5) is None
    assert sign_flip_interval([1.0] * 6) == (1.0, 1.0)
    with pytest.raises(ValueError, match="at most 20"):
        sign_flip_interval([1.0] * 21)


def test_several_paired_bootstraps_are_those_of_each_alone(monkeypatch):
    monkeypatch.setattr("ssl_ce.records.resampling._CHUNK", 7 * SKEWED.size)
    series = [SKEWED - 0.9, RIGHT[:200] * 1.0 - RIGHT[200:400], np.sqrt(SKEWED) - 0.85]
    together = paired_bootstrap_tests(series, resamples=3_000)
    for ours, one in zip(together, series, strict=True):
        assert ours == pytest.approx(paired_bootstrap_test(one, np.zeros(200), resamples=3_000))


def test_paired_outcomes_must_be_of_the_same_images():
    with pytest.raises(ValueError, match="same images"):
        paired_bootstrap_test([1.0, 2.0], [1.0])


def test_mcnemar_is_the_binomial_test_on_the_images_where_one_is_right():
    a, b = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    a[:30], b[20:33] = True, True
    by_hand = 2 * sum(math.comb(23, k) for k in range(4)) / 2**23
    assert mcnemar(a, b) == pytest.approx(by_hand)
    assert mcnemar(b, a) == mcnemar(a, b)
    assert mcnemar(a, a) == 1.0


@pytest.mark.parametrize(("first", "second"), [(0, 1), (5, 5), (7, 30), (400, 460), (0, 1500), (2_000, 2_100)])
def test_mcnemar_is_scipys_binomial_test(first, second):
    a = np.repeat([1.0, 0.0, 1.0], [first, second, 10])
    b = np.repeat([0.0, 1.0, 1.0], [first, second, 10])
    assert mcnemar(a, b) == pytest.approx(stats.binomtest(first, first + second).pvalue, rel=1e-9)


def test_mcnemar_takes_right_and_wrong_only():
    with pytest.raises(ValueError, match="0 and 1"):
        mcnemar([0.5, 1.0], [1.0, 1.0])


def test_holm_steps_down_as_a_table_worked_by_hand():
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1; each at least as large as the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_rejects_what_the_step_down_rule_rejects():
    for p_values in GENERATOR.random((50, 6)) ** 3:
        rejected = set()
        for rank, index in enumerate(np.argsort(p_values)):
            if p_values[index] > 0.05 / (6 - rank):
                break
            rejected.add(index)
        assert {i for i, p in enumerate(holm(list(p_values))) if p <= 0.05} == rejected
