"""A folder for one process alone: refused to a second, given back by one that is killed."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from ssl_ce import locks
from ssl_ce.data.packing import PackedImages
from ssl_ce.errors import UserError
from ssl_ce.files import TEMPORARY
from ssl_ce.locks import LOCK, alone, is_held
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe
from ssl_ce.pretraining.run import RunDirectory
from ssl_ce.suites import work
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.suite import load_suite
from ssl_ce.suites.worker import perform

HOLD = """
import sys, time
from pathlib import Path
from ssl_ce.locks import alone
with alone(Path(sys.argv[1]), str):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`hold(folder)`: another process holds it, until it is killed or `seconds` are over. Nobody has patience."""
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    started = []

    def start(folder: Path, seconds: float = 60) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_second_process_is_told_who_holds_a_folder_until_that_one_is_killed(hold, tmp_path: Path):
    holder = hold(tmp_path / "run")
    with (
        pytest.raises(UserError, match=f"^taken by process {holder.pid} on {socket.gethostname()}$"),
        alone(tmp_path / "run", lambda who: f"taken by {who}"),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists()
    with alone(tmp_path / "run", lambda who: f"taken by {who}"):
        assert (tmp_path / "run" / LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert not (tmp_path / "run" / LOCK).exists()


def test_patience_waits_for_one_that_is_about_to_end(hold, tmp_path: Path):
    hold(tmp_path, seconds=0.5)
    with alone(tmp_path, str, patience=30):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} ")


def test_a_lock_that_somebody_deleted_and_another_process_made_again_is_that_ones(hold, tmp_path: Path):
    with alone(tmp_path, str):
        (tmp_path / LOCK).unlink()
        holder = hold(tmp_path)
    assert (tmp_path / LOCK).read_text().startswith(f"process {holder.pid} ")
    assert is_held(tmp_path)


def test_asking_who_holds_a_folder_disturbs_nobody(hold, tmp_path: Path):
    assert not is_held(tmp_path)
    hold(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_held, [tmp_path] * 200))
    with (tmp_path / LOCK).open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_cannot_be_looked_at_leaves_no_open_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    before = set(Path("/proc/self/fd").iterdir())
    monkeypatch.setattr(locks, "_is_at", fail)
    with pytest.raises(UserError, match="Permission denied"), alone(tmp_path, str):
        pass
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_second_training_in_one_run_is_refused_and_changes_nothing(
    hold, tmp_path: Path, digits_train: PackedImages, short_recipe: Recipe
):
    run = pretrain(short_recipe, digits_train, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    holder = hold(run)
    for resume in (True, False):
        with pytest.raises(UserError, match=f"process {holder.pid} on" if resume else "exists already"):
            pretrain(short_recipe, digits_train, run, resume=resume)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name != LOCK} == before
    holder.kill()
    holder.wait()
    pretrain(short_recipe, digits_train, run, resume=True)
    assert not (run / LOCK).exists()


@pytest.mark.parametrize(("seconds", "patience"), [(1.0, 60.0), (60.0, 0.0)])
def test_a_suite_waits_for_a_training_that_outlived_its_worker(
    hold, seconds: float, patience: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, "LONG_PATIENCE", patience)
    small = {"method.encoder.width": 0.1, "method.decoder.width": 0.1, "optim.steps": 2, "log.online_every": 0}
    settings = {**small, "log.samples_every": 0, "log.tensorboard": False}
    suite = {
        "summary": "tiny", "data": {"source": "digits", "size": 32}, "settings": settings, "seeds": [0],
        "pretrain": {"plain": {"recipe": "quickstart"}}, "evaluate": [],
    }  # fmt: skip
    Path("tiny.yaml").write_text(yaml.safe_dump(suite))
    (cell,) = make_plan(load_suite("tiny.yaml"), runs=Path("runs"), results=Path("results")).pretrainings
    holder = hold(cell.path, seconds)
    outcome = perform(cell, lambda report: None)
    if patience:
        assert outcome.status == "done", outcome
        assert RunDirectory(cell.path).manifest()["done"]
    else:
        assert outcome.status == "failed"
        assert f"is being trained by another process (process {holder.pid} on" in outcome.message


def test_two_new_trainings_do_not_begin_in_one_folder(
    hold, tmp_path: Path, digits_train: PackedImages, short_recipe: Recipe
):
    hold(tmp_path / "run")
    with pytest.raises(UserError, match="is being trained by another process"):
        pretrain(short_recipe, digits_train, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_what_a_process_leaves_that_was_killed_while_it_began_a_run_is_in_nobodys_way(tmp_path: Path):
    for name in (LOCK, "encoder-initial.safetensors", f".recipe.yaml.abcdefgh{TEMPORARY}"):
        (tmp_path / name).touch()
    RunDirectory(tmp_path).check_free()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="exists already and is no run"):
        RunDirectory(tmp_path).check_free()
