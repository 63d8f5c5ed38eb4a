"""A warning signal: whatever can be saved is saved, and the exit code is one that schedulers requeue on."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssl_ce.data.decode import decode
from ssl_ce.data.packing import PackedImages
from ssl_ce.errors import Stopped
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe
from ssl_ce.records.store import RecordStore

SAID = "Stopped by SIGTERM; what was already written is whole. Run the same command again.\n"


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("line", ["data pack photos --size 16 --out a.pack", "pretrain quickstart --data photos"])
def test_packing_is_requeued_and_leaves_nothing(ce, photo_folder: Path, line: str, monkeypatch: pytest.MonkeyPatch):
    Path("photos").symlink_to(photo_folder)
    monkeypatch.setenv("SSL_CE_CACHE", "cache")
    seen = []

    def decode_and_stop(image):
        seen.append(image)
        if len(seen) == 5:
            terminate()
        return decode(image)

    monkeypatch.setattr("ssl_ce.data.packer.decode", decode_and_stop)
    answer = ce(line)
    assert (answer.code, answer.err[-len(SAID) :]) == (75, SAID)
    assert [path for path in Path().rglob("*") if path.is_file() and not path.is_symlink()] == []


def test_an_evaluation_is_requeued_and_keeps_its_records(ce, monkeypatch: pytest.MonkeyPatch):
    append = RecordStore.append

    def append_and_stop(store, record):
        append(store, record)
        terminate()

    line = "evaluate knn pixels hog --data digits --no-floors --results results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordStore, "append", append_and_stop)
        answer = ce(line)
    assert (answer.code, answer.err[-len(SAID) :]) == (75, SAID)
    assert [record.subject.name for record in RecordStore(Path("results")).records()] == ["pixels"]
    assert ce(line).code == 0
    assert [record.subject.name for record in RecordStore(Path("results")).records()] == ["pixels", "hog"]


def test_a_terminal_that_closes_stops_a_training_after_saving(
    digits_train: PackedImages,
    short_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
):
    def hang_up(state: Progress) -> None:
        if state.step == 7:
            os.kill(os.getpid(), signal.SIGHUP)

    given = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup themselves
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, given))
    with pytest.raises(Stopped, match=r"Stopped by SIGHUP at step 7 of 12, after saving"):
        pretrain(short_recipe, digits_train, tmp_path / "run", hooks=Hooks(progress=hang_up))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        pretrain(short_recipe, digits_train, tmp_path / "nohup", hooks=Hooks(progress=hang_up))
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_training_saves_when_its_terminal_is_really_closed(tmp_path: Path):
    ours, theirs = pty.openpty()
    line = "pretrain quickstart --data digits --set log.every=1 --set log.checkpoint_every=0 --out"
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_ce", *line.split(), str(tmp_path / "run")],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # the terminal becomes the session's own
    )  # fmt: skip
    os.close(theirs)
    deadline = time.monotonic() + 100
    while not (tmp_path / "run/log.csv").exists() and time.monotonic() < deadline and process.poll() is None:
        os.read(ours, 1 << 16)
    os.close(ours)
    process.wait(timeout=60)
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert not manifest["done"]
    assert manifest["step"] > 0
    assert not list((tmp_path / "run").glob(".*"))
