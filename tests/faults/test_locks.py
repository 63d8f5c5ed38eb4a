"""A folder for one process alone: refused to a second, given back by one that is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssl_ce.data.packing import PackedImages
from ssl_ce.errors import UserError
from ssl_ce.files import TEMPORARY
from ssl_ce.locks import LOCK, alone
from ssl_ce.pretraining import run as run_module
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe
from ssl_ce.pretraining.run import RunDirectory

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
    monkeypatch.setattr(run_module, "_PATIENCE", 0.0)
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
