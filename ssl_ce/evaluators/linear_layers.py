"""`linear-layers-goyal19`: every stage of an encoder, pooled to about 9,000 dimensions, under a linear classifier.

After Goyal et al., "Scaling and Benchmarking Self-Supervised Visual Representation Learning", ICCV 2019, with the
constants of VISSL's configurations for AlexNet (configs/config/benchmark/linear_image_classification, imagenet1k and
voc07). Classes: BatchNorm of each channel and a linear layer by SGD, on augmented images. Multi-label sets, VOC 2007
above all: linear SVMs on whole images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveInt

from ssl_ce.data.imageset import Task
from ssl_ce.descriptors import descriptors
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.every_tap import ALL, EveryTap
from ssl_ce.descriptors.learned import NetworkDescriptor
from ssl_ce.evaluators.base import Env, EvaluationData, Subject
from ssl_ce.evaluators.encoding import encode, train_of
from ssl_ce.evaluators.frozen import FrozenEvaluator
from ssl_ce.evaluators.head_training import BatchSize, Rates, SgdConfig, View
from ssl_ce.evaluators.linear_heads import Norm
from ssl_ce.evaluators.linear_sgd import LinearSgd
from ssl_ce.evaluators.linear_svm import SvmConfig, fit_svms
from ssl_ce.evaluators.multilabel_probe import check_labels
from ssl_ce.evaluators.precision import judged_by_precision
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.records.record import Record
from ssl_ce.references import parse_reference
from ssl_ce.settings import Settings


class LinearLayersConfig(SgdConfig):
    """VISSL's constants for AlexNet.

    Attributes
    ----------
    dimensions
        A stage is average-pooled to the largest grid at which it has at most so many numbers.
    svm
        What multi-label sets are classified by.
    """

    batch_size: BatchSize = 256
    rates: Rates = (0.01,)
    epochs: PositiveInt = 28
    milestones: tuple[PositiveInt, ...] = (8, 16, 24)
    weight_decay: NonNegativeFloat = 5e-4
    norm: Norm = "channel"
    view: View = "crop"
    dimensions: PositiveInt = 9_600
    svm: SvmConfig = SvmConfig()


class LinearLayers(LinearSgd):
    """Judges every tap of an encoder: `accuracy` and `top5`, or of multi-label sets `map` and `map_11point`.

    A network without a tap is read as `REF@all`. Other descriptors are judged as they are.
    """

    name: ClassVar[str] = "linear-layers-goyal19"
    Config: ClassVar[type[Settings]] = LinearLayersConfig
    tasks: ClassVar[tuple[Task, ...]] = ("classes", "multilabel")
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "map", "map_11point", "top5")
    config: LinearLayersConfig

    def reference(self, text: str) -> str:
        """`REF@all` for a network without a tap."""
        parsed = parse_reference(text)
        if parsed.tap is not None or (parsed.scheme is None and parsed.target in descriptors):
            return text
        head, question, query = text.partition("?")
        return f"{head}@{ALL}{question}{query}"

    def check_data(self, data: EvaluationData) -> None:
        """Raises `UserError` if a class has too few labels for the folds."""
        train = train_of(data)
        if train.task == "multilabel":
            check_labels(train, wanted=self.config.svm.folds)

    def inputs(self, subject: Descriptor) -> dict[str, tuple[Descriptor, ...]]:
        """The subject, pooled to about 9,000 numbers if it is a tap."""
        return {"the subject": (self.pooled(subject),)}

    def pooled(self, subject: Descriptor) -> Descriptor:
        """A tap on the largest grid at which it has at most `dimensions` numbers; other descriptors as they are."""
        if not isinstance(subject, NetworkDescriptor):
            return subject
        channels = subject.encoder.taps[subject.tap][0]
        return subject.at(subject.tap, max(1, math.isqrt(self.config.dimensions // channels)))

    def judge(self, subject: Subject, data: EvaluationData, env: Env) -> Record:
        """The record, with outcomes 0 or 1 for each test image where each shows one class."""
        if train_of(data).task == "classes":
            return super().judge(subject, data, env)
        started = time.perf_counter()
        assert isinstance(subject, Descriptor)
        train, pooled = train_of(data), self.pooled(subject)
        features, tests = encode(pooled, train, env), encode(pooled, data.test, env)
        found = fit_svms(
            features, train.targets(), tests, self.config.svm, env.seed,
            lambda done: env.say(f"{subject.name}: SVM of class {done} of {len(train.classes)}"),
        )  # fmt: skip
        metrics, _, notes = judged_by_precision([found.scores], data.test, {"map": False, "map_11point": True})
        return make_record(
            self, subject, data, env,
            variant=departures(self.config),
            metrics=metrics,
            outcomes={},
            chosen={"C": found.costs, "on": f"{self.config.svm.folds}-fold of train", "converged": found.converged},
            notes=notes,
            started=started,
        )  # fmt: skip

    def judge_taps(self, every: EveryTap, data: EvaluationData, env: Env) -> Iterator[tuple[str, Record]]:
        """The record of each tap; where each image shows one class all are trained in one pass."""
        if train_of(data).task == "classes":
            return super().judge_taps(every, data, env)
        return FrozenEvaluator.judge_taps(self, every, data, env)
