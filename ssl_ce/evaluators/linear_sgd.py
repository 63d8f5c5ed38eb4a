"""Linear heads trained by SGD on augmented images: `linear-sgd-dinov2`, `linear-sgd-mae`, `linear-sgd-simclr`.

After dinov2/eval/linear.py (Oquab et al., 2023), main_linprobe.py of MAE (He et al., 2021) and the linear evaluation
of SimCLR's run.py (Chen et al., 2020). Every image of a batch is cut out and mirrored anew, so the frozen subject
describes it at every step. The last step is the result. Where there are several heads, all are trained in one pass and
one is chosen on train images held out by seed, never on test.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import Subset
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.every_tap import EveryTap
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.errors import MachineError
from ssl_ce.evaluators.base import Env, EvaluationData, Subject
from ssl_ce.evaluators.encoding import train_of
from ssl_ce.evaluators.frozen import FrozenEvaluator
from ssl_ce.evaluators.head_training import BatchSize, Inputs, Look, Rates, SgdConfig, Trained, train_heads
from ssl_ce.evaluators.linear_heads import Norm, Optimizer
from ssl_ce.evaluators.ranks import true_class_ranks
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.evaluators.sampling import held_out_split
from ssl_ce.records.record import Record
from ssl_ce.records.statistics import mean_metric
from ssl_ce.settings import Settings


class MaeConfig(SgdConfig):
    """MAE's constants: BatchNorm of each feature, LARS."""

    warmup_epochs: NonNegativeInt = 10
    norm: Norm = "feature"
    norm_eps: PositiveFloat = 1e-6
    optimizer: Optimizer = "lars"


class SimclrConfig(SgdConfig):
    """SimCLR's constants: Nesterov's momentum, from even odds."""

    weight_std: NonNegativeFloat = 0.0
    nesterov: bool = True


class Dinov2Config(SgdConfig):
    """DINOv2's constants: thirteen rates.

    Attributes
    ----------
    taps
        The heads look at the subject's tap alone and at so many taps up to it, of a network.
    """

    rates: Rates = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
    batch_size: BatchSize = 128
    iterations: PositiveInt | None = 12_500
    taps: tuple[PositiveInt, ...] = (1, 4)


class LinearSgd(FrozenEvaluator):
    """Judges a descriptor by linear heads on its features of augmented images; a subclass is one preset.

    `accuracy`, and `top5` above five classes.
    """

    cached: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "top5")
    config: SgdConfig

    def __init__(self, config: SgdConfig) -> None:
        self.config = config

    def judge(self, subject: Subject, data: EvaluationData, env: Env) -> Record:
        """The record, with outcomes 0 or 1 for each test image."""
        assert isinstance(subject, Descriptor)
        return next(self._records({"": subject}, data, env, subject.name))[1]

    def judge_taps(self, every: EveryTap, data: EvaluationData, env: Env) -> Iterator[tuple[str, Record]]:
        """The record of each tap, whose heads are all trained in one pass: `seconds` are those of the whole."""
        yield from self._records(every.taps, data, env, every.name)

    def inputs(self, subject: Descriptor) -> dict[str, tuple[Descriptor, ...]]:
        """What the heads of a subject look at: the subject."""
        return {"the subject": (subject,)}

    def _records(
        self, subjects: Mapping[str, Descriptor], data: EvaluationData, env: Env, name: str
    ) -> Iterator[tuple[str, Record]]:
        started = time.perf_counter()
        inputs: Inputs = {
            (key, look): parts for key, subject in subjects.items() for look, parts in self.inputs(subject).items()
        }
        train = train_of(data)
        several = len(inputs) * len(self.config.rates) > len(subjects)
        split = held_out_split(train.targets(), self.config.held_out_share, env.seed)
        fit = Subset(train, split.fit, "train") if several else train
        trained = train_heads(inputs, fit, self.config, seed=env.seed, device=env.device, say=env.say, name=name)
        right = _right(trained, Subset(train, split.held_out, "held out")) if several else {}
        heads = {key: self._choice(key, trained, right, env.seed) for key in subjects}
        ranks = _ranks(trained, data.test, {key: (look, head) for key, (look, head, _) in heads.items()})
        for key, subject in subjects.items():
            outcomes = {"accuracy": ranks[key] < 1}
            if len(train.classes) > 5:
                outcomes["top5"] = ranks[key] < 5
            yield key, make_record(
                self, subject, data, env,
                variant=departures(self.config),
                metrics={metric: mean_metric(values, seed=env.seed) for metric, values in outcomes.items()},
                outcomes={metric: values.astype(np.float64) for metric, values in outcomes.items()},
                chosen=heads[key][2],
                notes=trained.notes,
                started=started,
            )  # fmt: skip

    def _choice(
        self, key: str, trained: Trained, right: Mapping[Look, NDArray[np.float64]], seed: int
    ) -> tuple[Look, int, dict[str, Any]]:
        """What a subject's head looks at, the head's number, and what is to be said of the choice."""
        sound = {look: _finite(heads) for look, heads in trained.stacks.items() if look[0] == key}
        if not any(found.any() for found in sound.values()):
            raise MachineError(f"{self.name}: training diverged, its weights are not finite. Try lower rates.")
        if not right:
            return next(iter(sound)), 0, {}
        shares = {look: np.where(found, right[look], -1.0) for look, found in sound.items()}
        best = max(shares, key=lambda look: float(shares[look].max()))  # the first of equals
        head = int(shares[best].argmax())
        return best, head, {
            "head": f"{best[1]}, rate {self.config.rates[head]:g}",
            "on": f"{self.config.held_out_share * 100:g} % of train, held out by seed {seed}",
            "accuracy there": round(float(shares[best][head]), 6),
            "heads": sum(len(found) for found in shares.values()),
            "heads that diverged": int(sum((~found).sum() for found in sound.values())),
        }  # fmt: skip


