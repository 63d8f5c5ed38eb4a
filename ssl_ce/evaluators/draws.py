"""Few labels: what several class-balanced draws of them come to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ce.data.imageset import ImageSet
from ssl_ce.errors import UserError
from ssl_ce.evaluators.sampling import draw_labels
from ssl_ce.records.record import Metric
from ssl_ce.records.statistics import mean_metric

Outcomes = Mapping[str, NDArray[np.float64]]


def check_labels_per_class(train: ImageSet, per_class: int) -> None:
    """Raise `UserError` if a class has fewer than `per_class` train images to draw from."""
    counts = np.bincount(train.targets(), minlength=len(train.classes))
    rarest = int(counts.argmin())
    if counts[rarest] < per_class:
        raise UserError(
            f"Class '{train.classes[rarest]}' of {train.name} has {counts[rarest]} images in {train.split}, and "
            f"labels_per_class={per_class} asks for more. Give more of them, or leave the class out."
        )


def drawn_labels(train: ImageSet, per_class: int, draws: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of `train` that each draw of `per_class` labels a class takes, ascending: a function of labels and seed."""
    return [draw_labels(train.targets(), per_class, seed, draw) for draw in range(draws)]


def over_draws(outcomes: Outcomes, seed: int) -> tuple[dict[str, Metric], dict[str, NDArray[np.float64]]]:
    """The metrics of several draws of labels, and the outcomes to keep.

    Parameters
    ----------
    outcomes
        {name: float64 (draws, n)}, one number for each draw and test image; "accuracy" is one of them.

    Returns
    -------
    metrics
        Each name's mean over draws and images, with the interval over images; of two draws or more `accuracy_sd`, the
        standard deviation of the draws' accuracies.
    kept
        Each name's mean over draws, (n,), and `accuracy_draws`, (draws,).
    """
    kept = {name: values.mean(axis=0) for name, values in outcomes.items()}
    metrics = {name: mean_metric(values, seed=seed) for name, values in kept.items()}
    accuracies = outcomes["accuracy"].mean(axis=1)
    if len(accuracies) > 1:
        metrics["accuracy_sd"] = spread_of(accuracies)
    return metrics, {**kept, "accuracy_draws": accuracies}


def spread_of(values: ArrayLike) -> Metric:
    """The standard deviation of `values` (m,), neither good nor bad and without an interval."""
    return Metric(value=float(np.asarray(values, dtype=np.float64).std(ddof=1)), higher_is_better=None)


def labels_text(per_class: int, draws: int) -> str:
    """What a row's variant says: "10 a class, 5 draws"."""
    return f"{per_class} a class, {draws_text(draws)}"


def draws_text(draws: int) -> str:
    """ "1 draw", "5 draws"."""
    return "1 draw" if draws == 1 else f"{draws} draws"
