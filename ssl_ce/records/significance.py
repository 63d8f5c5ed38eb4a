"""Tests: whether two subjects differ.

Which test for what: McNemar for two subjects' right and wrong answers on the same images, the paired
bootstrap for any other per-image outcome, the exact sign-flip test for a few draws or seeds, Holm over the
comparisons of one table. Everything random is a function of its `seed`.

Sources: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 16.4 (test by shifting to the null);
Fisher, "The Design of Experiments", 1935, section 21 (sign flips); Hartigan, Journal of the American Statistical
Association 64, 1969 (the interval that goes with them); McNemar, Psychometrika 12, 1947; Holm, Scandinavian Journal of
Statistics 6, 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ssl_ce.records.resampling import (
    FEW_DISTINCT,
    LEVEL,
    RESAMPLES,
    Values,
    checked,
    generator,
    resampled_columns,
    resampled_means,
)

MOST_SIGN_FLIPS = 20


class PairedDifference(NamedTuple):
    """Mean of a - b over the same images, its bootstrap interval, and the two-sided p of "no difference"."""

    difference: float
    low: float
    high: float
    p: float


def sign_flip_test(differences: ArrayLike) -> float:
    """Exact two-sided p of "the paired `differences` (d,) are symmetric about 0", over all 2^d sign flips.

    The share of flips whose mean is at least as far from 0 as the observed one. The smallest it can be is
    2^(1 - d): 0.002 for ten draws, 0.25 for three.

    Raises
    ------
    ValueError
        If there are no differences or more than 20, or one is not finite.
    """
    sample = checked(differences)
    if sample.size > MOST_SIGN_FLIPS:
        raise ValueError(f"the exact sign-flip test takes at most {MOST_SIGN_FLIPS} differences, not {sample.size}")
    sums = np.zeros(1)
    for difference in sample:
        sums = np.concatenate([sums + difference, sums - difference])
    # Sums of the same numbers in another order differ by rounding; they are ties.
    rounding = 1e-12 * np.abs(sample).sum()
    return float(np.mean(np.abs(sums) >= abs(sample.sum()) - rounding))


def sign_flip_interval(differences: ArrayLike, level: float = LEVEL) -> tuple[float, float] | None:
    """The centres that `sign_flip_test` of the `differences` (d,) does not reject, as (low, high).

    The means of all non-empty subsets, the 2^d (1 - level) / 2 smallest and largest left out (Hartigan, 1969): 0 lies
    outside if and only if p <= 1 - level. None where so few differences reject nothing: fewer than six at 95 %.

    Raises
    ------
    ValueError
        As `sign_flip_test`.
    """
    sample = checked(differences)
    if sample.size > MOST_SIGN_FLIPS:
        raise ValueError(f"the exact sign-flip test takes at most {MOST_SIGN_FLIPS} differences, not {sample.size}")
    outside = int((1 - level) / 2 * 2**sample.size + 1e-9)
    if outside == 0:
        return None
    sums, counts = np.zeros(1), np.zeros(1)
    for difference in sample:
        sums, counts = np.concatenate([sums, sums + difference]), np.concatenate([counts, counts + 1])
    means = np.sort(sums[1:] / counts[1:])
    return float(means[outside - 1]), float(means[-outside])


def paired_bootstrap_test(
    a: ArrayLike, b: ArrayLike, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> PairedDifference:
    """The mean of `a - b`, outcomes (n,) of two subjects on the same images, with interval and p.

    p is the share of resampled mean differences that, moved so that their centre is 0, are at least as far
    from 0 as the observed one; two-sided, the observed one counted in, so that p is never 0.
    """
    first, second = checked(a), checked(b)
    if first.shape != second.shape:
        raise ValueError(f"paired outcomes are of the same images: got {first.size} and {second.size}")
    return paired_bootstrap_tests([first - second], seed, resamples, level)[0]


def paired_bootstrap_tests(
    differences: Sequence[ArrayLike], seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> list[PairedDifference]:
    """`paired_bootstrap_test` of each of several series of differences (n,) on the same n images.

    All are resampled alike, which takes little longer than one of them.
    """
    samples = [checked(series) for series in differences]
    found: list[PairedDifference] = []
    for sample, means in zip(samples, _all_resampled_means(samples, seed, resamples), strict=True):
        observed = float(sample.mean())
        rounding = 1e-12 * np.abs(sample).max()
        extreme = int(np.count_nonzero(np.abs(means - observed) >= abs(observed) - rounding))
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        found.append(PairedDifference(observed, float(low), float(high), (extreme + 1) / (resamples + 1)))
    return found


def mcnemar(a: ArrayLike, b: ArrayLike) -> float:
    """Exact two-sided p of "both are right equally often", from answers (n,) to the same images.

    An answer is 1 when right and 0 when wrong. A binomial test on the images where exactly one of the two is
    right; 1 when there are none.
    """
    first, second = checked(a), checked(b)
    if first.shape != second.shape or not np.isin([first, second], [0.0, 1.0]).all():
        raise ValueError("McNemar's test takes two series of 0 and 1 on the same images")
    only_first = int(np.count_nonzero(first > second))
    only_second = int(np.count_nonzero(second > first))
    return _two_sided_coin(min(only_first, only_second), only_first + only_second)


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


def _all_resampled_means(samples: Sequence[Values], seed: int, resamples: int) -> list[Values]:
    """`resampled_means` of several series of equal length: those with many distinct values share their resamples."""
    found = {
        place: resampled_means(sample, generator(seed), resamples)
        for place, sample in enumerate(samples)
        if len(samples) == 1 or np.unique(sample).size <= FEW_DISTINCT
    }
    others = [place for place in range(len(samples)) if place not in found]
    if others:
        matrix = np.stack([samples[place] for place in others], axis=1)
        found |= dict(zip(others, resampled_columns(matrix, generator(seed), resamples).T, strict=True))
    return [found[place] for place in range(len(samples))]


def _two_sided_coin(heads: int, tosses: int) -> float:
    """Two-sided p of a fair coin for the rarer side's `heads` among `tosses`."""
    ways, tail = 1, 1
    for toss in range(heads):
        ways = ways * (tosses - toss) // (toss + 1)
        tail += ways
    return min(1.0, float(2 * tail / 2**tosses))
