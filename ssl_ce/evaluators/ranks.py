"""Where the true class stands among the scores of all classes: what accuracy and top-5 are counted from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def true_class_ranks(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes come before the true one: scores (m, classes), labels (m,) -> int64 (m,).

    0 where the true class is predicted. Equal scores are ordered by class number, so classes without a
    vote come last, in that order.
    """
    true = np.take_along_axis(scores, labels[:, None], axis=1)
    before = (scores > true) | ((scores == true) & (np.arange(scores.shape[1]) < labels[:, None]))
    ranks: NDArray[np.int64] = before.sum(axis=1)
    return ranks
