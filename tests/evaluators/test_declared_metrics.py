"""What an evaluator says of its records is what they carry."""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
import pytest

from ssl_ce.data.imageset import Indices
from ssl_ce.data.packing import PackedImages, Subset
from ssl_ce.evaluators import evaluators
from ssl_ce.evaluators.base import Env, EvaluationData

SETTINGS: dict[str, dict[str, object]] = {
    "knn": {"labels_per_class": 2, "draws": 2},
    "knn-instdisc": {"neighbours": (50,), "headline": 50},
    "linear-probe": {"labels_per_class": 2, "draws": 2},
    "linear-sgd-dinov2": {"iterations": 2},
    "linear-sgd-mae": {"epochs": 1},
    "linear-sgd-simclr": {"epochs": 1},
    "linear-layers-goyal19": {"epochs": 1},
    "finetune": {"epochs": 1},
    "voc-classification": {"steps": 2, "hidden": (), "test_crops": 1},
    "segmentation": {"steps": 2},
    "detection": {"steps": 1, "channels": 8, "hidden": 8},
    "inpainting": {"holes": ("center",)},
    "nn-inpainting": {"holes": ("center",), "bank": 1},
    "retrieval": {"holes": ("center",), "bank": 1},
}


SUBJECTS = {"train": "random:dcgan?size=32&width=0.1", "encode": "pixels", "fill": "pixels"}


class Attributes(Subset):
    """Digits with two attributes: whether they are even, and whether they are below 5."""

    def __init__(self, parent: PackedImages, indices: Indices, split: str) -> None:
        super().__init__(parent, indices, split)
        self.task, self.classes = "multilabel", ("even", "small")

    def targets(self, indices: Indices | None = None) -> np.ndarray:
        digits = super().targets(indices)
        return np.stack([digits % 2 == 0, digits < 5], axis=1).astype(np.int64)


@pytest.mark.parametrize("name", evaluators.names())
def test_records_carry_the_metrics_that_are_declared(
    name: str, digits_train: PackedImages, digits_test: PackedImages, shapes: EvaluationData
) -> None:
    evaluator = evaluators.get(name)(evaluators.get(name).Config(**SETTINGS.get(name, {})))
    kind = Attributes if evaluator.needs.task == "multilabel" else Subset
    data = EvaluationData(kind(digits_test, range(40), "test"), kind(digits_train, range(120), "train"))
    if evaluator.needs.task in ("segmentation", "boxes"):
        data = shapes
    subject = "mean-color" if name == "inpainting" else SUBJECTS[evaluator.needs.capability]
    judged = evaluator.resolve(evaluator.reference(subject), data, Env().device)
    (record,) = evaluator.run(judged, data, Env())
    assert fnmatchcase(next(iter(record.metrics)), evaluator.metrics[0])
    for metric in record.metrics:
        assert any(fnmatchcase(metric, declared) for declared in evaluator.metrics), metric
