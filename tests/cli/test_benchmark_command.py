"""`ce benchmark`, typed at the prompt."""

from __future__ import annotations

import csv
import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ssl_ce import locks
from ssl_ce.evaluators import evaluators
from ssl_ce.evaluators.knn import Knn
from ssl_ce.records.store import RecordStore
from ssl_ce.suites.executor import LocalExecutor
from ssl_ce.suites.worker import fewest

TINY = {
    "method.encoder.width": 0.1,
    "method.decoder.width": 0.1,
    "optim.steps": 2,
    "log.tensorboard": False,
    "log.online_every": 0,
    "log.samples_every": 0,
}


def write(**changes):
    suite = {
        "summary": "tiny",
        "reproduces": "nothing",
        "data": {"source": "digits", "size": 32},
        "seeds": [0, 1],
        "settings": TINY,
        "pretrain": {
            "plain": {"recipe": "quickstart", "tap": "conv1"},
            "faster": {"extends": "plain", "settings": {"optim.lr": 0.01}},
        },
        "evaluate": [{"evaluator": "knn", "subjects": ["{run}@{tap}"]}],
        **changes,
    }
    Path("tiny.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))


@pytest.fixture
def inline(monkeypatch):
    """Cells run in this process; the labels of those that ran are in the list."""
    from concurrent.futures import Future

    from ssl_ce.suites.worker import perform

    ran = []

    class Inline:
        def __init__(self, jobs=1):
            self.slots = jobs

        def submit(self, cell, report):
            ran.append(cell.label)
            future = Future()
            future.set_result(perform(cell, report))
            return future

        def stop(self): ...

        def close(self): ...

    monkeypatch.setattr("ssl_ce.suites.executor.LocalExecutor", Inline)
    return ran


def test_a_suite_is_run_once_and_the_second_time_has_nothing_to_do(ce, inline):
    write()
    answer = ce("benchmark tiny.yaml")
    assert answer.code == 0, answer.err
    assert [label for label in inline if label.startswith("pretrain")] == [
        "pretrain plain-s0", "pretrain plain-s1", "pretrain faster-s0", "pretrain faster-s1",
    ]  # fmt: skip
    assert len(inline) == 4 + 4 + 4 + 2  # runs; each judged, and its untrained twin; pixels and hog once
    assert "± 2 seeds" in answer.out
    assert "[ ] images" in answer.out
    assert "standard deviation over pretraining seeds" in answer.out
    assert {record.subject.name for record in RecordStore(Path("results/tiny")).records()} >= {
        "runs/tiny/plain-s0@conv1", "init:runs/tiny/faster-s1@conv1", "pixels", "hog",
    }  # fmt: skip
    page = Path("results/tiny/suite.md").read_text()
    assert "`ce benchmark tiny.yaml`" in page
    assert "| plain@conv1 |" in page
    assert "| init:faster@conv1 |" in page
    assert Path("results/tiny/table.md").is_file()
    with Path("results/tiny/table.csv").open() as file:
        assert len({row["cell"] for row in csv.DictReader(file)}) == 10
    inline.clear()
    again = ce("benchmark tiny.yaml")
    assert (again.code, inline) == (0, [])
    assert again.out == answer.out


def test_only_some_are_run_and_the_rest_later(ce, inline):
    write()
    answer = ce("benchmark tiny.yaml --only plain-s0")
    assert answer.code == 0
    assert [label for label in inline if label.startswith("pretrain")] == ["pretrain plain-s0"]
    assert "1 of 2 seeds" in answer.out
    assert "not measured" in answer.out
    assert "Missing from these tables: 6 evaluations" in answer.out
    first = set(inline)
    inline.clear()
    assert ce("benchmark tiny.yaml").code == 0
    assert len(inline) == 14 - len(first)
    assert not first & set(inline)
    assert ce("benchmark tiny.yaml --only vae-*").err.startswith(
        "Error: --only vae-* matches no pretraining of tiny. Their names: plain, faster."
    )


def test_a_cell_that_fails_is_reported_and_stops_no_other(ce, inline, monkeypatch):
    import ssl_ce.suites.work

    real = ssl_ce.suites.work.pretrain

    def fail_one(recipe, images, out, **options):
        if "faster" in str(out):
            raise RuntimeError("CUDA out of memory.")
        return real(recipe, images, out, **options)

    monkeypatch.setattr("ssl_ce.suites.work.pretrain", fail_one)
    write(seeds=[0])
    answer = ce("benchmark tiny.yaml")
    assert answer.code == 1
    assert "Failed: pretrain faster-s0: ran out of memory. Take a smaller batch" in answer.err
    assert "Failed: knn faster-s0@conv1: skipped because pretrain faster-s0 failed" in answer.err
    assert "3 of 8 cells failed" in answer.err
    assert "plain@conv1" in answer.out
    page = Path("results/tiny/suite.md").read_text()
    assert "## Failed" in page
    assert "## Missing" in page
    monkeypatch.setattr("ssl_ce.suites.work.pretrain", real)
    inline.clear()
    assert ce("benchmark tiny.yaml").code == 0
    assert len(inline) == 3


def test_the_advice_for_a_lack_of_memory_can_be_followed(ce, inline, monkeypatch):
    """A run that broke before its first checkpoint is begun anew under another batch size; its sibling stays."""
    from ssl_ce.methods.context_encoder import ContextEncoder

    real = ContextEncoder.forward

    def forward(self, inputs):
        if len(inputs["images"]) > 16 and self.config.mean_fill == (1, 2, 3):
            raise RuntimeError("CUDA out of memory.")
        return real(self, inputs)

    monkeypatch.setattr(ContextEncoder, "forward", forward)
    large = {"recipe": "quickstart", "settings": {"method.mean_fill": [1, 2, 3]}}
    write(seeds=[0], evaluate=[], pretrain={"plain": {"recipe": "quickstart"}, "large": large})
    answer = ce("benchmark tiny.yaml")
    assert answer.code == 1
    assert "--set 'pretrain.large.settings.optim.batch_size=N'" in answer.err
    inline.clear()
    answer = ce("benchmark tiny.yaml --set pretrain.large.settings.optim.batch_size=8")
    assert (answer.code, inline) == (0, ["pretrain large-s0"]), answer.err


def test_a_run_on_images_that_have_changed_since_is_refused(ce, inline, photo_folder):
    import shutil

    shutil.copytree(photo_folder, "photos")
    write(seeds=[0], evaluate=[], data={"source": "photos", "size": 32})
    assert ce("benchmark tiny.yaml").code == 0
    inline.clear()
    shutil.copy("photos/train/left/00.png", "photos/train/left/99.png")
    answer = ce("benchmark tiny.yaml")
    assert (answer.code, inline) == (2, [])
    assert "runs/tiny/plain-s0 was trained on other images than photos holds now" in answer.err


def test_images_never_find_themselves(ce, inline, photo_folder):
    entry = {"evaluator": "nn-inpainting", "subjects": "hog", "split": "train", "settings": {"holes": ["center"]}}
    write(pretrain={}, data={"source": str(photo_folder), "size": 32}, evaluate=[entry])
    answer = ce("benchmark tiny.yaml")
    assert answer.code == 0, answer.err
    records = RecordStore(Path("results/tiny")).records()
    found = {record.subject.name: record.notes["images left out because they equal the query"] for record in records
             if "nearest" in record.subject.name}  # fmt: skip
    assert found == {"nearest:hog": 24, "nearest:pixels": 24}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": {"test": {"metric": "ll2", "better": "lower"}}}, "Did you mean l2"),
        ({"columns": {"tests": {"metric": "l2", "better": "lower"}}}, "row 'A': There is no column named 'test'"),
        ({"rows": [{"label": "A", "run": "plain", "published": {"test": []}}]}, "at least 1 item"),
        ({"rows": [{"label": "A", "run": "plain", "evaluator": "nn-inpaint"}]}, "Did you mean nn-inpainting"),
        ({"rows": [{"label": "A", "subject": "telea", "evaluator": "nn-inpainting"}]}, "measures it"),
        ({"variant": {"holes": "centre"}}, "Did you mean center"),
        ({"variant": {}}, "measured under several holes (center, random-block)"),
    ],
)
def test_a_published_table_is_checked_before_anything_starts(ce, inline, photo_folder, changes, words):
    table = {
        "title": "T", "source": "S", "evaluator": "inpainting", "variant": {"holes": "center"},
        "columns": {"test": {"metric": "l2", "better": "lower"}},
        "rows": [{"label": "A", "run": "plain", "published": {"test": 1}}], **changes,
    }  # fmt: skip
    entry = {"evaluator": "inpainting", "subjects": "{run}", "settings": {"holes": ["center", "random-block"]}}
    write(seeds=[0], data={"source": str(photo_folder), "size": 32}, evaluate=[entry], tables=[table])
    answer = ce("benchmark tiny.yaml")
    assert (answer.code, inline) == (2, [])
    assert words in answer.err


