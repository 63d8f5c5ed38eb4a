"""`retrieval@1`: what a context finds. A task of its own, judged by labels and by what the whole image would find.

A query is a test image with a hole; the training images are searched for the nearest contexts. After Pathak et al.,
CVPR 2016, figure 8 (nearest contexts), which shows pictures and no numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.described import OfDescriptors
from ssl_ce.evaluators.encoding import check_describes, encode
from ssl_ce.evaluators.hole_source import check_holes, open_holes
from ssl_ce.evaluators.recording import LEFT_OUT, departures, make_record
from ssl_ce.files import digest
from ssl_ce.inpainters.nearest import MOST_HOLES
from ssl_ce.records.record import Record
from ssl_ce.records.statistics import mean_metric
from ssl_ce.search import nearest
from ssl_ce.settings import Settings

_CHUNK = 1024

Places = NDArray[np.int64]
Numbers = NDArray[np.float64]


class RetrievalConfig(Settings):
    """Constants of the protocol.

    Attributes
    ----------
    holes, options, bank
        Region strategies or mask images (`ssl_ce.evaluators.hole_source`), one record each; options for all of them;
        masks of each, as in `nn-inpainting`.
    index
        "bank": training images are described under the query's hole. "full": once, as whole images.
    neighbours
        The k of `precision_k...`. The largest is also the k of `agreement_k...`.
    depth
        The K of `map_k...`.
    """

    holes: tuple[str, ...] = ("center", "random-block", "random-region")
    options: dict[str, Any] = Field(default_factory=dict)
    bank: int = Field(default=4, ge=1, le=MOST_HOLES)
    index: Literal["bank", "full"] = "bank"
    neighbours: tuple[PositiveInt, ...] = Field(default=(1, 5, 10), min_length=1)
    depth: PositiveInt = 100

    @model_validator(mode="after")
    def _deep_enough(self) -> Self:
        if max(self.neighbours) > self.depth:
            raise ValueError(f"depth = {self.depth} is less than the {max(self.neighbours)} neighbours asked for")
        return self


class Retrieval(OfDescriptors):
    """Judges a descriptor by the training contexts that it finds for test contexts.

    `precision_kN`: the share of the N nearest that are of the query's class. `map_kN`: the mean of AP@N, the sum of
    the precisions at each relevant place among the first N, over min(N, relevant images). `agreement_kN`: the share of
    the N nearest that the whole query image finds among its own N nearest, by the same descriptor. Without labels
    there is agreement only. Training images that equal the query pixel by pixel are left out, and counted.
    """

    name: ClassVar[str] = "retrieval"
    version: ClassVar[int] = 1
    Config: ClassVar[type[Settings]] = RetrievalConfig
    needs: ClassVar[Needs] = Needs("encode", train=True)
    metrics: ClassVar[tuple[str, ...]] = ("precision_k*", "map_k*", "agreement_k*")
    floors: ClassVar[tuple[str, ...]] = ("pixels", "hog", "{init}")

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        check_holes(config.holes, config.options)

    def check(self, subject: Subject, data: EvaluationData) -> None:
        """Raises `UserError` if the sets do not go together, or there are too few images to search."""
        train = _searched(data)
        check_describes(subject, data.test)
        if train.size is None or train.size != data.test.size:
            raise UserError("Retrieval compares packed images of one size; pack train and test with the same --size.")
        self._check_depth(train, 1)
        if data.test.task == train.task == "classes" and data.test.classes != train.classes:
            raise UserError(f"{train.name} and {data.test.name} differ in their classes. Give two splits of one set.")
        for name in self.config.holes:
            self.holes(name, torch.arange(1), 0, data.test)

    def _check_depth(self, train: ImageSet, equal: int) -> None:
        """Raise `UserError` if fewer than `depth` images remain to be found when `equal` are left out."""
        depth = len(train) - equal
        if depth >= self.config.depth:
            return
        fewer = [k for k in self.config.neighbours if k <= depth]
        instead = f", or --set depth={depth}" if fewer else ""
        if fewer and len(fewer) < len(self.config.neighbours):
            instead += f" --set 'neighbours={fewer}'".replace(", ", ",")
        raise UserError(
            f"{train.name} ({train.split}) has {len(train)} images to search, and {self.protocol} looks at the "
            f"{self.config.depth} nearest that are not the query. Give more{instead}."
        )

    def holes(self, name: str, indices: Tensor, seed: int, test: ImageSet) -> Tensor:
        """The holes of the test images `indices`: bool (n, 1, h, w), True = missing. As in `nn-inpainting`."""
        source = open_holes(name, self.config.options, test)
        return source.banked(indices, seed, self.config.bank, whole=self.config.index == "full")

    def neighbours(
        self, descriptor: Descriptor, strategy: str, data: EvaluationData, env: Env, indices: Tensor, k: int
    ) -> Places:
        """The `k` nearest training contexts of the test images `indices`, nearest first: int64 (n, k).

        Images that equal the query are not left out.
        """
        train = _searched(data)
        holes = self.holes(strategy, indices, env.seed, data.test)
        found = np.empty((len(indices), k), np.int64)
        for rows, hole in self._groups(holes):
            base = env.cache.features(descriptor, train, hole)
            for some in torch.split(rows, _CHUNK):
                queries = descriptor.describe(data.test.read(indices[some]), holes[some])
                found[some.numpy()] = nearest(queries.numpy(), base, k)[1]
                env.say(f"{descriptor.name}: {strategy} holes, searching {len(train):,} images")
        return found

    def _groups(self, holes: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Rows that are searched in one index, and the hole under which that is described (None: none)."""
        if self.config.index == "full":
            yield torch.arange(len(holes)), None
            return
        for hole in torch.unique(holes, dim=0):
            yield torch.nonzero((holes == hole).flatten(1).all(1)).flatten(), hole[None]

    def run(self, subject: Subject, data: EvaluationData, env: Env) -> Iterator[Record]:
        """One record for each strategy, with one number for each test image under each metric."""
        assert isinstance(subject, Descriptor)
        train, indices = _searched(data), torch.arange(len(data.test))
        equal = _equal_images(data.test, train)
        most = max(map(len, equal), default=0)
        self._check_depth(train, most)
        fetched = self.config.depth + most
        _, whole = nearest(encode(subject, data.test, env), encode(subject, train, env), fetched)
        whole = _without(whole, equal, self.config.depth)
        for strategy in self.config.holes:
            started = time.perf_counter()
            source = open_holes(strategy, self.config.options, data.test)
            found = self.neighbours(subject, strategy, data, env, indices, fetched)
            outcomes = self._outcomes(_without(found, equal, self.config.depth), whole, data)
            yield make_record(
                self, subject, data, env,
                variant={**source.variant, **departures(self.config, "holes")},
                metrics={name: mean_metric(values, seed=env.seed) for name, values in outcomes.items()},
                outcomes=outcomes,
                notes={LEFT_OUT: int(sum(map(len, equal)))},
                used=[source.identity] if source.identity else [],
                started=started,
            )  # fmt: skip

    def _outcomes(self, found: Places, whole: Places, data: EvaluationData) -> dict[str, Numbers]:
        outcomes: dict[str, Numbers] = {}
        train = _searched(data)
        if data.test.task == train.task == "classes":
            labels, wanted = train.targets(), data.test.targets()
            relevant = labels[found] == wanted[:, None]
            for k in self.config.neighbours:
                outcomes[f"precision_k{k}"] = relevant[:, :k].mean(1)
            there = np.array([(labels == label).sum() for label in wanted])
            outcomes[f"map_k{self.config.depth}"] = truncated_average_precision(relevant, there)
        k = max(self.config.neighbours)
        outcomes[f"agreement_k{k}"] = np.array(
            [len(np.intersect1d(a, b)) / k for a, b in zip(found[:, :k], whole[:, :k], strict=True)]
        )
        return outcomes


