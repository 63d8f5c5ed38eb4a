"""Average precision of each class of a multi-label set, with labels that are not scored left out.

Sources: for the area, the sum of scikit-learn's `average_precision_score`; for eleven points, Everingham et al.,
"The Pascal Visual Object Classes Challenge", IJCV 2010, section 4.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_POINTS = np.arange(11) / 10


def average_precision(scores: ArrayLike, targets: ArrayLike, *, eleven_point: bool = False) -> NDArray[np.float64]:
    """Average precision of each class: float64 (classes,) in [0, 1].

    Parameters
    ----------
    scores
        Float (n, classes), higher for what is more likely there. Equal scores are one place of the ranking.
    targets
        Int (n, classes): 1 where the class is there, 0 where it is not, -1 where it is not scored.
    eleven_point
        The mean over t = 0, 0.1 ... 1 of the best precision at a recall of at least t, as until VOC 2009; else the
        area under the steps of the curve, the precision at each place times the recall it adds.

    Returns
    -------
    NDArray
        NaN for a class without a positive. `np.nanmean` of it is mAP.

    Raises
    ------
    ValueError
        If the shapes differ, a score is not finite, or a target is none of 1, 0 and -1.
    """
    given, truths = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    if given.ndim != 2 or given.shape != truths.shape:
        raise ValueError(f"scores {given.shape} and targets {truths.shape} must have one shape (n, classes)")
    if not np.isfinite(given).all():
        raise ValueError("scores must be finite")
    if not np.isin(truths, (-1, 0, 1)).all():
        raise ValueError("targets are 1 (there), 0 (not there) or -1 (not scored)")
    found = np.full(given.shape[1], np.nan)
    for number, (column, truth) in enumerate(zip(given.T, truths.T, strict=True)):
        scored = truth >= 0
        if (truth == 1).any():
            precision, recall = _curve(column[scored], truth[scored] == 1)
            found[number] = _at_eleven_points(precision, recall) if eleven_point else _area(precision, recall)
    return found


def _curve(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall at each distinct score, from the highest down: float64 (distinct scores,) each."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    right = np.cumsum(positive[order])[ends]
    return right / (ends + 1), right / right[-1]


def _area(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _at_eleven_points(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    return float(np.mean([precision[recall >= point].max() for point in _POINTS]))
