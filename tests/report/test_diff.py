"""Two records beside each other."""

from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.report.diff import diff, print_diff, title
from ssl_ce.report.frames import as_json

A = Record(
    id="a" * 16,
    cell="c",
    protocol="linear-probe@1",
    variant={"labels": "all"},
    subject=SubjectInfo(name="runs/x", identity="1" * 32),
    dataset=DatasetInfo(name="digits", split="test", fingerprint="f", n=500, source={"ref": "digits", "size": 32}),
    train=DatasetInfo(name="digits", split="train", fingerprint="t", n=1297),
    seed=0,
    metrics={
        "accuracy": Metric(value=0.9, low=0.88, high=0.92),
        "top5": Metric(value=0.99, low=0.98, high=1.0),
        "log_loss": Metric(value=0.3, low=0.2, high=0.4, higher_is_better=False),
        "map": Metric(value=0.5),
        "psnr": Metric(value=math.inf),
    },
    config={"costs": {"count": 45}, "draws": 10},
    machine={"command": "ce evaluate", "versions": {"torch": "2.11"}, "git_commit": "c" * 40, "device": "cpu"},
    seconds=3.0,
)


def changed(**fields) -> Record:
    return A.model_copy(update=fields)


def test_equal_records_differ_in_nothing_whatever_they_took_and_whoever_called():
    again = changed(seconds=9.0, created="2030-01-01T00:00:00+00:00", machine={**A.machine, "command": "ce benchmark"})
    found = diff(A, again)
    assert found.differences == ()
    assert [metric.verdict for metric in found.metrics] == ["equal"] * 5
    assert found.moved == ()


def test_every_setting_version_image_set_and_seed_that_differs_is_named():
    other = changed(
        protocol="linear-probe@2",
        subject=SubjectInfo(name="runs/x", identity="2" * 32),
        dataset=A.dataset.model_copy(update={"n": 400, "source": {"ref": "digits", "size": 64}}),
        train=None,
        seed=1,
        config={"costs": {"count": 10}, "draws": 10, "folds": 3},
        machine={**A.machine, "versions": {"torch": "2.12"}, "device": "cuda"},
    )
    found = {(one.kind, one.name): (one.a, one.b) for one in diff(A, other).differences}
    assert found == {
        ("protocol", "name and version"): ("linear-probe@1", "linear-probe@2"),
        ("setting", "costs.count"): (45, 10),
        ("setting", "folds"): (None, 3),
        ("subject", "identity"): ("1" * 32, "2" * 32),
        ("test images", "n"): (500, 400),
        ("test images", "source.size"): (32, 64),
        **{("train images", name): (value, None) for name, value in (("name", "digits"), ("split", "train"))},
        **{("train images", name): (value, None) for name, value in (("fingerprint", "t"), ("n", 1297))},
        ("seed", "of the evaluation"): (0, 1),
        ("machine", "versions.torch"): ("2.11", "2.12"),
        ("machine", "device"): ("cpu", "cuda"),
    }


def test_a_number_that_moved_lies_within_the_interval_or_not():
    metrics = {
        "accuracy": Metric(value=0.91),
        "top5": Metric(value=0.97),
        "log_loss": Metric(value=0.3 * (1 + 1e-12)),
        "map": Metric(value=0.6),
        "ssim": Metric(value=0.1),
    }
    found = diff(A, changed(metrics=metrics))
    assert {metric.metric: metric.verdict for metric in found.metrics} == {
        "accuracy": "within the interval",
        "top5": "outside the interval",
        "log_loss": "equal",
        "map": "no interval",
        "psnr": "only in A",
        "ssim": "only in B",
    }
    assert found.moved == ("top5", "map", "psnr")


@pytest.mark.parametrize("width", [80, 140])
def test_a_diff_is_printed_at_any_width(width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_diff(diff(A, changed(seed=1, metrics={"accuracy": Metric(value=0.91)})), console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for part in ("seed: of the evaluation", "90.0", "[88.0,", "91.0", "+1.0", "within the", "only in A"):
        assert part in text
    assert title(A) == f"{'a' * 16} · linear-probe@1 · digits/test · labels: all · runs/x"


def test_a_diff_is_an_object_for_other_programs():
    found = json.loads(as_json(diff(A, changed(seed=1)).as_dict()), parse_constant=pytest.fail)
    assert found["differences"] == [{"kind": "seed", "name": "of the evaluation", "a": 0, "b": 1}]
    assert found["metrics"][0] == {
        "metric": "accuracy", "a": 0.9, "b": 0.9, "low": 0.88, "high": 0.92, "verdict": "equal",
    }  # fmt: skip
