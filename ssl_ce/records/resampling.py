"""Resampling with replacement: means of what is drawn, and nothing more. Everything is a function of a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ce.seeds import derive_seed

Values = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95
# Outcomes with no more distinct values than this (right and wrong, say) are resampled by their counts.
FEW_DISTINCT = 16

# Resampling these many values at a time keeps memory flat (64 MiB of indices) however many images there are.
_CHUNK = 1 << 23


def resampled_means(sample: Values, draw: np.random.Generator, resamples: int) -> Values:
    """Means of `resamples` samples drawn with replacement from `sample` (n,): float64 (resamples,)."""
    n = sample.size
    distinct, counts = np.unique(sample, return_counts=True)
    if distinct.size <= FEW_DISTINCT:
        # How often each value is drawn is multinomial: the same distribution of means, n times faster.
        means: Values = draw.multinomial(n, counts / n, size=resamples) @ distinct / n
        return means
    rows = max(1, _CHUNK // n)
    chunks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([sample[draw.integers(0, n, (chunk, n))].mean(axis=1) for chunk in chunks])


def resampled_columns(matrix: Values, draw: np.random.Generator, resamples: int) -> Values:
    """Means of the columns of `matrix` (n, k), rows drawn with replacement: float64 (resamples, k)."""
    n = len(matrix)
    rows = max(1, _CHUNK // n)
    parts = []
    for start in range(0, resamples, rows):
        chunk = min(rows, resamples - start)
        drawn = draw.integers(0, n, (chunk, n)) + n * np.arange(chunk)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=chunk * n).reshape(chunk, n)
        parts.append(counts.astype(np.float64) @ matrix / n)
    return np.concatenate(parts)


def generator(seed: int) -> np.random.Generator:
    """Draws the resamples, for one `seed`."""
    return np.random.default_rng(derive_seed(seed, "bootstrap"))


def checked(values: ArrayLike) -> Values:
    """`values` as float64 (n,). Raises `ValueError` if they are not one finite number for each image or draw."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError(f"expected one finite number for each image or draw, got an array of shape {sample.shape}")
    return sample
