"""Runs cells in the order of their needs, as many at a time as there are slots. One that fails stops no other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Literal

from ssl_ce.suites.cells import Cell
from ssl_ce.suites.executor import Executor, Outcome, Report

# Seconds until a signal is noticed while nothing ends.
_PAUSE = 0.2


@dataclass(frozen=True)
class Event:
    """Something happened to a cell. Progress may come from another thread than the rest."""

    kind: Literal["started", "progress", "ended"]
    cell: Cell
    report: Report | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Skipped(Outcome):
    """It was never started, because a cell that it needs failed."""


def run_cells(
    cells: Sequence[Cell],
    executor: Executor,
    *,
    finished: Collection[str] = (),
    notify: Callable[[Event], None] = lambda event: None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Outcome]:
    """Run `cells`, those that come first being started first; returns {key: outcome}.

    Parameters
    ----------
    finished
        Keys of cells that are done already and may be needed by others.
    notify
        Told when a cell is started, says something, and has ended.
    stopping
        Asked now and then; once it says so, nothing more is started, and what runs is asked to stop. Cells that were
        never started then have no outcome.
    """
    waiting = list(cells)
    labels = {cell.key: cell.label for cell in cells}
    running: dict[Future[Outcome], Cell] = {}
    outcomes: dict[str, Outcome] = {}
    stopped = False
    while waiting or running:
        if not stopped and stopping():
            stopped = True
            executor.stop()
        if stopped:
            waiting = []
        before = len(waiting)
        for cell in list(waiting):
            broken = [key for key in cell.needs if key in outcomes and outcomes[key].status != "done"]
            if broken:
                waiting.remove(cell)
                message = f"skipped because {labels.get(broken[0], broken[0])} failed"
                outcomes[cell.key] = Skipped("failed", message)
                notify(Event("ended", cell, outcome=outcomes[cell.key]))
            elif len(running) < executor.slots and all(
                key in finished or (key in outcomes and outcomes[key].status == "done") for key in cell.needs
            ):
                waiting.remove(cell)
                notify(Event("started", cell))
                running[executor.submit(cell, _teller(notify, cell))] = cell
        if waiting and not running and len(waiting) == before:
            _refuse_unmet(waiting)
        done, _ = wait(running, timeout=_PAUSE, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda one: cells.index(running[one])):
            cell = running.pop(future)
            outcomes[cell.key] = future.result()
            notify(Event("ended", cell, outcome=outcomes[cell.key]))
    return outcomes


def _teller(notify: Callable[[Event], None], cell: Cell) -> Callable[[Report], None]:
    return lambda report: notify(Event("progress", cell, report=report))


def _refuse_unmet(waiting: Sequence[Cell]) -> None:
    """A plan never leads here: what waits needs something that is neither done nor to be run."""
    cell = waiting[0]
    raise ValueError(f"{cell.label} needs {', '.join(cell.needs)}, which nobody runs; or they need one another")
