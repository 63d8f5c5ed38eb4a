"""Intervals and tests: how sure a number is, and whether two subjects differ.

Which test for what: McNemar for two subjects' right and wrong answers on the same images, the paired
bootstrap for any other per-image outcome, the exact sign-flip test for a few draws or seeds, Holm over the
comparisons of one table. Everything random is a function of its `seed`.

Sources: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, sections 13.3 (percentile interval)
and 16.4 (test by shifting to the null); Fisher, "The Design of Experiments", 1935, section 21 (sign flips);
McNemar, Psychometrika 12, 1947; Holm, Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ce.records.record import Metric

Values = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95
MOST_SIGN_FLIPS = 20

# Resampling these many values at a time keeps memory flat (64 MiB of indices) however many images there are.
_CHUNK = 1 << 23
# Outcomes with no more distinct values than this (right and wrong, say) are resampled by their counts.
_FEW_DISTINCT = 16


class Interval(NamedTuple):
    """A statistic of the images at hand, and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


class PairedDifference(NamedTuple):
    """Mean of a - b over the same images, its bootstrap interval, and the two-sided p of "no difference"."""

    difference: float
    low: float
    high: float
    p: float


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """The mean of `values` (n,), one for each test image, with its percentile bootstrap interval."""
    return bootstrap_of_mean(values, lambda mean: mean, seed=seed, resamples=resamples, level=level)


def bootstrap_of_mean(
    values: ArrayLike,
    transform: Callable[[Values], Values],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """A function of the mean of `values` (n,), with its percentile bootstrap interval.

    `transform` maps means to statistics elementwise, float64 (m,) -> (m,): PSNR of the mean L2 is
    `lambda l2: -10 * np.log10(l2)`. It is applied to each resampled mean, so it need not be linear.

    Raises
    ------
    ValueError
        If `values` is not one-dimensional, is empty, or holds what is not finite.
    """
    sample = _checked(values)
    means = transform(_resampled_means(sample, _generator(seed), resamples))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(transform(np.array([sample.mean()]))[0]), float(low), float(high))


def bootstrap_difference(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """The mean of `a` (n,) minus the mean of `b` (m,), outcomes of different images, with its interval.

    Each group is resampled on its own (Efron and Tibshirani, section 8.3). For two subjects on the same images,
    `paired_bootstrap_test` is the sharper instrument.

    Raises
    ------
    ValueError
        If either is not one-dimensional, is empty, or holds what is not finite.
    """
    first, second = _checked(a), _checked(b)
    generator = _generator(seed)
    means = _resampled_means(first, generator, resamples) - _resampled_means(second, generator, resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(first.mean() - second.mean()), float(low), float(high))


def mean_metric(values: ArrayLike, *, seed: int, higher_is_better: bool = True) -> Metric:
    """The mean of `values` (n,) over the test images as a `Metric` with its 95 % bootstrap interval.

    No interval is given where it would be unsound: for fewer than two images, or if a value is not finite
    (the PSNR of an exact fill).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2 or not np.isfinite(sample).all():
        return Metric(value=float(sample.mean()), higher_is_better=higher_is_better)
    value, low, high = bootstrap_mean(sample, seed=seed)
    return Metric(
        value=value,
        low=low,
        high=high,
        spread="bootstrap over test images",
        higher_is_better=higher_is_better,
    )


def sign_flip_test(differences: ArrayLike) -> float:
    """Exact two-sided p of "the paired `differences` (d,) are symmetric about 0", over all 2^d sign flips.

    The share of flips whose mean is at least as far from 0 as the observed one. The smallest it can be is
    2^(1 - d): 0.002 for ten draws, 0.25 for three.

    Raises
    ------
    ValueError
        If there are no differences or more than 20, or one is not finite.
    """
    sample = _checked(differences)
    if sample.size > MOST_SIGN_FLIPS:
        raise ValueError(f"the exact sign-flip test takes at most {MOST_SIGN_FLIPS} differences, not {sample.size}")
    sums = np.zeros(1)
    for difference in sample:
        sums = np.concatenate([sums + difference, sums - difference])
    # Sums of the same numbers in another order differ by rounding; they are ties.
    rounding = 1e-12 * np.abs(sample).sum()
    return float(np.mean(np.abs(sums) >= abs(sample.sum()) - rounding))


def paired_bootstrap_test(
    a: ArrayLike, b: ArrayLike, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> PairedDifference:
    """The mean of `a - b`, outcomes (n,) of two subjects on the same images, with interval and p.

    p is the share of resampled mean differences that, moved so that their centre is 0, are at least as far
    from 0 as the observed one; two-sided, the observed one counted in, so that p is never 0.
    """
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape:
        raise ValueError(f"paired outcomes are of the same images: got {first.size} and {second.size}")
    differences = first - second
    observed = float(differences.mean())
    means = _resampled_means(differences, _generator(seed), resamples)
    rounding = 1e-12 * np.abs(differences).max()
    extreme = int(np.count_nonzero(np.abs(means - observed) >= abs(observed) - rounding))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return PairedDifference(observed, float(low), float(high), (extreme + 1) / (resamples + 1))


def mcnemar(a: ArrayLike, b: ArrayLike) -> float:
    """Exact two-sided p of "both are right equally often", from answers (n,) to the same images.

    An answer is 1 when right and 0 when wrong. A binomial test on the images where exactly one of the two is
    right; 1 when there are none.
    """
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape or not np.isin([first, second], [0.0, 1.0]).all():
        raise ValueError("McNemar's test takes two series of 0 and 1 on the same images")
    only_first = int(np.count_nonzero(first > second))
    only_second = int(np.count_nonzero(second > first))
    if only_first + only_second == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for being looked at together (Holm's step-down), in the order given.

    An adjusted value below 0.05 may be called significant at a family-wise error rate of 5 %.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _resampled_means(sample: Values, generator: np.random.Generator, resamples: int) -> Values:
    """Means of `resamples` samples drawn with replacement from `sample` (n,): float64 (resamples,)."""
    n = sample.size
    distinct, counts = np.unique(sample, return_counts=True)
    if distinct.size <= _FEW_DISTINCT:
        # How often each value is drawn is multinomial: the same distribution of means, n times faster.
        means: Values = generator.multinomial(n, counts / n, size=resamples) @ distinct / n
        return means
    rows = max(1, _CHUNK // n)
    chunks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([sample[generator.integers(0, n, (chunk, n))].mean(axis=1) for chunk in chunks])


def _generator(seed: int) -> np.random.Generator:
    # Imported here, because tables read this module and must not wait for torch.
    from ssl_ce.randomness import derive_seed

    return np.random.default_rng(derive_seed(seed, "bootstrap"))


def _checked(values: ArrayLike) -> Values:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError(f"expected one finite number for each image or draw, got an array of shape {sample.shape}")
    return sample
