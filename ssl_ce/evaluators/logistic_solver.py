"""L-BFGS on a batch of multinomial logistic regressions at once; `ssl_ce.evaluators.logistic` says why."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_MEMORY = 8  # pairs that L-BFGS remembers


class Objective:
    """The mean log-losses with L2 penalty of a batch of problems, padded to one shape.

    Parameters θ are (problems, classes, axes + 1), the intercept last, where the features have ones.
    Padded rows have no weight, padded axes no features.
    """

    def __init__(
        self, features: Sequence[Tensor], labels: Sequence[Tensor], variances: Sequence[Tensor], classes: int
    ) -> None:
        count, rows, axes = len(features), max(map(len, features)), max(x.shape[1] for x in features)
        like = features[0]
        self.classes = classes
        self.features = like.new_zeros(count, rows, axes + 1)
        self.labels = like.new_zeros(count, rows, 1, dtype=torch.int64)
        self.weights = like.new_zeros(count, rows)
        self.variances = like.new_ones(count, 1, axes + 1)
        self.penalty = like.new_zeros(count, 1, axes + 1)
        self.sizes = like.new_tensor([len(x) for x in features])
        for number, x in enumerate(features):
            n, r = x.shape
            self.features[number, :n, :r] = x
            self.features[number, :, -1] = 1.0
            self.labels[number, :n, 0] = labels[number]
            self.weights[number, :n] = 1.0 / n
            self.variances[number, 0, :r] = variances[number]

    def start(self) -> Tensor:
        """θ of even odds for every class."""
        return self.features.new_zeros(self.features.shape[0], self.classes, self.features.shape[2])

    def set_costs(self, costs: Tensor) -> None:
        """Take the penalty that belongs to one cost C for each problem, (problems,)."""
        self.penalty[..., :-1] = _each(1.0 / (self.sizes * costs))

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


def minimise(
    objective: Objective, theta: Tensor, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """θ at the minimum, the steps of each problem and whether it converged. One that is done stands still."""
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
            objective,
            theta,
            direction,
            logits,
            change,
            loss,
            probabilities,
            (gradient * direction).sum(dim=(1, 2)),
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
    """The two loops of L-BFGS. A pair of a problem that stood still has 0 as inverse product."""
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
    objective: Objective, theta: Tensor, direction: Tensor, logits: Tensor, change: Tensor,
    loss: Tensor, probabilities: Tensor, slope: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Lengths that satisfy the strong Wolfe conditions, found by Newton's method on the line.

    Logits are linear in the length, so a try costs no product with the features. Returns the lengths, the
    loss and probabilities there, and where one was found; elsewhere the length is 0.
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
