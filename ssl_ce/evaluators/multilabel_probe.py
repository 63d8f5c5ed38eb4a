"""`linear-probe@1` where an image may show several classes: one binary logistic regression for each class.

One C for all of them, chosen by their summed log-loss on held-out train. Labels of -1 are neither fitted nor scored.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_ce.data.imageset import ImageSet
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Subject
from ssl_ce.evaluators.encoding import encode, train_of
from ssl_ce.evaluators.logistic import Path, Problem, fit_paths
from ssl_ce.evaluators.precision import judged_by_precision
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.evaluators.sampling import Split, held_out_split, stratified_folds
from ssl_ce.records.record import Record
from ssl_ce.records.statistics import mean_metric

if TYPE_CHECKING:
    from ssl_ce.evaluators.linear_probe import LinearProbe

Targets = NDArray[np.int64]


def judge_multilabel(probe: LinearProbe, subject: Subject, data: EvaluationData, env: Env) -> Record:
    """The record of `linear-probe` on a multi-label set. An image's outcome is its log-loss over the scored classes."""
    started = time.perf_counter()
    config, train, targets = probe.config, train_of(data), data.test.targets()
    features, tests = encode(subject, train, env), encode(subject, data.test, env)
    costs = config.costs.values()
    fitting = OneVersusRest(
        features, train.targets(), costs, config.tolerance, config.max_iterations, config.standardize, env.device
    )
    everything = np.zeros(len(train), dtype=np.int64)  # classes overlap: there is nothing to stratify by
    if _fewest(fitting.targets) < config.fold_below:
        splits = stratified_folds(everything, config.folds, env.seed)
        chosen_on = f"{config.folds}-fold of train, by seed {env.seed}"
    else:
        splits = [held_out_split(everything, config.held_out_share, env.seed)]
        chosen_on = f"{config.held_out_share * 100:g} % of train, held out by seed {env.seed}"
    env.say(f"{subject.name}: choosing C among {len(costs)}, {len(train.classes)} classes")
    cost = float(costs[fitting.held_out_losses(splits).argmin()])  # the first smallest: ties to the smaller C
    env.say(f"{subject.name}: refitting on train, {len(train.classes)} classes")
    log_odds, converged = fitting.log_odds(cost, tests)
    metrics, _, notes = judged_by_precision([log_odds], data.test, {"map": False, "map_11point": True})
    losses = losses_of_images(log_odds, targets)
    return make_record(
        probe, subject, data, env,
        variant={"labels": "all", **departures(config)},
        metrics={
            **metrics,
            "log_loss": mean_metric(losses[~np.isnan(losses)], seed=env.seed, higher_is_better=False),
        },
        outcomes={"log_loss": losses},
        chosen={"C": cost, "on": chosen_on, "converged": converged},
        notes=notes,
        started=started,
    )  # fmt: skip


@dataclass(frozen=True)
class OneVersusRest:
    """Fits on train features float32 (n, dim) and targets int64 (n, classes): 1 there, 0 not, -1 not scored."""

    features: NDArray[np.float32]
    targets: Targets
    costs: NDArray[np.float64]
    tolerance: float
    max_iterations: int
    standardize: bool
    device: torch.device

    def held_out_losses(self, splits: Sequence[Split]) -> NDArray[np.float64]:
        """Log-loss of each cost, summed over the classes and what `splits` hold out: float64 (costs,)."""
        losses = np.zeros(len(self.costs))
        for split in splits:
            for number, path in enumerate(self._paths(split.fit, self.costs)):
                labels = self.targets[split.held_out, number]
                rows = split.held_out[labels >= 0]
                if rows.size:
                    losses += path.log_losses(self.features[rows], self.targets[rows, number])
        return losses

    def log_odds(self, cost: float, tests: NDArray[np.float32]) -> tuple[NDArray[np.float64], bool]:
        """Fitted on all of train at one cost: log-odds of each class, float64 (m, classes); whether all converged."""
        found, converged = [], True
        for path in self._paths(np.arange(len(self.targets)), np.array([cost])):
            logs = path.log_probabilities(tests)
            found.append(logs[:, 1] - logs[:, 0])
            converged &= bool(path.converged.all())
        return np.stack(found, axis=1), converged

    def _paths(self, rows: NDArray[np.int64], costs: NDArray[np.float64]) -> Iterator[Path]:
        """The fits of each class on the rows that are scored for it."""
        everything = np.ascontiguousarray(self.features[rows])

        def problems() -> Iterator[Problem]:
            for labels in self.targets[rows].T:
                scored = labels >= 0
                features = everything if scored.all() else everything[scored]
                # The softmax of two is the binary objective at twice the cost.
                yield Problem(features, np.ascontiguousarray(labels[scored]), costs / 2)

        return fit_paths(
            problems(),
            classes=2,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            standardize=self.standardize,
            device=self.device,
        )


def _fewest(targets: Targets) -> int:
    """Of the class that has fewest, how many images show it, or do not."""
    return int(min((targets == 1).sum(axis=0).min(), (targets == 0).sum(axis=0).min()))


def check_labels(train: ImageSet, wanted: int) -> None:
    """Raise `UserError` if a class is there, or is not there, in fewer than `wanted` train images."""
    targets = train.targets()
    for label, words in ((1, "show"), (0, "lack")):
        counts = (targets == label).sum(axis=0)
        rarest = int(counts.argmin())
        if counts[rarest] < wanted:
            raise UserError(
                f"{counts[rarest]} images of {train.name} ({train.split}) {words} '{train.classes[rarest]}', and "
                f"{wanted} are needed to choose a cost. Give more of them, or leave the class out."
            )


def losses_of_images(log_odds: NDArray[np.float64], targets: Targets) -> NDArray[np.float64]:
    """Log-loss of each image, the mean over the classes that are scored; NaN without one: float64 (m,)."""
    scored = targets >= 0
    losses = np.where(scored, np.logaddexp(0.0, np.where(targets == 1, -log_odds, log_odds)), 0.0)
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = losses.sum(axis=1) / scored.sum(axis=1)
    return found
