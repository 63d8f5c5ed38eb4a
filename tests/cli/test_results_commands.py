"""`ce results show`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ssl_ce.cli.results import results
from ssl_ce.errors import UserError
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.records.store import RecordStore


@pytest.fixture
def folder(tmp_path):
    for subject, accuracy in [("hog", 0.9), ("runs/x", 0.914)]:
        RecordStore(tmp_path).append(
            Record(
                id=subject.replace("/", "-"),
                cell=subject,
                protocol="linear-probe@1",
                subject=SubjectInfo(name=subject, identity="a"),
                dataset=DatasetInfo(name="digits", split="test", fingerprint="f", n=360),
                seed=0,
                metrics={"accuracy": Metric(value=accuracy, low=0.8, high=0.95, spread="bootstrap over test images")},
            )
        )
    return tmp_path


def show(*arguments: object):
    return CliRunner().invoke(results, ["show", *map(str, arguments)])


def test_records_are_shown_as_a_table_unless_told_otherwise(folder):
    shown = show(folder)
    assert shown.exit_code == 0
    assert "runs/x" in shown.output
    assert "91.4 [80.0, 95.0]" in shown.output


@pytest.mark.parametrize(
    ("layout", "part"),
    [("md", "**91.4** [80.0"), ("csv", "accuracy,0.914,0.8,0.95"), ("latex", r"\textbf{91.4}")],
)
def test_records_are_shown_in_each_format(folder, layout, part):
    assert part in show(folder, "--format", layout).output


def test_json_goes_to_stdout_alone_even_if_a_line_is_torn(folder):
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"id": "to')
    shown = show(folder, "--format", "json")
    assert [row["subject"] for row in json.loads(shown.stdout)] == ["hog", "runs/x"]
    assert "torn" in shown.stderr


@pytest.mark.parametrize(("name", "reason"), [("absent", "is not a folder"), ("", "has no records.jsonl")])
def test_a_folder_without_records_is_an_error_that_says_what_to_give(tmp_path, name, reason):
    error = show(tmp_path / name).exception
    assert isinstance(error, UserError)
    assert reason in str(error)
    assert "--results" in str(error)


def test_tables_do_not_wait_for_torch(folder):
    code = (
        "import sys; from ssl_ce.cli.results import results\n"
        f"results(['show', {str(folder)!r}, '--format', 'md'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_has_examples():
    assert "ce results show results/local --format md > table.md" in show("--help").output