def test_an_error_that_nobody_foresaw_keeps_its_traceback(ce, inline):
    class Broken(Knn):
        name = "broken"

        def run(self, subject, data, env):
            raise KeyError("surprise")
            yield

    evaluators.add("broken", Broken, "raises")
    try:
        write(pretrain={}, evaluate=[{"evaluator": "broken", "subjects": "hog", "floors": False}])
        answer = ce("benchmark tiny.yaml")
    finally:
        evaluators.remove("broken")
    assert answer.code == 1
    assert "Failed: broken hog: KeyError: 'surprise' (results/tiny/failures/" in answer.err
    (kept,) = Path("results/tiny/failures").iterdir()
    assert "Traceback" in kept.read_text()


def test_a_dry_run_shows_the_cells_and_writes_nothing(ce, inline):
    write()
    answer = ce("benchmark tiny.yaml --dry-run")
    assert answer.code == 0
    assert "pretrain plain-s1" in answer.out
    assert "14 of 14 cells to do" in answer.out
    assert "unknown" in answer.out
    assert {path.name for path in Path().iterdir()} == {"tiny.yaml"}
    ce("benchmark tiny.yaml --only plain-s0")
    answer = ce("benchmark tiny.yaml --dry-run")
    assert "9 of 14 cells to do" in answer.out
    assert "unknown" not in answer.out


