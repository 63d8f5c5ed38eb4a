"""Multinomial logistic regression with an L2 penalty, fitted in float64 for a whole path of costs C.

The objective is scikit-learn's, divided by n C: the mean log-loss over n samples plus |W|² / (2 n C);
intercepts are not penalised. (With two classes it stays a softmax of two: scikit-learn's binary objective
at 2 C.)

Three things make a path cheap without changing its solutions. The features are rotated, which an L2 penalty
cannot see: to their row space where there are fewer samples than dimensions, and to their principal axes,
where the Hessian is nearly diagonal. L-BFGS (Nocedal and Wright, "Numerical Optimization", algorithm 7.4)
starts from that diagonal, Böhning's bound ("Multinomial logistic regression algorithm", 1992) with the mean
of p (1 - p) in place of 1/2. And each cost starts from the solution before it. Many small problems (folds,
draws) are solved as one batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.evaluators.logistic_solver import Objective, minimise

Features = NDArray[np.float64] | NDArray[np.float32]

_LARGEST_ROTATION = 4096  # principal axes of more dimensions cost more than they save
_BATCH_NUMBERS = 2**24  # float64 numbers that a batch of problems may hold: 128 MiB
_THREADED_NUMBERS = 2**22  # below this, threads wait for each other longer than they work


@dataclass(frozen=True)
class Problem:
    """One training set: features (n, d), labels int64 (n,) in [0, classes), and its costs C, ascending."""

    features: Features
    labels: NDArray[np.int64]
    costs: NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    """The solutions of one problem, one for each cost.

    Attributes
    ----------
    costs
        The costs C: float64 (costs,).
    iterations, converged
        Steps that each cost took, int64 (costs,), and whether its gradient came below the tolerance, bool.
    """

    costs: NDArray[np.float64]
    iterations: NDArray[np.int64]
    converged: NDArray[np.bool_]
    _center: Tensor
    _scale: Tensor
    _basis: Tensor | None
    _theta: Tensor  # (costs, classes, axes + 1): weights along the axes, then the intercept at the centre

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights of the features as they were given: float64 (costs, classes, d)."""
        found: NDArray[np.float64] = self._weights().cpu().numpy()
        return found

    @property
    def intercepts(self) -> NDArray[np.float64]:
        """Intercepts, summing to zero over the classes: float64 (costs, classes)."""
        found: NDArray[np.float64] = (self._theta[..., -1] - self._weights() @ self._center).cpu().numpy()
        found -= found.mean(axis=1, keepdims=True)
        return found

    def log_probabilities(self, features: Features, step: int = -1) -> NDArray[np.float64]:
        """Log-probabilities under the cost numbered `step`: features (m, d) -> float64 (m, classes)."""
        with _threads(features.size):
            found: NDArray[np.float64] = self._scores(self._project(features), step).cpu().numpy()
        return found

    def log_losses(self, features: Features, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Summed log-loss of each cost on features (m, d) and labels (m,): float64 (costs,)."""
        with _threads(features.size):
            projected = self._project(features)
            column = torch.from_numpy(labels).to(projected.device).unsqueeze(1)
            steps = range(len(self.costs))
            return np.array([-self._scores(projected, step).gather(1, column).sum().item() for step in steps])

    def _project(self, features: Features) -> Tensor:
        x = (_float64(features, self._center.device) - self._center) / self._scale
        return x if self._basis is None else x @ self._basis.T

    def _scores(self, projected: Tensor, step: int) -> Tensor:
        theta = self._theta[step]
        return torch.log_softmax(projected @ theta[:, :-1].T + theta[:, -1], dim=1)

    def _weights(self) -> Tensor:
        inner = self._theta[..., :-1]
        return (inner if self._basis is None else inner @ self._basis) / self._scale


def fit_path(
    features: Features,
    labels: NDArray[np.int64],
    costs: NDArray[np.float64],
    *,
    classes: int,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    standardize: bool = False,
    device: torch.device | str = "cpu",
) -> Path:
    """Fit features (n, d) to labels (n,) for each of the ascending `costs`; see `fit_paths`."""
    return next(
        fit_paths(
            [Problem(features, labels, costs)],
            classes=classes,
            tolerance=tolerance,
            max_iterations=max_iterations,
            standardize=standardize,
            device=device,
        )
    )


def fit_paths(
    problems: Iterable[Problem],
    *,
    classes: int,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    standardize: bool = False,
    device: torch.device | str = "cpu",
) -> Iterator[Path]:
    """Fit many problems with equally many costs, as few batches as memory allows; one path each, in order.

    Parameters
    ----------
    problems
        Read lazily, so that large ones need not all be held.
    classes
        Number of classes; each should occur in every problem.
    tolerance
        A cost is done when the gradient of (mean log-loss + |W|² / (2 n C)) has at most this Euclidean norm.
        That is stricter than the same bound on its largest component, which is scikit-learn's.
    max_iterations
        Steps a cost may take.
    standardize
        Penalise the weights of features divided by their standard deviations within the problem (constant
        ones are left as they are). Weights and probabilities are still those of the features as given.
    """
    for batch in _batches(_reduced(problems, standardize, torch.device(device))):
        with _threads(sum(reduced.features.numel() for reduced in batch)):
            paths = _fit_batch(batch, classes, tolerance, max_iterations)
        yield from paths


@dataclass(frozen=True)
class _Reduced:
    """A problem in rotated coordinates: features (n, axes) around their mean, each axis's variance."""

    problem: Problem
    features: Tensor
    variances: Tensor
    center: Tensor
    scale: Tensor
    basis: Tensor | None


def _reduced(problems: Iterable[Problem], standardize: bool, device: torch.device) -> Iterator[_Reduced]:
    """Each problem reduced; one of the same features and costs as the one before shares its rotation."""
    last: _Reduced | None = None
    for problem in problems:
        shared = last is not None and problem.features is last.problem.features
        if last is not None and shared and np.array_equal(problem.costs, last.problem.costs):
            last = replace(last, problem=problem)
        else:
            last = _reduce(problem, standardize, device)
        yield last


def _reduce(problem: Problem, standardize: bool, device: torch.device) -> _Reduced:
    with _threads(problem.features.size):
        x = _float64(problem.features, device)
        center = x.mean(dim=0)
        x -= center
        scale = torch.ones_like(center)
        if standardize:
            deviation = x.square().mean(dim=0).sqrt()
            scale = torch.where(deviation > 1e-9 * center.abs(), deviation, scale)
            x /= scale
        x, basis = _rotate(x)
        variances = x.square().mean(dim=0)
        # No weight can move a logit by more than cost x n x variance: an axis below rounding is left out.
        kept = variances * (problem.costs.max() * len(x)) > 1e-12
        if basis is not None and not kept.all():
            x, variances, basis = x[:, kept], variances[kept], basis[kept]
        return _Reduced(problem, x, variances, center, scale, basis)


def _rotate(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Centred features (n, d) along other axes, (n, axes), and those axes (axes, d), None if kept."""
    basis: Tensor | None = None
    if x.shape[0] < x.shape[1]:
        axes, triangle = torch.linalg.qr(x.T)
        basis, x = axes.T, triangle.T.contiguous()
    if x.shape[1] > _LARGEST_ROTATION:
        return x, basis
    _, rotation = torch.linalg.eigh(x.T @ x)
    return x @ rotation, rotation.T.contiguous() if basis is None else rotation.T @ basis


def _batches(problems: Iterable[_Reduced]) -> Iterator[list[_Reduced]]:
    batch: list[_Reduced] = []
    rows = columns = 0
    for problem in problems:
        given = problem.problem.features.shape
        rows, columns = max(rows, given[0]), max(columns, given[1])
        if batch and (len(batch) + 1) * rows * columns > _BATCH_NUMBERS:
            yield batch
            batch, (rows, columns) = [], given
        batch.append(problem)
    if batch:
        yield batch


def _fit_batch(problems: Sequence[_Reduced], classes: int, tolerance: float, max_iterations: int) -> list[Path]:
    objective = Objective(
        [reduced.features for reduced in problems],
        [torch.from_numpy(reduced.problem.labels) for reduced in problems],
        [reduced.variances for reduced in problems],
        classes,
    )
    theta = objective.start()
    solutions, iterations, converged = [], [], []
    for costs in np.stack([reduced.problem.costs for reduced in problems], axis=1):
        objective.set_costs(torch.from_numpy(costs).to(theta))
        theta, steps, done = minimise(objective, theta, tolerance, max_iterations)
        solutions.append(theta)
        iterations.append(steps.cpu().numpy())
        converged.append(done.cpu().numpy())
    theta_path, steps_path, done_path = (
        torch.stack(solutions, dim=1),
        np.stack(iterations, 1),
        np.stack(converged, 1),
    )
    return [
        Path(
            reduced.problem.costs, steps_path[number], done_path[number],
            reduced.center, reduced.scale, reduced.basis,
            _without_padding(theta_path[number], reduced.features.shape[1]),
        )
        for number, reduced in enumerate(problems)
    ]  # fmt: skip


def _without_padding(theta: Tensor, axes: int) -> Tensor:
    return torch.cat([theta[..., :axes], theta[..., -1:]], dim=-1)


@contextmanager
def _threads(numbers: int) -> Iterator[None]:
    """One thread while problems of so many float64 numbers are worked on, if they are small."""
    before = torch.get_num_threads()
    try:
        if numbers < _THREADED_NUMBERS:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)


def _float64(features: Features, device: torch.device) -> Tensor:
    return torch.tensor(np.asarray(features), dtype=torch.float64, device=device)
