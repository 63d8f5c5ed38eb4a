"""Linear support vector machines, one for each class of a multi-label set, each at a cost of its own.

After VISSL's vissl/utils/svm_utils/svm_trainer.py and its configuration voc07/eval_alexnet_8gpu_transfer_voc07_svm.yaml
(Goyal et al., ICCV 2019), with scikit-learn's LinearSVC. The first release of that benchmark
(facebookresearch/fair_self_supervision_benchmark) had the costs 0.01, 0.1 and 0.5^4 ... 0.5^19 instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from ssl_ce.settings import Settings


class SvmConfig(Settings):
    """Constants of the machines.

    Attributes
    ----------
    costs
        A class takes the first of those whose mean average precision over the folds is highest.
    folds
        Stratified, in the order of the images.
    positive_weight
        How many images without the class weigh as much as one that shows it.
    """

    costs: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0,
    )  # fmt: skip
    folds: Annotated[int, Field(ge=2)] = 3
    positive_weight: PositiveFloat = 2.0
    tolerance: PositiveFloat = 1e-4
    max_iterations: PositiveInt = 2000


@dataclass(frozen=True)
class Machines:
    """Scores of the test images, float64 (m, classes), the cost of each class, and whether every last fit converged."""

    scores: NDArray[np.float64]
    costs: list[float]
    converged: bool


def fit_svms(
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    tests: NDArray[np.float32],
    config: SvmConfig,
    seed: int,
    advance: Callable[[int], None],
) -> Machines:
    """Squared hinge loss, L2 penalty, on features of unit length.

    Parameters
    ----------
    features, targets, tests
        Train (n, dim); int (n, classes) of 1 (there) and 0 or -1 (not: so VISSL fits what is not scored); (m, dim).
    seed
        Of LinearSVC's coordinate descent.
    advance
        Called with the number of the class that is begun, from 1.
    """
    x, unseen = _unit(features), _unit(tests)
    scores = np.empty((len(tests), targets.shape[1]))
    costs, converged = [], True
    for number, present in enumerate((targets == 1).T):
        advance(number + 1)
        labels = np.where(present, 1, -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            means = [_cross_validated(_machine(cost, config, seed), x, labels, config.folds) for cost in config.costs]
            costs.append(config.costs[int(np.argmax(means))])
            fitted = _machine(costs[-1], config, seed).fit(x, labels)
        converged &= int(fitted.n_iter_) < config.max_iterations
        scores[:, number] = fitted.decision_function(unseen)
    return Machines(scores, costs, converged)


def _machine(cost: float, config: SvmConfig, seed: int) -> LinearSVC:
    return LinearSVC(
        C=cost, class_weight={1: config.positive_weight, -1: 1.0}, penalty="l2", loss="squared_hinge", dual=True,
        tol=config.tolerance, max_iter=config.max_iterations, random_state=seed,
    )  # fmt: skip


def _cross_validated(machine: LinearSVC, x: NDArray[np.float64], labels: NDArray[np.int64], folds: int) -> float:
    return float(cross_val_score(machine, x, labels, cv=folds, scoring="average_precision").mean())


def _unit(features: NDArray[np.float32]) -> NDArray[np.float64]:
    x = features.astype(np.float64)
    found: NDArray[np.float64] = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-5)
    return found
