"""`voc-classification@1`: the paper's first transfer, all layers trained on a multi-label set, mean average precision.

The constants are those of the code that the paper's numbers come from (Krähenbühl et al., "Data-dependent
Initializations of Convolutional Neural Networks", ICLR 2016; philkr/voc-classification, `train_cls.py`). What differs
stands in docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ssl_ce.data.imageset import ImageSet, Task
from ssl_ce.evaluators.base import Needs
from ssl_ce.evaluators.classifier import ClassifierConfig, Share
from ssl_ce.evaluators.finetune import Finetune, Scores
from ssl_ce.evaluators.precision import judged_by_precision
from ssl_ce.evaluators.recording import departures
from ssl_ce.networks.encoder import Encoder
from ssl_ce.records.record import Metric
from ssl_ce.settings import Settings


class VocClassificationConfig(ClassifierConfig):
    """Constants of the protocol: 80,000 steps of 16 images, two hidden layers as AlexNet's, ten views a test image."""

    steps: PositiveInt | None = 80_000
    batch_size: Annotated[int, Field(ge=2)] = 16
    optimizer: Literal["adamw", "sgd"] = "sgd"
    rate: PositiveFloat = 0.016  # 0.001 for a batch of 16
    weight_decay: NonNegativeFloat = 1e-6
    warmup: Share = 0.0
    schedule: Literal["cosine", "halving"] = "halving"
    clip_norm: PositiveFloat | None = 10.0
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.05
    hidden: tuple[PositiveInt, ...] = (4096, 4096)
    dropout: Share = 0.5
    test_crops: NonNegativeInt = 10


class VocClassification(Finetune):
    """Judges a network by a multi-label set: `map_11point`, as VOC 2007 counts, and `map`, the area."""

    name: ClassVar[str] = "voc-classification"
    version: ClassVar[int] = 1
    Config: ClassVar[type[Settings]] = VocClassificationConfig
    needs: ClassVar[Needs] = Needs("train", task="multilabel", train=True)
    tasks: ClassVar[tuple[Task, ...]] = ("multilabel",)
    metrics: ClassVar[tuple[str, ...]] = ("map_11point", "map")

    def _constants(self, encoder: Encoder) -> tuple[str, ClassifierConfig]:
        return "any network", self.config

    def _draws(self, train: ImageSet, seed: int) -> list[NDArray[np.int64]]:
        return [np.arange(len(train))]

    def _variant(self, constants: ClassifierConfig) -> dict[str, str]:
        return departures(constants)

    def _judged(
        self, draws: Sequence[Scores], test: ImageSet, seed: int
    ) -> tuple[dict[str, Metric], dict[str, NDArray[np.float64]], dict[str, Any]]:
        return judged_by_precision(draws, test, {"map_11point": True, "map": False})
