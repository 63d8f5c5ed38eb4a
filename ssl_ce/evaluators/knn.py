"""`knn-dino@1`: weighted nearest-neighbour classification on frozen features.

After Wu et al. (CVPR 2018) and DINO (Caron et al., ICCV 2021, its eval_knn.py). Features are L2-normalised
and compared by cosine. Each of the k nearest train images votes for its class with exp(similarity / 0.07).
k is fixed, the headline is k = 20, and no k is ever chosen on test.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt, model_validator

from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.encoding import check_classification, check_describes, encode, resolve_descriptor
from ssl_ce.evaluators.ranks import true_class_ranks
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.records.record import Metric, Record
from ssl_ce.records.statistics import mean_metric
from ssl_ce.search import nearest
from ssl_ce.settings import Settings


class KnnConfig(Settings):
    """Constants of the protocol.

    Attributes
    ----------
    neighbours
        The numbers of neighbours k that are reported; those above the number of train images are left out.
    headline
        The k that `accuracy` and `top5` are for.
    temperature
        A neighbour's vote is exp(similarity / temperature).
    """

    neighbours: tuple[PositiveInt, ...] = (10, 20, 100, 200)
    headline: PositiveInt = 20
    temperature: PositiveFloat = 0.07

    @model_validator(mode="after")
    def _headline_is_reported(self) -> Self:
        if self.headline not in self.neighbours:
            raise ValueError(f"the headline k = {self.headline} must be one of the neighbours {self.neighbours}")
        return self


class Knn:
    """Judges a descriptor by its neighbours: `accuracy`, `top5` above five classes, `accuracy_k10` ..."""

    name: ClassVar[str] = "knn"
    version: ClassVar[int] = 1
    Config: ClassVar[type[Settings]] = KnnConfig
    needs: ClassVar[Needs] = Needs("encode", task="classes", train=True)
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "top5", "accuracy_k*")
    floors: ClassVar[tuple[str, ...]] = ("pixels", "hog", "{init}")

    def __init__(self, config: KnnConfig) -> None:
        self.config = config

    @property
    def protocol(self) -> str:
        """The protocol that records carry."""
        return f"knn-dino@{self.version}"

    def reference(self, text: str) -> str:
        """The subject reference that `text` means here: itself."""
        return text

    def resolve(self, reference: str, data: EvaluationData, device: torch.device) -> Subject:
        """The descriptor that `reference` names, calibrated on train if it was never trained."""
        return resolve_descriptor(reference, data.train, device)

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Raises `UserError` if the data cannot be classified or hold too few train images."""
        train = check_classification(data)
        check_describes(subject, data.test)
        if len(train) < self.config.headline:
            raise UserError(
                f"{train.name} ({train.split}) has {len(train)} images, fewer than the "
                f"{self.config.headline} neighbours of {self.protocol}. Use more train images."
            )

    def run(self, subject: Subject, data: EvaluationData, env: Env) -> Iterator[Record]:
        """One record, with outcomes 0 or 1 for each test image."""
        started = time.perf_counter()
        train = check_classification(data)
        base, queries = encode(subject, train, env), encode(subject, data.test, env)
        counts = sorted(k for k in set(self.config.neighbours) if k <= len(train))
        env.say(f"{subject.name}: searching {len(base):,} train images for the {counts[-1]} nearest")
        similarities, indices = nearest(queries, base, counts[-1], metric="cosine")
        votes = vote(similarities, train.targets()[indices], counts, len(train.classes), self.config.temperature)
        outcomes = self._outcomes(votes, data.test.targets())
        metrics: dict[str, Metric] = {name: mean_metric(values, seed=env.seed) for name, values in outcomes.items()}
        yield make_record(
            self, subject, data, env,
            variant=departures(self.config), metrics=metrics, outcomes=outcomes, started=started,
        )  # fmt: skip

    def _outcomes(
        self, votes: Mapping[int, NDArray[np.float64]], labels: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        headline = true_class_ranks(votes[self.config.headline], labels)
        outcomes = {"accuracy": (headline < 1).astype(np.float64)}
        if votes[self.config.headline].shape[1] > 5:
            outcomes["top5"] = (headline < 5).astype(np.float64)
        for k, given in votes.items():
            if k != self.config.headline:
                outcomes[f"accuracy_k{k}"] = (true_class_ranks(given, labels) < 1).astype(np.float64)
        return outcomes


def vote(
    similarities: NDArray[np.float64],
    labels: NDArray[np.int64],
    counts: Sequence[int],
    classes: int,
    temperature: float,
) -> dict[int, NDArray[np.float64]]:
    """Votes for each class by the k nearest, for each k of the ascending `counts`.

    Parameters
    ----------
    similarities, labels
        Of the neighbours, nearest first: float64 and int64 (m, largest k).

    Returns
    -------
    dict
        {k: float64 (m, classes)}; added from the nearest on, so that the sums are the same everywhere.
    """
    weights = np.exp(similarities / temperature)
    rows = np.arange(len(labels))
    votes = np.zeros((len(labels), classes))
    found: dict[int, NDArray[np.float64]] = {}
    for neighbour in range(counts[-1]):
        votes[rows, labels[:, neighbour]] += weights[:, neighbour]
        if neighbour + 1 in counts:
            found[neighbour + 1] = votes.copy()
    return found
