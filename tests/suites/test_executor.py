"""Processes on this machine: what dies, dies alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_ce.suites.executor import LocalExecutor
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.schedule import run_cells
from ssl_ce.suites.suite import load_suite
from ssl_ce.suites.worker import perform


@pytest.fixture
def plan(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = {"recipe": "quickstart", "settings": {"optim.steps": 100_000}}
    path = write(pretrain={"long": long, "short": {"recipe": "quickstart"}}, evaluate=[])
    return make_plan(load_suite(str(path)), runs=Path("runs"), results=Path("results"))


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_own_cell_only(plan):
    """Two processes: the one that pretrains without end is killed, a fresh one takes its place."""
    long, short = plan.pretrainings
    again = replace(short, name="again", path=Path("runs/again"))
    executor = LocalExecutor(2)
    killed = []

    def watch(event):
        # Once nothing else runs, it is known whose process is whose.
        if event.kind == "progress" and event.cell is long and len(executor._busy) == 1 and not killed:
            killed.extend(worker.process.pid for worker in executor._busy)
            os.kill(killed[0], signal.SIGKILL)

    try:
        outcomes = run_cells([long, short], executor, notify=watch)
        assert outcomes["short-s0"].status == "done"
        assert outcomes["long-s0"].status == "failed"
        assert "killed (signal 9), probably for want of memory" in outcomes["long-s0"].message
        assert "optim.batch_size" in outcomes["long-s0"].message
        assert run_cells([again], executor)["again-s0"].status == "done"
    finally:
        executor.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("error", "words", "exhausted"),
    [
        (MemoryError(), "ran out of memory. Take a smaller batch", True),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
            "pretrain.long.settings.optim.batch_size=N",
            True,
        ),
        (ValueError("odd\nsecond line"), "ValueError: odd", False),
    ],
)
def test_what_goes_wrong_in_a_cell_is_its_outcome(plan, monkeypatch, error, words, exhausted):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("ssl_ce.suites.work.pretrain", fail)
    outcome = perform(plan.pretrainings[0], lambda report: None)
    assert (outcome.status, outcome.spoilt) == ("failed", True)
    assert words in outcome.message
    assert "second line" not in outcome.message
    assert ("Traceback" in outcome.trace) == (not exhausted)