def test_a_run_of_another_recipe_is_refused_before_anything_starts(ce, inline):
    write(seeds=[0], evaluate=[])
    assert ce("benchmark tiny.yaml").code == 0
    inline.clear()
    answer = ce("benchmark tiny.yaml --set settings.optim.steps=3")
    assert (answer.code, inline) == (2, [])
    assert "runs/tiny/plain-s0 was begun with optim.steps = 2, and the suite now says 3" in answer.err
    assert ce("benchmark tiny.yaml --set settings.optim.steps=3 --runs other").code == 0


def test_a_run_that_was_made_again_is_judged_again(ce, inline):
    import shutil

    write(seeds=[0], pretrain={"plain": {"recipe": "quickstart", "tap": "conv1"}})
    ce("benchmark tiny.yaml")
    shutil.rmtree("runs")
    inline.clear()
    time.sleep(1.1)  # records are dated in seconds
    assert ce("benchmark tiny.yaml --set settings.optim.lr=0.02").code == 0
    assert inline == ["pretrain plain-s0", "knn plain-s0@conv1", "knn init:plain-s0@conv1"]


def test_published_numbers_stand_beside_measured_ones(ce, inline, photo_folder):
    rows = [
        {"label": "A", "run": "plain", "published": {"train": 2, "test": 3}},
        {"label": "B", "run": "faster", "published": {"train": 1, "test": 1000}},
        {"label": "Telea", "subject": "telea", "published": {"test": 5.5}},
    ]
    table = {
        "title": "Table 3", "source": "Somebody, 2016", "evaluator": "inpainting", "variant": {"holes": "center"},
        "columns": {split: {"metric": "l2", "split": split, "better": "lower"} for split in ("train", "test")},
        "rows": rows,
    }  # fmt: skip
    entry = {"evaluator": "inpainting", "subjects": "{run}", "settings": {"holes": ["center", "random-block"]}}
    data = {"source": str(photo_folder), "size": 32}
    write(data=data, evaluate=[{**entry, "floors": False, "split": "train"}, entry], tables=[table])
    answer = ce("benchmark tiny.yaml")
    assert answer.code == 0, answer.err
    section = Path("results/tiny/suite.md").read_text().partition("## Published and measured")[2]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert lines[0] == (
        "|  | published, train | measured l2 (%), train | published, test | measured l2 (%), test | spread |"
    )
    assert lines[2].startswith("| A | 2 | ")
    assert lines[2].endswith("| ± 2 seeds |")
    assert lines[4].startswith("| Telea | – | – | 5.5 | ")
    assert lines[4].endswith("| [ ] images |")
    assert "Order (train, best first): published B > A; measured " in section
    assert "Order (test, best first): published A > Telea > B; measured Telea > " in section
    assert "of 3 pairs in the same order" in section


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"run": "plane"}, "Did you mean plain"),
        ({"subject": "gist"}, "no knn of the suite on test images measures it"),
        ({"run": "plain", "subject": "{run}@conv2"}, "measures it"),
        ({}, "name the pretraining (run) or the subject"),
    ],
)
def test_a_published_row_must_be_measured(ce, inline, row, words):
    table = {
        "title": "T", "source": "S", "evaluator": "knn", "columns": {"accuracy": {"better": "higher"}},
        "rows": [{"label": "A", "published": {"accuracy": 1}, **row}],
    }  # fmt: skip
    write(tables=[table])
    answer = ce("benchmark tiny.yaml")
    assert (answer.code, inline) == (2, [])
    assert words in answer.err


