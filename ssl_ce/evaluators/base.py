"""The evaluator contract: judges a subject on an image set under a named, versioned protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch

from ssl_ce.data.imageset import ImageSet, Task
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.records.record import Record
from ssl_ce.settings import Settings

Subject = Descriptor | Inpainter


@dataclass(frozen=True)
class Needs:
    """What a subject and the data must offer: `capability` "encode" (a descriptor), "train" (one whose network can be
    trained further) or "fill" (an inpainter)."""

    capability: Literal["encode", "train", "fill"]
    task: Task = "none"
    train: bool = False


@dataclass(frozen=True)
class EvaluationData:
    """The image sets of one evaluation. Only `test` is reported on; whatever is chosen is chosen on `train`."""

    test: ImageSet
    train: ImageSet | None = None


def _silent(message: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Env:
    """What an evaluator works with: where, with which seed, the feature cache, and a line of progress."""

    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    cache: FeatureCache = field(default_factory=FeatureCache)
    say: Callable[[str], None] = _silent


class Evaluator(Protocol):
    """Judges a subject. Made as `EvaluatorClass(Config(...))`.

    Attributes
    ----------
    name, version
        The protocol: records carry `name@version`. A constant that changes raises the version.
    Config
        Its settings, a frozen `Settings` model; the command line fills it from --set and --holes.
    needs
        What it needs of a subject and of the data.
    metrics
        Names of the metrics that its records may carry, headline first; "accuracy_k*" stands for all of that form.
    floors
        References of the subjects that stand in every table unless refused. "{init}" stands for the untrained
        twin of each learned subject.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Config: ClassVar[type[Settings]]
    needs: ClassVar[Needs]
    metrics: ClassVar[tuple[str, ...]]
    floors: ClassVar[tuple[str, ...]]

    def __init__(self, config: Any) -> None: ...

    @property
    def config(self) -> Settings:
        """The settings it was made with."""
        ...

    @property
    def protocol(self) -> str:
        """What records carry: `name@version`."""
        ...

    def reference(self, text: str) -> str:
        """The subject reference that `text` means here (nn-inpainting reads "hog" as "nearest:hog")."""
        ...

    def resolve(self, reference: str, data: EvaluationData, device: torch.device) -> Subject:
        """The subject that `reference` names, ready to be judged here (an untrained network calibrated on train)."""
        ...

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Cheap checks before anything runs. Raises `UserError`."""
        ...

    def run(self, subject: Subject, data: EvaluationData, env: Env) -> Iterator[Record]:
        """Judge, yielding records. Nothing is selected on `data.test`."""
        ...
