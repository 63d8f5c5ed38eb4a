"""`linear-probe@1`: logistic regression on frozen features.

After DINOv2's log_regression.py (Oquab et al., 2023). Multinomial, L2, 45 costs C, float64, on standardised
features whose scaler sees the fitting images only. C is chosen by log-loss on train: on 10 % held out by
seed, or by stratified 5-fold where a class has fewer than 50 labels; ties go to the smaller C. Then it is
refitted on all of train and tested once. With `labels_per_class` all this is done for several class-
balanced draws of labels, the same draws for every subject. Multi-label sets: see
`ssl_ce.evaluators.multilabel_probe`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ssl_ce.data.imageset import ImageSet, Task
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Subject
from ssl_ce.evaluators.draws import check_labels_per_class, drawn_labels, draws_text, labels_text, over_draws
from ssl_ce.evaluators.encoding import encode, train_of
from ssl_ce.evaluators.frozen import FrozenEvaluator
from ssl_ce.evaluators.logistic import Path, Problem, fit_paths
from ssl_ce.evaluators.multilabel_probe import check_labels, judge_multilabel
from ssl_ce.evaluators.ranks import true_class_ranks
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.evaluators.sampling import Split, held_out_split, stratified_folds
from ssl_ce.records.record import Record
from ssl_ce.records.statistics import mean_metric
from ssl_ce.settings import Settings

_CHUNK = 4096  # test images scored at once


class Costs(Settings):
    """`count` costs C, evenly spaced in their logarithm, from 10^first to 10^last."""

    first: float = -6.0
    last: float = 5.0
    count: PositiveInt = 45

    def values(self) -> NDArray[np.float64]:
        """The costs, ascending: float64 (count,)."""
        return np.sort(10.0 ** np.linspace(self.first, self.last, self.count))


class LinearProbeConfig(Settings):
    """Constants of the protocol, and how many labels it may see.

    Attributes
    ----------
    tolerance
        Norm of the mean objective's gradient at which a fit is done (`ssl_ce.evaluators.logistic.fit_paths`).
    standardize
        Give every feature zero mean and unit variance over the images that a fit sees.
    held_out_share, folds, fold_below
        C is chosen on this share of train; by this many folds if a class has fewer than `fold_below` labels.
    labels_per_class, draws
        Fit on so many labels of each class, in so many independent draws; None fits once, on all labels.
    """

    costs: Costs = Costs()
    tolerance: PositiveFloat = 1e-6
    max_iterations: PositiveInt = 1000
    standardize: bool = True
    held_out_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    folds: Annotated[int, Field(ge=2)] = 5
    fold_below: PositiveInt = 50
    labels_per_class: Annotated[int, Field(ge=2)] | None = None
    draws: PositiveInt = 10

    @model_validator(mode="after")
    def _draws_are_of_labels(self) -> Self:
        if self.labels_per_class is None and self.draws != type(self).model_fields["draws"].default:
            raise ValueError(f"draws={self.draws} are draws of labels: set labels_per_class too, or leave draws out")
        return self


class LinearProbe(FrozenEvaluator):
    """Judges a descriptor by a linear classifier: `accuracy`, `top5` above five classes, `log_loss`.

    Of multi-label sets `map`, `map_11point` and `log_loss`.
    """

    name: ClassVar[str] = "linear-probe"
    Config: ClassVar[type[Settings]] = LinearProbeConfig
    tasks: ClassVar[tuple[Task, ...]] = ("classes", "multilabel")
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "map", "map_11point", "top5", "accuracy_sd", "log_loss")
    config: LinearProbeConfig

    def __init__(self, config: LinearProbeConfig) -> None:
        self.config = config

    def check_data(self, data: EvaluationData) -> None:
        """Raises `UserError` if a class has too few labels."""
        train = train_of(data)
        if train.task == "multilabel":
            if self.config.labels_per_class is not None:
                raise UserError(
                    f"labels_per_class draws labels of one class an image, and those of {train.name} are multi-label. "
                    "Leave it out."
                )
            return check_labels(train, wanted=2)
        if self.config.labels_per_class is not None:
            return check_labels_per_class(train, self.config.labels_per_class)
        counts = np.bincount(train.targets(), minlength=len(train.classes))
        rarest = int(counts.argmin())
        if counts[rarest] < 2:
            raise UserError(
                f"Class '{train.classes[rarest]}' of {train.name} ({train.split}) has fewer than the two images that "
                "choosing C takes. Give more of them, or leave the class out."
            )
        return None

    def judge(self, subject: Subject, data: EvaluationData, env: Env) -> Record:
        """The record. Outcomes of each test image are 0 or 1, or the share of draws that were right."""
        if train_of(data).task == "multilabel":
            return judge_multilabel(self, subject, data, env)
        started = time.perf_counter()
        train = train_of(data)
        features, tests = encode(subject, train, env), encode(subject, data.test, env)
        fitting = _Fitting(self.config, features, train.targets(), len(train.classes), env.device)
        samples = self._samples(train, env.seed)
        splits = [self._splits(fitting.labels[sample], draw, env.seed) for draw, sample in enumerate(samples)]
        env.say(f"{subject.name}: choosing C among {self.config.costs.count}, {draws_text(len(samples))}")
        losses = fitting.held_out_losses(samples, splits)
        costs = self.config.costs.values()[losses.argmin(axis=1)]  # the first smallest: ties to the smaller C
        env.say(f"{subject.name}: refitting on train, {draws_text(len(samples))}")
        answers = fitting.answers(samples, costs, tests, data.test.targets())
        right = {"accuracy": answers.ranks < 1} | ({"top5": answers.ranks < 5} if len(train.classes) > 5 else {})
        metrics, kept = over_draws({name: values.astype(np.float64) for name, values in right.items()}, env.seed)
        if self.config.labels_per_class is None:
            del kept["accuracy_draws"]
        log_losses = answers.losses.mean(axis=0)
        return make_record(
            self, subject, data, env,
            variant=self._variant(),
            metrics={**metrics, "log_loss": mean_metric(log_losses, seed=env.seed, higher_is_better=False)},
            outcomes={**kept, "log_loss": log_losses},
            chosen={
                "C": costs.tolist() if self.config.labels_per_class else float(costs[0]),
                "on": self._chosen_on(splits[0], env.seed),
                "converged": answers.converged,
            },
            started=started,
        )  # fmt: skip

    def _samples(self, train: ImageSet, seed: int) -> list[NDArray[np.int64]]:
        if self.config.labels_per_class is None:
            return [np.arange(len(train))]
        return drawn_labels(train, self.config.labels_per_class, self.config.draws, seed)

    def _splits(self, labels: NDArray[np.int64], draw: int, seed: int) -> list[Split]:
        fewest = int(np.bincount(labels).min())
        if fewest < self.config.fold_below:
            return stratified_folds(labels, min(self.config.folds, fewest), seed, draw)
        return [held_out_split(labels, self.config.held_out_share, seed, draw)]

    def _chosen_on(self, splits: Sequence[Split], seed: int) -> str:
        if len(splits) == 1:
            return f"{self.config.held_out_share * 100:g} % of train, held out by seed {seed}"
        where = "train" if self.config.labels_per_class is None else "each draw of train"
        return f"stratified {len(splits)}-fold of {where}, by seed {seed}"

    def _variant(self) -> dict[str, str]:
        per_class = self.config.labels_per_class
        labels = "all" if per_class is None else labels_text(per_class, self.config.draws)
        return {"labels": labels, **departures(self.config, "labels_per_class", "draws")}


@dataclass(frozen=True)
class _Answers:
    """For each draw and test image, (draws, n): how many classes come before the true one, the log-loss."""

    ranks: NDArray[np.int64]
    losses: NDArray[np.float64]
    converged: bool


@dataclass(frozen=True)
class _Fitting:
    """Fits on samples of train: features float32 (n, dim), labels int64 (n,)."""

    config: LinearProbeConfig
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: int
    device: torch.device

    def held_out_losses(
        self, samples: Sequence[NDArray[np.int64]], splits: Sequence[Sequence[Split]]
    ) -> NDArray[np.float64]:
        """Log-loss of each cost, summed over what a sample's splits hold out: float64 (draws, costs)."""
        parts = [
            (draw, sample[split.fit], sample[split.held_out])
            for draw, sample in enumerate(samples)
            for split in splits[draw]
        ]
        costs = self.config.costs.values()
        losses = np.zeros((len(samples), len(costs)))
        paths = self._paths([(fit, costs) for _, fit, _ in parts])
        for (draw, _, held_out), path in zip(parts, paths, strict=True):
            losses[draw] += path.log_losses(self.features[held_out], self.labels[held_out])
        return losses

    def answers(
        self,
        samples: Sequence[NDArray[np.int64]],
        costs: NDArray[np.float64],
        tests: NDArray[np.float32],
        targets: NDArray[np.int64],
    ) -> _Answers:
        """Fit each sample at its cost and score the test images, features (m, dim) and labels (m,)."""
        ranks = np.empty((len(samples), len(tests)), dtype=np.int64)
        losses = np.empty((len(samples), len(tests)))
        converged = True
        paths = self._paths([(sample, costs[draw : draw + 1]) for draw, sample in enumerate(samples)])
        for draw, path in enumerate(paths):
            converged &= bool(path.converged.all())
            for start in range(0, len(tests), _CHUNK):
                part = slice(start, start + _CHUNK)
                logs = path.log_probabilities(tests[part])
                ranks[draw, part] = true_class_ranks(logs, targets[part])
                losses[draw, part] = -np.take_along_axis(logs, targets[part, None], axis=1)[:, 0]
        return _Answers(ranks, losses, converged)

    def _paths(self, parts: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> Iterator[Path]:
        return fit_paths(
            (Problem(self.features[rows], self.labels[rows], costs) for rows, costs in parts),
            classes=self.classes,
            tolerance=self.config.tolerance,
            max_iterations=self.config.max_iterations,
            standardize=self.config.standardize,
            device=self.device,
        )
