"""Intervals: how sure a number is. Everything random is a function of its `seed`.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ssl_ce.records.record import Metric
from ssl_ce.records.resampling import LEVEL, RESAMPLES, Values, checked, generator, resampled_means


class Interval(NamedTuple):
    """A statistic of the images at hand, and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


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
    sample = checked(values)
    means = transform(resampled_means(sample, generator(seed), resamples))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(transform(np.array([sample.mean()]))[0]), float(low), float(high))


def bootstrap_difference(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """The mean of `a` (n,) minus the mean of `b` (m,), outcomes of different images, with its interval.

    Each group is resampled on its own (Efron and Tibshirani, section 8.3). For two subjects on the same images,
    `significance.paired_bootstrap_test` is the sharper instrument.

    Raises
    ------
    ValueError
        If either is not one-dimensional, is empty, or holds what is not finite.
    """
    first, second = checked(a), checked(b)
    draw = generator(seed)
    means = resampled_means(first, draw, resamples) - resampled_means(second, draw, resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(first.mean() - second.mean()), float(low), float(high))


def mean_metric(values: ArrayLike, *, seed: int, higher_is_better: bool | None = True) -> Metric:
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