def test_shipped_suites_are_listed(ce):
    answer = ce("list suites")
    assert answer.code == 0
    assert "quickstart" in answer.out


@pytest.mark.slow
def test_a_suite_that_is_terminated_goes_on_where_it_stopped(ce, inline):
    settings = {**TINY, "optim.steps": 300, "optim.batch_size": 2}
    pretrain = {"plain": {"recipe": "quickstart", "tap": "conv1"}}
    write(seeds=[0], settings=settings, pretrain=pretrain)
    command = [sys.executable, "-m", "ssl_ce", "benchmark", "tiny.yaml"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    log = Path("runs/tiny/plain-s0/log.csv")
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 75, errors
    assert "Stopped after saving: 0 of 5 cells were done. Go on with the same command." in errors
    assert not RecordStore(Path("results/tiny")).records()
    assert "goes on at step " in ce("benchmark tiny.yaml --dry-run").out
    assert ce("benchmark tiny.yaml").code == 0
    assert len(RecordStore(Path("results/tiny")).records()) == 4


def test_two_at_once_do_not_share_results(ce, inline, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    write(pretrain={}, evaluate=[{"evaluator": "knn", "subjects": "hog", "floors": False}])
    Path("results/tiny").mkdir(parents=True)
    with Path("results/tiny/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = ce("benchmark tiny.yaml")
        assert (answer.code, inline) == (2, [])
        assert "Another ce benchmark is at work in results/tiny" in answer.err
    assert ce("benchmark tiny.yaml").code == 0
    with Path("runs/tiny/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "Another ce benchmark is at work in runs/tiny" in ce("benchmark tiny.yaml --results others").err


def test_a_log_file_is_told_when_a_cell_starts_and_ends(ce, inline):
    write(pretrain={}, evaluate=[{"evaluator": "knn", "subjects": "hog", "floors": False}])
    lines = ce("benchmark tiny.yaml").err.splitlines()
    assert lines[0] == "[0/1] started: knn hog"
    assert lines[1].startswith("[1/1] done: knn hog in ")


def test_the_share_of_the_cores_is_never_nothing():
    executor = LocalExecutor(64)
    assert executor._threads >= 1
    executor.close()
    assert [fewest(8, asked) for asked in ("", "2", "16", "0", "many")] == [8, 2, 8, 8, 8]
