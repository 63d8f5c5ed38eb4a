"""`knn-dino@1`, `knn-instdisc@1`: weighted nearest-neighbour classification on frozen features.

After Wu et al. (CVPR 2018; zhirongw/lemniscate.pytorch, test.py) and DINO (Caron et al., ICCV 2021, its eval_knn.py).
Features are L2-normalised and compared by cosine. Each of the k nearest train images votes for its class with
exp(similarity / 0.07). k is fixed, and no k is ever chosen on test. With `labels_per_class` it is done for several
class-balanced draws of labels, the same draws for every subject, with at most as many neighbours as a class has labels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt, SerializerFunctionWrapHandler, model_serializer, model_validator

from ssl_ce.data.imageset import ImageSet
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Subject
from ssl_ce.evaluators.draws import check_labels_per_class, drawn_labels, labels_text, over_draws
from ssl_ce.evaluators.encoding import encode, train_of
from ssl_ce.evaluators.frozen import FrozenEvaluator
from ssl_ce.evaluators.ranks import true_class_ranks
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.records.record import Record
from ssl_ce.records.statistics import mean_metric
from ssl_ce.search import nearest
from ssl_ce.settings import Settings


class KnnConfig(Settings):
    """Constants of the protocol, and how many labels it may see.

    Attributes
    ----------
    neighbours
        The numbers of neighbours k that are reported; those above the number of train images are left out.
    headline
        The k that `accuracy` and `top5` are for.
    temperature
        A neighbour's vote is exp(similarity / temperature).
    labels_per_class, draws
        Search so many labelled images of each class, in so many independent draws; None searches all of train. The
        headline k is then at most `labels_per_class`, and k = 1 is reported too.
    """

    neighbours: tuple[PositiveInt, ...] = (10, 20, 100, 200)
    headline: PositiveInt = 20
    temperature: PositiveFloat = 0.07
    labels_per_class: PositiveInt | None = None
    draws: PositiveInt = 10

    @model_validator(mode="after")
    def _headline_is_reported(self) -> Self:
        if self.headline not in self.neighbours:
            raise ValueError(f"the headline k = {self.headline} must be one of the neighbours {self.neighbours}")
        return self

    @model_serializer(mode="wrap")
    def _draws_are_said_where_there_are_any(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without them the settings read as they did before there were any: so do cells, and tables stay whole."""
        said: dict[str, Any] = serialize(self)
        if self.labels_per_class is None:
            del said["labels_per_class"], said["draws"]
        return said


class Knn(FrozenEvaluator):
    """Judges a descriptor by its neighbours: `accuracy`, `top5` above five classes, `accuracy_k10` ..."""

    name: ClassVar[str] = "knn"
    preset: ClassVar[str | None] = "knn-dino"
    Config: ClassVar[type[Settings]] = KnnConfig
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "top5", "accuracy_k*", "accuracy_sd")
    config: KnnConfig

    def __init__(self, config: KnnConfig) -> None:
        self.config = config

    def check_data(self, data: EvaluationData) -> None:
        """Raises `UserError` if there are too few train images."""
        train = train_of(data)
        if self.config.labels_per_class is not None:
            check_labels_per_class(train, self.config.labels_per_class)
        elif len(train) < self.config.headline:
            raise UserError(
                f"{train.name} ({train.split}) has {len(train)} images, fewer than the "
                f"{self.config.headline} neighbours of {self.protocol}. Use more train images."
            )

    def judge(self, subject: Subject, data: EvaluationData, env: Env) -> Record:
        """The record. Outcomes of each test image are 0 or 1, or the share of draws that were right."""
        started = time.perf_counter()
        train = train_of(data)
        base, queries = encode(subject, train, env), encode(subject, data.test, env)
        targets, labels = train.targets(), data.test.targets()
        drawn = self._drawn(train, env.seed)
        found = []
        for rows in drawn or [np.arange(len(train))]:
            counts = self._counts(len(rows))
            env.say(f"{subject.name}: searching {len(rows):,} train images for the {counts[-1]} nearest")
            similarities, places = nearest(queries, base[rows] if drawn else base, counts[-1], metric="cosine")
            votes = vote(similarities, targets[rows[places]], counts, len(train.classes), self.config.temperature)
            found.append(self._outcomes(votes, labels))
        if drawn:
            metrics, outcomes = over_draws(
                {name: np.stack([one[name] for one in found]) for name in found[0]}, env.seed
            )
        else:
            outcomes = found[0]
            metrics = {name: mean_metric(values, seed=env.seed) for name, values in outcomes.items()}
        return make_record(
            self, subject, data, env, variant=self._variant(), metrics=metrics, outcomes=outcomes, started=started
        )

    @property
    def _headline(self) -> int:
        """More neighbours than a class has labels would be votes of other classes, whatever the features are."""
        return min(self.config.headline, self.config.labels_per_class or self.config.headline)

    def _counts(self, searched: int) -> list[int]:
        few = set() if self.config.labels_per_class is None else {1, self._headline}
        return sorted(k for k in {*self.config.neighbours, *few} if k <= searched)

    def _drawn(self, train: ImageSet, seed: int) -> list[NDArray[np.int64]]:
        per_class = self.config.labels_per_class
        if per_class is None:
            return []
        return drawn_labels(train, per_class, self.config.draws, seed)

    def _variant(self) -> dict[str, str]:
        per_class = self.config.labels_per_class
        changed = departures(self.config, "labels_per_class", "draws")
        if per_class is None:
            return changed
        return {"labels": labels_text(per_class, self.config.draws), "k": str(self._headline), **changed}

    def _outcomes(
        self, votes: Mapping[int, NDArray[np.float64]], labels: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        headline = true_class_ranks(votes[self._headline], labels)
        outcomes = {"accuracy": (headline < 1).astype(np.float64)}
        if (
            votes[self._headline].shape[1] > 5 and self._headline >= 5
        ):  # fewer than five vote for fewer than five classes
            outcomes["top5"] = (headline < 5).astype(np.float64)
        for k, given in votes.items():
            if k != self._headline:
                outcomes[f"accuracy_k{k}"] = (true_class_ranks(given, labels) < 1).astype(np.float64)
        return outcomes


class InstdiscConfig(KnnConfig):
    """Those of Wu et al.: 200 neighbours, temperature 0.07 (main.py; their CIFAR script trains and votes with 0.1)."""

    neighbours: tuple[PositiveInt, ...] = (200,)
    headline: PositiveInt = 200


class InstdiscKnn(Knn):
    """As `Knn`, with the constants of instance discrimination."""

    name: ClassVar[str] = "knn-instdisc"
    preset: ClassVar[str | None] = "knn-instdisc"
    Config: ClassVar[type[Settings]] = InstdiscConfig


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
