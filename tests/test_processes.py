"""What processes that work as one say and do when one of them fails or dies: alone and with real ones (gloo, CPU)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, distributed

from ssl_ce.errors import DiskFullError, Stopped
from ssl_ce.processes import LostError, Processes

CLOSED = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:38105"


def fail_to_write() -> None:
    raise DiskFullError("The disk is full.")


def do_nothing() -> None:
    """Work that succeeds."""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process is gone."""

    def all_reduce(shared: Tensor, *_: Any, **__: Any) -> None:
        raise RuntimeError(CLOSED)

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_beside_a_dead_one_says_why_it_failed_itself(rank: int):
    with pytest.raises(DiskFullError):
        Processes(None, rank=rank, count=2).together(fail_to_write)


@pytest.mark.usefixtures("broken")
def test_where_another_is_gone_rank_0_alone_speaks():
    with pytest.raises(LostError, match="Another process of this command ended"):
        Processes(None, rank=0, count=2).together(do_nothing)
    for meet in (lambda rank_1: rank_1.together(do_nothing), lambda rank_1: rank_1.highest(0)):
        with pytest.raises(SystemExit) as left:
            meet(Processes(None, rank=1, count=2))
        assert left.value.code == 1


def test_an_error_with_gloo_in_a_path_does_not_mean_that_another_is_gone():
    two = Processes(None, rank=0, count=2)
    for error in (Stopped("Go on with: ce pretrain --resume runs/igloo"), OSError("runs/igloo"), ValueError(CLOSED)):
        assert not two.lost(error)
    for error in (LostError(), RuntimeError(CLOSED), distributed.DistBackendError("NCCL")):
        assert two.lost(error)
        assert not Processes(None).lost(error)


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import torch
from ssl_ce import children
from ssl_ce.errors import SslCeError, UserError
from ssl_ce.processes import launch

def refuse():
    raise UserError("rank 1 refuses")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

case, there = sys.argv[1], Path(sys.argv[2])
children.GRACE = 60.0 if "noticed" in case else 1.0
second = os.environ.get("LOCAL_RANK") == "1"
if case == "dies early" and second:
    die()
processes = launch(torch.device("cpu"), devices=2)
try:
    if case == "noticed death":
        die() if second else time.sleep(7)
        processes.highest(0)
    elif case == "noticed refusal":
        processes.together(refuse if second else int)
    elif case == "dies late" and second:
        die()
    elif case == "first dies" and second:
        there.write_text(str(os.getpid()))
    time.sleep(300)
except SslCeError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
finally:
    if case == "noticed refusal" and not second:
        time.sleep(10)  # as long as the second takes to end and Fabric to see it, and more
"""


def start(tmp_path: Path, case: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), case, str(tmp_path / "there")]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        ("noticed death", 1, "Another process of this command ended"),
        ("noticed refusal", 2, "rank 1 refuses"),
        ("dies late", 1, "ended with exit code -9, and the others cannot finish without it"),
        ("dies early", 1, "ended with exit code -9, and the others cannot finish without it"),
    ],
)
def test_the_first_process_leaves_by_itself_when_the_second_ended(tmp_path: Path, case: str, code: int, said: str):
    process = start(tmp_path, case)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.count(said)) == (code, 1), err
    assert "Traceback" not in err


@pytest.mark.slow
def test_the_second_process_does_not_outlive_the_first(tmp_path: Path):
    process, there = start(tmp_path, "first dies"), tmp_path / "there"
    deadline = time.monotonic() + 60
    while not (there.is_file() and there.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = int(there.read_text())
    os.kill(second, 0)
    process.send_signal(signal.SIGKILL)
    try:
        process.communicate(timeout=30)  # the second holds the pipe as long as it lives
    finally:
        with suppress(ProcessLookupError):
            os.kill(second, signal.SIGKILL)
