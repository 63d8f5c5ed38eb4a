"""`ce results show` and `ce results breakdown`."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata

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


@pytest.mark.parametrize("layout", ["table", "md", "csv", "json", "latex"])
def test_records_of_somebody_else_command_no_terminal(tmp_path, layout):
    evil = "\x1b]0;owned\x07\x9b2J\x7f"
    record = Record(
        id="a",
        cell="b",
        protocol=f"knn@1{evil}",
        variant={f"holes{evil}": evil},
        subject=SubjectInfo(name=f"hog{evil}", identity="a"),
        dataset=DatasetInfo(name=f"digits{evil}", split=evil, fingerprint=evil, n=360),
        train=DatasetInfo(name=f"digits{evil}", split=evil, fingerprint=evil, n=360),
        seed=0,
        metrics={f"accuracy{evil}": Metric(value=0.9)},
        config={"set": evil},
    )
    RecordStore(tmp_path).append(record)
    shown = show(tmp_path, "--format", layout)
    assert shown.exit_code == 0, shown.exception
    assert "hog" in shown.stdout
    assert [letter for letter in shown.stdout if unicodedata.category(letter) == "Cc" and letter != "\n"] == []
    if layout == "json":
        assert json.loads(shown.stdout)[0]["subject"] == f"hog{evil}"


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


@pytest.fixture
def fills(tmp_path):
    """Records of 20 images each; ten of them miss 5 % and are filled better than the ten that miss 15 %."""
    for number, subject in enumerate(["telea", "nearest:hog"]):
        psnr = [20.0 - number] * 10 + [16.0 - 3 * number] * 10
        RecordStore(tmp_path).append(
            Record(
                id=f"{number}",
                cell=subject,
                protocol="inpainting@1",
                variant={"holes": "free-form"},
                subject=SubjectInfo(name=subject, identity="a"),
                dataset=DatasetInfo(name="photos", split="test", fingerprint="f", n=20),
                seed=0,
                metrics={"psnr": Metric(value=sum(psnr) / 20), "l1": Metric(value=0.1, higher_is_better=False)},
                outcomes={"psnr": psnr, "l1": [0.1] * 20, "missing": [0.05] * 10 + [0.15] * 10,
                          "l1_ring_1": [0.08] * 20, "l1_ring_2": [float("nan")] * 10 + [0.12] * 10},
            )
        )  # fmt: skip
    return tmp_path


def breakdown(*arguments: object):
    return CliRunner(env={"COLUMNS": "120"}).invoke(results, ["breakdown", *map(str, arguments)])


def test_all_that_records_tell_is_broken_down_unless_told_otherwise(fills):
    shown = breakdown(fills)
    assert shown.exit_code == 0
    assert "psnr (dB) ↑ by share missing" in shown.output
    assert "l1 (%) ↓ by distance to the context" in shown.output
    assert "by classes" not in shown.output
    assert "20.00 [20.00, 20.00]   16.00 [16.00, 16.00]" in shown.output
    assert "by distance" not in breakdown(fills, "--by", "missing", "--by", "missing").output
    assert breakdown(fills, "--by", "missing", "--by", "missing").output.count("by share missing") == 1


@pytest.mark.parametrize(
    ("layout", "part"),
    [
        ("md", "| `nearest:hog` |     19.00 [19.00, 19.00] |     13.00 [13.00, 13.00] |"),
        ("csv", "nearest:hog,20,0,1,nearest:hog,missing,psnr,10–20 %,10,13.0,13.0,13.0"),
        ("json", '"bin": "10–20 %"'),
    ],
)
def test_a_breakdown_is_shown_in_each_format_and_the_picture_is_told_apart(fills, tmp_path, layout, part):
    picture = tmp_path / "out" / "distance.png"
    shown = breakdown(fills, "--format", layout, "--plot", picture)
    assert part in shown.stdout
    assert shown.stderr == f"Picture: {picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("layout", ["table", "md", "csv", "json", "latex"])
def test_metrics_are_chosen_by_name(fills, layout):
    everything = show(fills, "--format", layout)
    assert "psnr" in everything.output
    assert show(fills, "--format", layout, "--metrics", "all").output == everything.output
    chosen = show(fills, "--format", layout, "--metrics", "l1")
    assert "l1" in chosen.output
    assert "psnr" not in chosen.output
    assert "Did you mean psnr" in str(show(fills, "--format", layout, "--metrics", "l1,pnsr").exception)
    assert "Name one or more" in str(show(fills, "--format", layout, "--metrics", ",").exception)


def curves(*arguments: object):
    return CliRunner().invoke(results, ["curves", *map(str, arguments)])


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.csv").write_text("step,generator_loss\n1,2.0\n2,1.0\n")
    return tmp_path / "run"


@pytest.mark.parametrize("command", ["breakdown", "curves"])
@pytest.mark.parametrize("name", ["picture.pdf", "picture"])
def test_a_picture_is_a_png_and_replaces_none_unless_forced(fills, run, tmp_path, command, name):
    def draw(path, *more):
        return breakdown(fills, "--plot", path, *more) if command == "breakdown" else curves(run, "-o", path, *more)

    assert str(draw(tmp_path / name).exception).endswith(".png.")
    assert not (tmp_path / name).exists()
    picture = tmp_path / "picture.png"
    picture.write_text("mine")
    assert "exists already" in str(draw(picture).exception)
    assert picture.read_text() == "mine"
    assert draw(picture, "--force").exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_broken_down_is_an_error_that_says_what_to_do(fills, tmp_path):
    assert "needs label maps" in str(breakdown(fills, "--by", "mixes").exception)
    assert "Did you mean psnr" in str(breakdown(fills, "--metric", "pnsr").exception)
    assert "is not a folder" in str(breakdown(tmp_path / "absent").exception)
    assert breakdown(fills, "--by", "size").exit_code == 2


def test_records_of_other_protocols_cannot_be_broken_down(folder):
    error = breakdown(folder).exception
    assert isinstance(error, UserError)
    assert "Run ce evaluate inpainting" in str(error)
