"""`feature-diagnostics@1`: how the features of the test images lie, without labels. Neither good nor bad by itself.

Uniformity and alignment: Wang and Isola (ICML 2020). Effective rank: Roy and Vetterli (EUSIPCO 2007), as RankMe takes
it (Garrido et al., ICML 2023). The deviation of normalised features: Chen and He (SimSiam, CVPR 2021).
"""

from __future__ import annotations

import time
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.views import random_flip, random_resized_crop
from ssl_ce.descriptors.base import Descriptor
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Needs, Subject
from ssl_ce.evaluators.encoding import encode, unit_rows
from ssl_ce.evaluators.frozen import FrozenEvaluator
from ssl_ce.evaluators.recording import departures, make_record
from ssl_ce.randomness import sample_keys, sample_order
from ssl_ce.records.record import Metric, Record
from ssl_ce.records.statistics import mean_metric
from ssl_ce.settings import Settings

Floats = NDArray[np.float32]

_ROWS_AT_ONCE = 1024
_DESCRIBED_AT_ONCE = 256
_EPSILON = 1e-7  # RankMe's, added to each singular value's share


class FeatureDiagnosticsConfig(Settings):
    """Constants of the protocol.

    Attributes
    ----------
    images
        Images looked at; of more, so many are drawn by seed.
    temperature
        Uniformity is the logarithm of the mean of exp(-temperature x squared distance).
    smallest_crop
        A view is a random resized crop of at least this share of the image's area, mirrored by chance.
    """

    images: Annotated[int, Field(ge=2)] = 10_000
    temperature: PositiveFloat = 2.0
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.2


class FeatureDiagnostics(FrozenEvaluator):
    """Describes a descriptor: `uniformity`, `alignment`, `effective_rank` ..."""

    name: ClassVar[str] = "feature-diagnostics"
    Config: ClassVar[type[Settings]] = FeatureDiagnosticsConfig
    needs: ClassVar[Needs] = Needs("encode")
    chooses: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = (
        "uniformity",
        "alignment",
        "effective_rank",
        "normalized_std",
        "constant_share",
    )
    config: FeatureDiagnosticsConfig

    def __init__(self, config: FeatureDiagnosticsConfig) -> None:
        self.config = config

    def check_data(self, data: EvaluationData) -> None:
        """Raises `UserError` if there are fewer than two images."""
        if len(data.test) < 2:
            raise UserError(f"{data.test.name} ({data.test.split}) has one image; distances are between two or more.")

    def judge(self, subject: Subject, data: EvaluationData, env: Env) -> Record:
        """The record, with the alignment of each image that was looked at."""
        started = time.perf_counter()
        features, rows = encode(subject, data.test, env), self._rows(data.test, env.seed)
        features = features if len(rows) == len(features) else features[rows]
        units = unit_rows(features)
        env.say(f"{subject.name}: distances and rank")
        values = {
            "uniformity": uniformity(units, self.config.temperature),
            "effective_rank": effective_rank(features),
            "normalized_std": normalized_std(units),
            "constant_share": float((features == features[0]).all(axis=0).mean()),
        }
        metrics = {name: Metric(value=value, higher_is_better=None) for name, value in values.items()}
        distances = self._distances(subject, data.test, rows, env)
        metrics["alignment"] = mean_metric(distances, seed=env.seed, higher_is_better=None)
        return make_record(
            self, subject, data, env,
            variant=departures(self.config),
            metrics={name: metrics[name] for name in self.metrics},
            outcomes={"alignment": distances} if len(rows) == len(data.test) else {},
            notes={"images": len(rows), "dimensions": features.shape[1]},
            started=started,
        )  # fmt: skip

    def _rows(self, images: ImageSet, seed: int) -> NDArray[np.int64]:
        """All images, or as many as the protocol looks at, drawn by seed: ascending."""
        if len(images) <= self.config.images:
            return np.arange(len(images))
        return np.sort(sample_order(seed, 0, len(images))[: self.config.images].numpy())

    def _distances(self, subject: Subject, images: ImageSet, rows: NDArray[np.int64], env: Env) -> NDArray[np.float64]:
        """Squared distances between the normalised features of two views of each image: float64 (rows,)."""
        assert isinstance(subject, Descriptor)
        found = []
        for start in range(0, len(rows), _DESCRIBED_AT_ONCE):
            part = torch.from_numpy(rows[start : start + _DESCRIBED_AT_ONCE])
            pixels = images.read(part)
            first, second = (
                unit_rows(subject.describe(self._view(pixels, sample_keys(env.seed, number, part, "view"))).numpy())
                for number in range(2)
            )
            found.append(np.square(first - second, dtype=np.float64).sum(axis=1))
            env.say(f"{subject.name}: described two views of {start + len(part):,} of {len(rows):,} images")
        return np.concatenate(found)

    def _view(self, images: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        size = images.shape[-1]
        return random_flip(random_resized_crop(images, keys, size, smallest=self.config.smallest_crop), keys)


def uniformity(units: Floats, temperature: float = 2.0) -> float:
    """log of the mean of exp(-temperature x squared distance) over all pairs of different rows (n, dim).

    0 where all rows are equal; rows of length 1 in independent directions come near -2 x temperature.
    """
    total, count = 0.0, len(units)
    lengths = np.einsum("nd,nd->n", units, units, dtype=np.float64)
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        for other in range(start, count, _ROWS_AT_ONCE):
            columns = slice(other, other + _ROWS_AT_ONCE)
            distances = lengths[rows, None] + lengths[None, columns] - 2.0 * (units[rows] @ units[columns].T)
            similar = np.exp(-temperature * np.maximum(distances, 0.0))
            total += float(similar.sum() if other > start else np.triu(similar, 1).sum())
    return float(np.log(total / (count * (count - 1) / 2)))


def effective_rank(features: Floats) -> float:
    """The exponential of the entropy of the singular values' shares, of features (n, dim) as they come, not centred.

    From 1 to the lesser of n and dim.
    """
    narrow = features if features.shape[1] <= len(features) else features.T
    gram = np.zeros((narrow.shape[1], narrow.shape[1]))
    for start in range(0, len(narrow), _ROWS_AT_ONCE):
        part = narrow[start : start + _ROWS_AT_ONCE].astype(np.float64)
        gram += part.T @ part
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
    shares = values / values.sum() + _EPSILON
    return float(np.exp(-(shares * np.log(shares)).sum()))


def normalized_std(units: Floats) -> float:
    """The standard deviation of a dimension over the rows (n, dim), mean over dimensions, times the root of dim.

    0 where all rows are equal, 1 where rows of length 1 point everywhere alike.
    """
    return float(units.std(axis=0, dtype=np.float64).mean() * np.sqrt(units.shape[1]))
