from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from ssl_ce.errors import MachineError, UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Subject
from ssl_ce.evaluators.judge import judge, untrained_twin, with_floors
from ssl_ce.evaluators.linear_probe import LinearProbe, LinearProbeConfig
from ssl_ce.evaluators.recording import make_record
from ssl_ce.records.record import Metric, Record


class Plain(LinearProbe):
    """An evaluator that describes one image and gives one number."""

    made: dict[str, Any]

    def resolve(self, reference: str, data: EvaluationData, device: torch.device) -> Subject:
        if reference not in self.made:
            raise UserError(f"nothing is named {reference}")
        return self.made[reference]  # type: ignore[no-any-return]

    def run(self, subject: Any, data: EvaluationData, env: Env) -> Iterator[Record]:
        value = subject.describe(data.test.read([0])).sum().item()
        metrics = {"accuracy": Metric(value=value)}
        yield make_record(
            self, subject, data, env, variant={}, metrics=metrics, outcomes={"accuracy": [value]}, started=0.0
        )


@pytest.fixture
def evaluator(grey: Callable[..., Any]) -> Plain:
    class Drifting(type(grey())):  # type: ignore[misc]
        """Changes a little whenever it describes, as a BatchNorm in training mode does."""

        def describe(self, images: torch.Tensor, holes: torch.Tensor | None = None) -> torch.Tensor:
            self.factor += 0.001
            return super().describe(images, holes)  # type: ignore[no-any-return]

    plain = Plain(LinearProbeConfig())
    plain.made = {"one": grey(1.0), "two": grey(2.0), "drifting": Drifting(3.0)}
    return plain


def test_every_subject_is_judged_and_stored_in_order(evaluator: Plain, digits: EvaluationData, env: Env) -> None:
    stored: list[Record] = []
    records = judge(evaluator, ["two", "one"], digits, env, stored.append)
    assert [record.subject.name for record in records] == ["grey2", "grey1"]
    assert stored == records


def test_a_subject_that_its_evaluation_changes_is_named_and_not_stored(
    evaluator: Plain, digits: EvaluationData, env: Env
) -> None:
    stored: list[Record] = []
    with pytest.raises(MachineError, match="grey3 was changed by its evaluation"):
        judge(evaluator, ["one", "drifting", "two"], digits, env, stored.append)
    assert [record.subject.name for record in stored] == ["grey1"]


def test_nothing_is_judged_if_one_subject_is_wrong(evaluator: Plain, digits: EvaluationData, env: Env) -> None:
    stored: list[Record] = []
    with pytest.raises(UserError, match="nothing is named three"):
        judge(evaluator, ["one", "three"], digits, env, stored.append)
    assert not stored


def test_a_record_says_what_was_judged_on_what(evaluator: Plain, digits: EvaluationData, env: Env) -> None:
    (record,) = judge(evaluator, ["one"], digits, env, lambda record: None)
    assert record.dataset.fingerprint == digits.test.fingerprint
    assert record.dataset.n == 200
    assert record.train is not None
    assert record.train.n == 600
    assert record.config["folds"] == 5
    assert record.machine["versions"]["torch"]
    assert record.peak_memory_mb > 0


@pytest.mark.parametrize(
    ("reference", "twin"),
    [
        ("runs/x", "init:runs/x"),
        ("runs/x@conv4?pool=2", "init:runs/x@conv4?pool=2"),
        ("nearest:runs/x@conv4", "nearest:init:runs/x@conv4"),
        ("torchvision:resnet18@layer3", "random:torchvision:resnet18@layer3"),
        ("timm:resnet18", "random:timm:resnet18"),
        ("file:x.pt@conv2?encoder=dcgan", "random:file:x.pt@conv2?encoder=dcgan"),
        ("hog?cell=4", None),
        ("nearest:hog", None),
        ("telea", None),
        ("init:runs/x", None),
        ("random:alexnet", None),
    ],
)
def test_what_was_trained_has_an_untrained_twin(reference: str, twin: str | None) -> None:
    assert untrained_twin(reference) == twin


def test_floors_come_after_the_subjects_each_once() -> None:
    evaluator = LinearProbe(LinearProbeConfig())
    assert with_floors(evaluator, ["hog", "runs/a", "runs/b@conv2"]) == [
        "hog", "runs/a", "runs/b@conv2", "pixels", "init:runs/a", "init:runs/b@conv2",
    ]  # fmt: skip