def truncated_average_precision(relevant: NDArray[np.bool_], there: Places) -> Numbers:
    """AP@K of each query: relevant bool (n, K), nearest first; `there` int64 (n,) relevant images in all -> (n,).

    The sum of precision@i over the relevant places i <= K, divided by min(K, `there`); 0 where nothing is relevant.
    """
    depth = relevant.shape[1]
    precision = relevant.cumsum(1) / np.arange(1, depth + 1)
    most = np.minimum(depth, there)
    total: Numbers = (precision * relevant).sum(1)
    return np.divide(total, most, out=np.zeros(len(relevant)), where=most > 0)


def _searched(data: EvaluationData) -> ImageSet:
    if data.train is None:
        raise UserError("Retrieval searches train images: give --data REF, or --index REF beside --test.")
    return data.train


def _equal_images(test: ImageSet, train: ImageSet) -> list[Places]:
    """For each test image the places of the training images that equal it, pixel by pixel."""
    places: dict[str, list[int]] = {}
    for start in range(0, len(train), _CHUNK):
        for offset, image in enumerate(train.read(range(start, min(start + _CHUNK, len(train)))).numpy()):
            places.setdefault(digest(image.tobytes()), []).append(start + offset)
    equal = []
    for start in range(0, len(test), _CHUNK):
        for image in test.read(range(start, min(start + _CHUNK, len(test)))).numpy():
            equal.append(np.array(places.get(digest(image.tobytes()), ()), dtype=np.int64))
    return equal


def _without(found: Places, equal: list[Places], depth: int) -> Places:
    """The first `depth` of each row that are not among its `equal`."""
    return np.stack([row[~np.isin(row, same)][:depth] for row, same in zip(found, equal, strict=True)])
