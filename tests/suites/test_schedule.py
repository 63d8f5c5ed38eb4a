"""Cells in the order of their needs, with an executor that the test is in charge of."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

import pytest

from ssl_ce.suites.executor import Outcome
from ssl_ce.suites.schedule import Skipped, run_cells


@dataclass(frozen=True)
class Cell:
    key: str
    needs: tuple[str, ...] = ()

    @property
    def label(self):
        return f"cell {self.key}"


class Fake:
    """Cells end at once, as `ends` says, or when `stop` is called if it says "stopped"."""

    def __init__(self, slots=1, **ends):
        self.slots, self.ends = slots, ends
        self.started, self.open, self.most = [], {}, 0

    def submit(self, cell, report):
        self.started.append(cell.key)
        future = self.open[cell.key] = Future()
        self.most = max(self.most, sum(not one.done() for one in self.open.values()))
        status = self.ends.get(cell.key, "done")
        if status != "stopped":
            future.set_result(Outcome(status, "broke" if status == "failed" else ""))
        return future

    def stop(self):
        for future in self.open.values():
            if not future.done():
                future.set_result(Outcome("stopped"))

    def close(self): ...


def test_a_cell_waits_for_what_it_needs():
    executor = Fake(slots=3)
    cells = [Cell("judge", ("run",)), Cell("run"), Cell("free")]
    outcomes = run_cells(cells, executor)
    assert executor.started == ["run", "free", "judge"]
    assert {outcome.status for outcome in outcomes.values()} == {"done"}


def test_what_is_finished_is_not_waited_for():
    executor = Fake()
    assert list(run_cells([Cell("judge", ("run",))], executor, finished={"run"})) == ["judge"]


def test_a_failure_skips_what_needs_it_and_nothing_else():
    executor = Fake(bad="failed")
    cells = [Cell("deep", ("mid",)), Cell("mid", ("bad",)), Cell("bad"), Cell("good"), Cell("last", ("good",))]
    outcomes = run_cells(cells, executor)
    assert executor.started == ["bad", "good", "last"]
    assert outcomes["bad"].message == "broke"
    assert isinstance(outcomes["mid"], Skipped)
    assert outcomes["mid"].message == "skipped because cell bad failed"
    assert outcomes["deep"].message == "skipped because cell mid failed"
    assert outcomes["last"].status == "done"


def test_slots_are_kept_full_and_no_fuller():
    executor = Fake(slots=2, a="stopped", b="stopped")
    asked = iter([False, True])
    outcomes = run_cells([Cell("a"), Cell("b"), Cell("c")], executor, stopping=lambda: next(asked, True))
    assert executor.most == 2
    assert executor.started == ["a", "b"]
    assert {key: outcome.status for key, outcome in outcomes.items()} == {"a": "stopped", "b": "stopped"}


def test_the_order_is_that_of_the_cells():
    executor = Fake(slots=2)
    run_cells([Cell(str(number)) for number in range(6)], executor)
    assert executor.started == [str(number) for number in range(6)]


def test_events_tell_of_each_cell():
    events = []
    run_cells([Cell("a"), Cell("b", ("a",))], Fake(a="failed"), notify=events.append)
    told = [(event.kind, event.cell.key) for event in events]
    assert told == [("started", "a"), ("ended", "a"), ("ended", "b")]


def test_cells_that_need_one_another_are_an_error_and_no_endless_wait():
    with pytest.raises(ValueError, match="need one another"):
        run_cells([Cell("a", ("b",)), Cell("b", ("a",))], Fake())