class LinearSgdMae(LinearSgd):
    """`linear-sgd-mae`."""

    name: ClassVar[str] = "linear-sgd-mae"
    Config: ClassVar[type[Settings]] = MaeConfig


class LinearSgdSimclr(LinearSgd):
    """`linear-sgd-simclr`."""

    name: ClassVar[str] = "linear-sgd-simclr"
    Config: ClassVar[type[Settings]] = SimclrConfig


class LinearSgdDinov2(LinearSgd):
    """`linear-sgd-dinov2`: on a network, its tap and the four up to it, on their grids and as means over the map.

    Another descriptor is one vector, so there are 13 heads in place of 52.
    """

    name: ClassVar[str] = "linear-sgd-dinov2"
    Config: ClassVar[type[Settings]] = Dinov2Config
    config: Dinov2Config

    def inputs(self, subject: Descriptor) -> dict[str, tuple[Descriptor, ...]]:
        """The last taps up to the subject's, {1, 4} x {its grid, mean}; taps that there are not are left out."""
        if not isinstance(subject, NetworkDescriptor):
            return super().inputs(subject)
        taps = list(subject.encoder.taps)
        place = taps.index(subject.tap) + 1
        found: dict[str, tuple[Descriptor, ...]] = {}
        for count in sorted({min(count, place) for count in self.config.taps}):
            for pool, word in ((subject.pool, "grid"), (1, "mean")):
                what = "the last tap" if count == 1 else f"the last {count} taps"
                found[f"{what}, {word}"] = tuple(subject.at(tap, pool) for tap in taps[place - count : place])
        return found


def _right(trained: Trained, images: ImageSet) -> dict[Look, NDArray[np.float64]]:
    """{what heads look at: the share of images that each of them gets right, (heads,)}."""
    targets = torch.from_numpy(images.targets())
    right: dict[Look, NDArray[np.float64]] = {}
    for indices, scores in trained.scores(images):
        for look, found in scores.items():
            hits = (found.argmax(dim=2).cpu() == targets[indices]).sum(dim=1).double().numpy()
            right[look] = right.get(look, 0.0) + hits / len(images)
    return right


def _ranks(trained: Trained, images: ImageSet, heads: Mapping[str, tuple[Look, int]]) -> dict[str, NDArray[np.int64]]:
    """{key: how many classes come before each image's true one under its head, (n,)}."""
    targets = images.targets()
    ranks = {key: np.empty(len(images), dtype=np.int64) for key in heads}
    for indices, scores in trained.scores(images):
        rows = indices.numpy()
        for key, (look, head) in heads.items():
            ranks[key][rows] = true_class_ranks(scores[look][head].double().cpu().numpy(), targets[rows])
    return ranks


def _finite(heads: torch.nn.Module) -> NDArray[np.bool_]:
    """Which heads have finite parameters, (heads,)."""
    each = [torch.isfinite(parameter).flatten(1).all(dim=1) for parameter in heads.parameters()]
    found: NDArray[np.bool_] = torch.stack(each).all(dim=0).cpu().numpy()
    return found
