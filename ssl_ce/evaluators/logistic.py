"""Multinomial logistic regression with an L2 penalty, fitted in float64 for a whole path of costs C.

The objective is scikit-learn's, divided by n C: the mean log-loss over n samples plus |W|² / (2 n C); intercepts are
not penalised. (With two classes it stays a softmax of two: scikit-learn's binary objective at 2 C.)

Three things make a path cheap without changing its solutions. The features are rotated, which an L2 penalty cannot
see: to their row space where there are fewer samples than dimensions, and to their principal axes, where the Hessian
is nearly diagonal. L-BFGS (Nocedal and Wright, "Numerical Optimization", algorithm 7.4) starts from that diagonal,
Böhning's bound ("Multinomial logistic regression algorithm", 1992) with the mean of p (1 - p) in place of 1/2. And
each cost starts from the solution before it. Many small problems (folds, draws) are solved as one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MEMORY = 8  # pairs that L-BFGS remembers
_LARGEST_ROTATION = 4096  # principal axes of more dimensions cost more than they save
_BATCH_NUMBERS = 2**24  # float64 numbers that a batch of problems may hold: 128 MiB
_THREADED_NUMBERS = 2**22  # below this, threads wait for each other longer than they work


@dataclass(frozen=True)
class Problem:
    """One training set: features float64 (n, d), labels int64 (n,) in [0, classes), and its costs C, ascending."""

    features: NDArray[np.float64]
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
        Steps that each cost took, int64 (costs,), and whether the gradient's norm came below the tolerance, bool.
    """

    costs: NDArray[np.float64]
    iterations: NDArray[np.int64]
    converged: NDArray[np.bool_]
    _center: Tensor
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
        return found - found.mean(axis=1, keepdims=True)

    def log_probabilities(self, features: NDArray[np.float64], step: int = -1) -> NDArray[np.float64]:
        """Log-probabilities under the cost numbered `step`: features (m, d) -> float64 (m, classes)."""
        found: NDArray[np.float64] = self._scores(self._project(features), step).cpu().numpy()
        return found

    def log_losses(self, features: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Summed log-loss of each cost on features (m, d) and labels (m,): float64 (costs,)."""
        projected = self._project(features)
        column = torch.from_numpy(labels).to(projected.device).unsqueeze(1)
        return np.array(
            [-self._scores(projected, step).gather(1, column).sum().item() for step in range(len(self.costs))]
        )

    def _project(self, features: NDArray[np.float64]) -> Tensor:
        x = torch.from_numpy(np.ascontiguousarray(features)).to(self._center) - self._center
        return x if self._basis is None else x @ self._basis.T

    def _scores(self, projected: Tensor, step: int) -> Tensor:
        theta = self._theta[step]
        return torch.log_softmax(projected @ theta[:, :-1].T + theta[:, -1], dim=1)

    def _weights(self) -> Tensor:
        inner = self._theta[..., :-1]
        return inner if self._basis is None else inner @ self._basis


def fit_path(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    costs: NDArray[np.float64],
    *,
    classes: int,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
    device: torch.device | str = "cpu",
) -> Path:
    """Fit features (n, d), float64, to labels (n,) for each of the ascending `costs`; see `fit_paths`."""
    problem = Problem(features, labels, costs)
    options = {"tolerance": tolerance, "max_iterations": max_iterations}
    return next(fit_paths([problem], classes=classes, device=device, **options))  # type: ignore[arg-type]


def fit_paths(
    problems: Iterable[Problem],
    *,
    classes: int,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
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
        A cost is done when the Euclidean norm of the gradient of (mean log-loss + |W|² / (2 n C)) is at most this.
        The norm does not change under rotation, and is an upper bound of scikit-learn's largest component.
    max_iterations
        Steps a cost may take.
    """
    for batch in _batches(_reduce(problem, torch.device(device)) for problem in problems):
        with _threads(sum(reduced.features.numel() for reduced in batch)):
            paths = _fit_batch(batch, classes, tolerance, max_iterations)
        yield from paths


@dataclass(frozen=True)
class _Reduced:
    """A problem in rotated coordinates: features (n, axes) around their mean, and their variance along each axis."""

    problem: Problem
    features: Tensor
    variances: Tensor
    center: Tensor
    basis: Tensor | None


def _reduce(problem: Problem, device: torch.device) -> _Reduced:
    with _threads(problem.features.size):
        return _rotated(problem, device)


def _rotated(problem: Problem, device: torch.device) -> _Reduced:
    x = torch.from_numpy(problem.features).to(device)
    center = x.mean(dim=0)
    x = x - center
    basis: Tensor | None = None
    if x.shape[0] < x.shape[1]:
        axes, triangle = torch.linalg.qr(x.T)
        basis, x = axes.T, triangle.T.contiguous()
    if x.shape[1] > _LARGEST_ROTATION:
        return _Reduced(problem, x, x.square().mean(dim=0), center, basis)
    variances, rotation = torch.linalg.eigh(x.T @ x / x.shape[0])
    basis = rotation.T.contiguous() if basis is None else rotation.T @ basis
    return _Reduced(problem, x @ rotation, variances.clamp_min(0.0), center, basis)


def _batches(problems: Iterable[_Reduced]) -> Iterator[list[_Reduced]]:
    batch: list[_Reduced] = []
    rows = columns = 0
    for problem in problems:
        rows, columns = max(rows, problem.features.shape[0]), max(columns, problem.features.shape[1])
        if batch and (len(batch) + 1) * rows * columns > _BATCH_NUMBERS:
            yield batch
            batch, (rows, columns) = [], problem.features.shape
        batch.append(problem)
    if batch:
        yield batch


def _fit_batch(
    problems: Sequence[_Reduced], classes: int, tolerance: float, max_iterations: int
) -> list[Path]:
    objective = _Objective(problems, classes)
    theta = objective.start()
    solutions, iterations, converged = [], [], []
    for costs in np.stack([reduced.problem.costs for reduced in problems], axis=1):
        theta, steps, done = _minimise(objective.at_costs(costs), theta, tolerance, max_iterations)
        solutions.append(theta)
        iterations.append(steps.cpu().numpy())
        converged.append(done.cpu().numpy())
    theta_path, steps_path, done_path = torch.stack(solutions, dim=1), np.stack(iterations, 1), np.stack(converged, 1)
    return [
        Path(
            reduced.problem.costs, steps_path[number], done_path[number], reduced.center, reduced.basis,
            _without_padding(theta_path[number], reduced.features.shape[1]),
        )
        for number, reduced in enumerate(problems)
    ]  # fmt: skip


def _without_padding(theta: Tensor, axes: int) -> Tensor:
    return torch.cat([theta[..., :axes], theta[..., -1:]], dim=-1)


class _Objective:
    """The objectives of a batch of problems, padded to one shape; a padded row weighs nothing.

    Parameters θ are (problems, classes, axes + 1), the intercept last, where the features have a column of ones.
    """

    def __init__(self, problems: Sequence[_Reduced], classes: int) -> None:
        rows = max(reduced.features.shape[0] for reduced in problems)
        axes = max(reduced.features.shape[1] for reduced in problems)
        like = problems[0].features
        self.classes = classes
        self.features = like.new_zeros(len(problems), rows, axes + 1)
        self.labels = torch.zeros(len(problems), rows, 1, dtype=torch.int64, device=like.device)
        self.weights = like.new_zeros(len(problems), rows)
        self.variances = like.new_ones(len(problems), 1, axes + 1)
        self.penalty = like.new_zeros(len(problems), 1, axes + 1)
        for number, reduced in enumerate(problems):
            n, r = reduced.features.shape
            self.features[number, :n, :r] = reduced.features
            self.features[number, :, -1] = 1.0
            self.labels[number, :n, 0] = torch.from_numpy(reduced.problem.labels)
            self.weights[number, :n] = 1.0 / n
            self.variances[number, 0, :r] = reduced.variances
        self.sizes = np.array([len(reduced.features) for reduced in problems])

    def start(self) -> Tensor:
        """θ of even odds for every class."""
        return self.features.new_zeros(self.features.shape[0], self.classes, self.features.shape[2])

    def at_costs(self, costs: NDArray[np.float64]) -> _Objective:
        """This objective with the penalty that belongs to one cost for each problem."""
        penalty = torch.from_numpy(1.0 / (self.sizes * costs)).to(self.penalty)
        self.penalty[..., :-1] = penalty.view(-1, 1, 1)
        return self

    def logits(self, theta: Tensor) -> Tensor:
        """θ -> (problems, rows, classes)."""
        return self.features @ theta.transpose(1, 2)

    def losses(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Mean log-loss of each problem, (problems,), and the probabilities, (problems, rows, classes)."""
        logs = torch.log_softmax(logits, dim=2)
        return -(logs.gather(2, self.labels).squeeze(2) * self.weights).sum(dim=1), logs.exp_()

    def gradient(self, probabilities: Tensor, theta: Tensor) -> Tensor:
        """Gradient by θ, of θ's shape."""
        residuals = probabilities.scatter_add(2, self.labels, torch.full_like(self.labels, -1.0, dtype=theta.dtype))
        residuals *= self.weights.unsqueeze(2)
        return residuals.transpose(1, 2) @ self.features + self.penalty * theta

    def curvature(self, probabilities: Tensor) -> Tensor:
        """A diagonal that stands for the Hessian: (problems, 1, axes + 1)."""
        spread = ((probabilities * (1.0 - probabilities)).mean(dim=2) * self.weights).sum(dim=1)
        return (spread.view(-1, 1, 1) * self.variances + self.penalty).clamp_min(1e-200)


def _minimise(
    objective: _Objective, theta: Tensor, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """θ at the minimum, the steps each problem took, (problems,), and whether it converged. Done ones stand still."""
    logits = objective.logits(theta)
    loss, probabilities = objective.losses(logits)
    gradient = objective.gradient(probabilities, theta)
    history: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_MEMORY)
    steps = torch.zeros_like(loss, dtype=torch.int64)
    stalled = torch.zeros_like(loss, dtype=torch.bool)
    for _ in range(max_iterations):
        moving = (gradient.flatten(1).norm(dim=1) > tolerance) & ~stalled
        if not moving.any():
            break
        direction = _direction(gradient, objective.curvature(probabilities), history)
        direction = direction * _each(moving)
        change = objective.logits(direction)
        length, loss, probabilities, found = _search(
            objective, theta, direction, logits, change, loss, probabilities, (gradient * direction).sum(dim=(1, 2))
        )
        stalled |= moving & ~found
        steps += moving
        step = _each(length) * direction
        theta, logits = theta + step, logits + _each(length) * change
        before, gradient = gradient, objective.gradient(probabilities, theta)
        turned = gradient - before
        product = (step * turned).sum(dim=(1, 2))
        history.append((step, turned, torch.where(product > 0, 1.0 / product, 0.0)))
    return theta, steps, gradient.flatten(1).norm(dim=1) <= tolerance


def _direction(gradient: Tensor, curvature: Tensor, history: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The two loops of L-BFGS. A pair whose inverse product is 0, of a problem that stood still, does nothing."""
    pairs = list(history)
    rest, shares = gradient, []
    for step, turned, inverse in reversed(pairs):
        share = inverse * (step * rest).sum(dim=(1, 2))
        rest = rest - _each(share) * turned
        shares.append(share)
    found = rest / curvature
    if pairs:
        _, turned, inverse = pairs[-1]
        scale = 1.0 / (inverse * (turned.square() / curvature).sum(dim=(1, 2)))
        found = found * _each(torch.where(inverse > 0, scale, 1.0))
    for (step, turned, inverse), share in zip(pairs, reversed(shares), strict=True):
        found = found + _each(share - inverse * (turned * found).sum(dim=(1, 2))) * step
    return -found


def _search(
    objective: _Objective, theta: Tensor, direction: Tensor, logits: Tensor, change: Tensor,
    loss: Tensor, probabilities: Tensor, slope: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Lengths that satisfy the strong Wolfe conditions, found by Newton's method on the line.

    Logits are linear in the length, so a try costs no product with the features. Returns the lengths, the loss and
    probabilities there, and where one was found; elsewhere the length is 0.
    """
    penalised = objective.penalty * direction
    bend, lean = (penalised * direction).sum(dim=(1, 2)), (penalised * theta).sum(dim=(1, 2))
    label_change = (change.gather(2, objective.labels).squeeze(2) * objective.weights).sum(dim=1)
    rounding = 1e-15 + 1e-13 * loss.abs()
    length = torch.ones_like(loss)
    for _ in range(20):
        new_loss, new_probabilities = objective.losses(logits + _each(length) * change)
        mean = (new_probabilities * change).sum(dim=2, keepdim=True)
        new_slope = (mean.squeeze(2) * objective.weights).sum(dim=1) - label_change + lean + length * bend
        rise = new_loss - loss + length * lean + 0.5 * length.square() * bend
        found = (new_slope.abs() <= 0.5 * slope.abs()) & (rise <= 1e-4 * length * slope + rounding)
        if found.all():
            return length, new_loss, new_probabilities, found
        variance = ((new_probabilities * (change - mean).square()).sum(dim=2) * objective.weights).sum(dim=1)
        newton = length - new_slope / (variance + bend).clamp_min(1e-200)
        length = torch.where(found, length, torch.clamp(newton, 0.1 * length, 10.0 * length))
    length = torch.where(found, length, 0.0)
    kept = torch.where(_each(found), new_probabilities, probabilities)
    return length, torch.where(found, new_loss, loss), kept, found


def _each(values: Tensor) -> Tensor:
    """(problems,) -> (problems, 1, 1)."""
    return values.view(-1, 1, 1)


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
