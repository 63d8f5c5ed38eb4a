"""`ce results compare`, `diff` and `export`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.records.store import RecordStore

RIGHT = {"runs/x": 180, "hog": 137, "pixels": 100}


@pytest.fixture
def results(ce, tmp_path):
    """results/local with three subjects' answers to 200 images; `ce` is typed in its folder."""
    generator = np.random.default_rng(0)
    store = RecordStore(tmp_path / "results" / "local")
    for number, (subject, count) in enumerate(RIGHT.items()):
        right = generator.permutation(np.arange(200) < count).astype(float)
        store.append(
            Record(
                id=f"{number}abc",
                cell=subject,
                protocol="knn-dino@1",
                subject=SubjectInfo(name=subject, identity="a"),
                dataset=DatasetInfo(name="digits", split="test", fingerprint="f", n=200),
                seed=0,
                metrics={"accuracy": Metric(value=right.mean(), low=0.1, high=0.95), "nmi": Metric(value=0.5)},
                outcomes={"accuracy": right.tolist()},
            )
        )
    return ce


def test_subjects_are_compared_with_what_learned_nothing(results):
    answer = results("results compare results/local")
    assert answer.code == 0
    for part in ("runs/x − hog", "runs/x − pixels", "★", "Two-sided exact McNemar test over 200 test images", "<0.001"):
        assert part in answer.out
    assert "nmi" not in answer.out


def test_baselines_metric_and_format_are_chosen(results):
    rows = json.loads(results("results compare results/local --baseline 'pix*' --format json").out)
    assert [(row["subject"], row["baseline"]) for row in rows] == [("runs/x", "pixels"), ("hog", "pixels")]
    assert "| `hog` − `pixels` " in results("results compare results/local --baseline pixels --format md").out
    assert results("results compare results/local --format csv").out.count("McNemar") == 2
    untested = results("results compare results/local --metric nmi").out
    assert "n/a: nmi is one number of all images together (runs/x − hog, runs/x − pixels)." in untested
    assert "Did you mean pixels" in results("results compare results/local --baseline pixel").err
    assert "Did you mean nmi" in results("results compare results/local --metric nmii").err


def test_two_records_are_set_beside_each_other(results):
    answer = results("results diff 0a 1a")
    assert answer.code == 0
    assert answer.out.startswith("A: 0abc · knn-dino@1 · digits/test · runs/x\nB: 1abc")
    assert "subject: name" in answer.out
    found = json.loads(results("results diff results/local:0a results/local:2a --format json").out)
    assert (found["a"], found["b"]) == ("0abc", "2abc")
    assert results("results diff 0a 7").code == 2


@pytest.mark.parametrize(
    ("layout", "part"),
    [
        ("latex", r"\underline{68.50} {\small [10.00, 95.00]}"),
        ("md", "<u>68.50</u> [10.00, 95.00]"),
        ("html", "<u>68.50</u> <small>[10.00, 95.00]</small>"),
    ],
)
def test_tables_are_exported_for_a_paper(results, layout, part):
    answer = results(
        f"results export results/local --format {layout} --precision 2 --metrics accuracy -o paper.{layout}"
    )
    assert (answer.code, answer.out) == (0, f"paper.{layout}: 3 records.\n")
    text = Path(f"paper.{layout}").read_text(encoding="utf-8")
    assert part in text
    assert "better accuracy than every baseline (hog, pixels)" in text
    assert "nmi" not in text
    assert "runs/x − hog" not in text
    again = results(f"results export results/local --format {layout} -o paper.{layout}")
    assert (again.code, "--force" in again.err) == (2, True)
    assert Path(f"paper.{layout}").read_text(encoding="utf-8") == text
    assert results(f"results export results/local --format {layout} -o paper.{layout} --force").code == 0
    assert "nmi" in Path(f"paper.{layout}").read_text(encoding="utf-8")


def test_records_are_exported_in_full_precision(results):
    assert (
        results("results export results/local --format csv").out
        == results("results show results/local --format csv").out
    )
    rows = json.loads(results("results export results/local --format json --metrics nmi").out)
    assert [list(row["metrics"]) for row in rows] == [["nmi"]] * 3
    refused = results("results export results/local --format csv --precision 2")
    assert (refused.code, "full precision" in refused.err) == (2, True)


@pytest.mark.parametrize("command", ["compare DIR", "export DIR --format latex", "diff DIR:0a DIR:1a"])
def test_nothing_here_waits_for_torch_or_scipy(results, tmp_path, command):
    arguments = command.replace("DIR", str(tmp_path / "results" / "local")).split()
    code = (
        "import sys; from ssl_ce.cli.results import results\n"
        f"results({arguments!r}, standalone_mode=False)\n"
        "assert not {'torch', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
