"""What the evaluators of frozen features share: their subjects, the layer axis, and what is told of a protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from ssl_ce.data.imageset import Task
from ssl_ce.descriptors.every_tap import EveryTap
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.described import OfDescriptors
from ssl_ce.evaluators.encoding import check_describes, check_labelled
from ssl_ce.evaluators.layers import check_layers, judge_layers
from ssl_ce.records.record import Record
from ssl_ce.settings import Settings


class FrozenEvaluator(OfDescriptors, ABC):
    """Judges descriptors by features that nothing changes; a subclass is one protocol.

    `REF@all` is judged at each of its taps, then once more at the tap that held-out train images choose
    (`ssl_ce.evaluators.layers`).

    Attributes
    ----------
    tasks
        The kinds of labels it takes, if it needs labels.
    cached
        Whether it reads the features of whole images, which the cache holds.
    chooses
        Whether its headline is better one way, so that a tap can be chosen by it.
    """

    Config: ClassVar[type[Settings]]
    needs: ClassVar[Needs] = Needs("encode", task="classes", train=True)
    tasks: ClassVar[tuple[Task, ...]] = ("classes",)
    cached: ClassVar[bool] = True
    chooses: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]]
    floors: ClassVar[tuple[str, ...]] = ("pixels", "hog", "{init}")

    config: Settings

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Raises `UserError` if the subject cannot describe these images, or they lack what the protocol needs."""
        check_labelled(data, self.needs, self.tasks)
        for descriptor in subject.taps.values() if isinstance(subject, EveryTap) else (subject,):
            check_describes(descriptor, data.test)
        self.check_data(data)
        if isinstance(subject, EveryTap):
            check_layers(self, subject.name, data)

    def run(self, subject: Subject, data: EvaluationData, env: Env) -> Iterator[Record]:
        """The records of one descriptor; of `REF@all` those of each tap, and then its own."""
        if isinstance(subject, EveryTap):
            yield from judge_layers(self, subject, data, env)
        else:
            yield self.judge(subject, data, env)

    def check_data(self, data: EvaluationData) -> None:
        """Raises `UserError` if the images lack what this protocol needs beyond labels of the right kind."""

    def judge_taps(self, every: EveryTap, data: EvaluationData, env: Env) -> Iterator[tuple[str, Record]]:
        """The record of each tap, one after the other."""
        for tap, descriptor in every.taps.items():
            env.say(f"{descriptor.name}: judging")
            yield tap, self.judge(descriptor, data, env)

    @abstractmethod
    def judge(self, subject: Subject, data: EvaluationData, env: Env) -> Record:
        """The record of one descriptor. Nothing is selected on `data.test`."""
