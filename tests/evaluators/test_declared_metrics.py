"""What an evaluator says of its records is what they carry."""

from fnmatch import fnmatchcase

import pytest

from ssl_ce.data.packing import PackedImages
from ssl_ce.evaluators import evaluators
from ssl_ce.evaluators.base import Env, EvaluationData

SETTINGS: dict[str, dict[str, object]] = {
    "linear-probe": {"labels_per_class": 2, "draws": 2},
    "inpainting": {"holes": ("center",)},
    "nn-inpainting": {"holes": ("center",), "bank": 1},
    "retrieval": {"holes": ("center",), "bank": 1},
}


@pytest.mark.parametrize("name", evaluators.names())
def test_records_carry_the_metrics_that_are_declared(
    name: str, digits_train: PackedImages, digits_test: PackedImages
) -> None:
    evaluator = evaluators.get(name)(evaluators.get(name).Config(**SETTINGS.get(name, {})))
    data = EvaluationData(digits_test.subset(range(40), "test"), digits_train.subset(range(120), "train"))
    subject = "mean-color" if name == "inpainting" else "pixels"
    judged = evaluator.resolve(evaluator.reference(subject), data, Env().device)
    (record,) = evaluator.run(judged, data, Env())
    assert fnmatchcase(next(iter(record.metrics)), evaluator.metrics[0])
    for metric in record.metrics:
        assert any(fnmatchcase(metric, declared) for declared in evaluator.metrics), metric
