"""Segmentation's scores from counts of pixels: intersection over union of classes, with an interval over images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ssl_ce.records.record import Metric
from ssl_ce.records.resampling import LEVEL, RESAMPLES, Values, generator, resampled_columns


def count_pixels(predicted: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """What scores are made of, of each image: its confusion matrix's diagonal and the sums of its rows and columns.

    Parameters
    ----------
    predicted, truth
        Class numbers (n, h, w). Where `truth` is none of 0 ... classes - 1 nothing is counted.

    Returns
    -------
    NDArray
        int64 (n, 3, classes): pixels of a class that were predicted to be, that are, and that were predicted.
    """
    found = np.zeros((len(truth), 3, classes), dtype=np.int64)
    for counts, guess, true in zip(found, predicted, truth, strict=True):
        known = (true >= 0) & (true < classes)
        right = known & (guess == true)
        for row, values in enumerate((true[right], true[known], guess[known])):
            counts[row] = np.bincount(values, minlength=classes)
    return found


def class_iou(counts: Values | NDArray[np.int64]) -> Values:
    """Intersection over union of each class: (..., 3, classes) -> float64 (..., classes).

    NaN for a class that neither is there nor was predicted.
    """
    right, there, predicted = np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)
    union = there + predicted - right
    iou: Values = np.divide(right, union, out=np.full_like(union, np.nan), where=union > 0)
    return iou


def mean_iou(counts: Values | NDArray[np.int64]) -> Values:
    """Mean over the classes that are there or were predicted: (..., 3, classes) -> float64 (...); NaN without any."""
    iou = class_iou(counts)
    known = ~np.isnan(iou)
    total, number = np.where(known, iou, 0.0).sum(axis=-1), known.sum(axis=-1)
    mean: Values = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return mean


def pixel_accuracy(counts: Values | NDArray[np.int64]) -> Values:
    """The share of the labelled pixels that are right: (..., 3, classes) -> float64 (...); NaN without any."""
    sums = np.asarray(counts, dtype=np.float64).sum(axis=-1)
    right, there = sums[..., 0], sums[..., 1]
    share: Values = np.divide(right, there, out=np.full(right.shape, np.nan), where=there > 0)
    return share


def pooled_metric(counts: NDArray[np.int64], score: Callable[[Values], Values], *, seed: int) -> Metric:
    """`score` of all images' pixels together, with its percentile bootstrap interval.

    Images are drawn with replacement, and their counts summed and scored anew. Images without a labelled pixel change
    nothing and are left out. No interval for fewer than two images.
    """
    counts = counts[counts[:, 1].sum(axis=1) > 0]
    value = float(score(counts.sum(axis=0).astype(np.float64)))
    if len(counts) < 2:
        return Metric(value=value)
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    means = resampled_columns(flat, generator(seed), RESAMPLES).reshape(RESAMPLES, *counts.shape[1:])
    low, high = np.quantile(score(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Metric(
        value=value, low=float(low), high=float(high), spread="bootstrap over test images' confusion matrices"
    )
