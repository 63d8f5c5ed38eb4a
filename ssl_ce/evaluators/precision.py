"""Mean average precision of a multi-label set: its metrics, and what is said beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_ce.data.imageset import ImageSet
from ssl_ce.errors import UserError
from ssl_ce.evaluators.average_precision import average_precision
from ssl_ce.evaluators.draws import spread_of
from ssl_ce.records.record import Metric


def judged_by_precision(
    draws: Sequence[NDArray[np.float64]], test: ImageSet, kinds: Mapping[str, bool]
) -> tuple[dict[str, Metric], dict[str, NDArray[np.float64]], dict[str, Any]]:
    """Mean average precision of a multi-label set, mean over draws.

    mAP is no mean over images, so it has no interval and no outcome of single images.

    Parameters
    ----------
    draws
        Scores of the test images in each draw, float64 (n, classes).
    kinds
        {metric: whether by eleven points}.

    Raises
    ------
    UserError
        If no test image shows any class.
    """
    targets = test.targets()
    if not (targets == 1).any():
        raise UserError(f"No image of {test.name} ({test.split}) shows any of the classes. Give other test images.")
    metrics: dict[str, Metric] = {}
    outcomes: dict[str, NDArray[np.float64]] = {}
    notes: dict[str, Any] = {}
    for name, eleven_point in kinds.items():
        each = np.stack([average_precision(scores, targets, eleven_point=eleven_point) for scores in draws])
        means = np.nanmean(each, axis=1)
        metrics[name] = Metric(value=float(means.mean()))
        if len(draws) > 1:
            metrics[f"{name}_sd"] = spread_of(means)
            outcomes[f"{name}_draws"] = means
        found = dict(zip(test.classes, each.mean(axis=0).tolist(), strict=True))
        notes[f"{name} of each class"] = {one: round(value, 6) for one, value in found.items() if math.isfinite(value)}
    if absent := [one for one, value in found.items() if not math.isfinite(value)]:
        notes["classes left out because no test image shows them"] = absent
    return metrics, outcomes, notes
