"""A suite from its plan to its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ssl_ce.errors import Stopped, UserError
from ssl_ce.files import write_text
from ssl_ce.locks import alone
from ssl_ce.pretraining.conditions import stop_signals
from ssl_ce.records.store import RecordStore
from ssl_ce.suites.cells import Cell, EvaluationCell, Plan
from ssl_ce.suites.executor import Executor, Outcome
from ssl_ce.suites.measured import Findings, find, suite_sheets
from ssl_ce.suites.page import failures, keep_trace, write_page
from ssl_ce.suites.published import published_sheets
from ssl_ce.suites.schedule import Event, run_cells
from ssl_ce.suites.sheets import Sheet
from ssl_ce.suites.status import State
from ssl_ce.suites.suite import dump_suite


@dataclass(frozen=True)
class Finished:
    """What came of a suite: its tables, the lines of what failed, and the files that hold all this."""

    findings: Findings
    sheets: list[Sheet]
    beside: list[Sheet]
    failed: list[str]
    paths: list[Path]


def choose(plan: Plan, pattern: str | None) -> list[Cell]:
    """The cells of the pretrainings whose name ("vae-*", "vae-500-s0") matches, and of subjects that need none.

    Raises
    ------
    UserError
        If no pretraining matches.
    """
    if pattern is None:
        return list(plan.cells)
    chosen = {
        cell.key for cell in plan.pretrainings if fnmatchcase(cell.name, pattern) or fnmatchcase(cell.key, pattern)
    }
    if not chosen:
        names = ", ".join(dict.fromkeys(cell.name for cell in plan.pretrainings)) or "none"
        raise UserError(f"--only {pattern} matches no pretraining of {plan.suite.name}. Their names: {names}.")
    return [cell for cell in plan.cells if (set(cell.needs) or {cell.key}) <= chosen or _is_free(cell)]


def run_suite(
    plan: Plan,
    cells: Sequence[Cell],
    states: dict[str, State],
    executor: Executor,
    notify: Callable[[Event], None],
) -> dict[str, Outcome]:
    """Run those of `cells` that are not done; returns their outcomes. Tracebacks of failed ones are kept.

    Raises
    ------
    UserError
        If another process runs a suite with these results or runs.
    Stopped
        On SIGINT or SIGTERM, after the running cells have saved and stopped.
    """
    done = {key for key, state in states.items() if state.kind == "done"}
    waiting = [cell for cell in cells if cell.key not in done]
    with _alone(plan.results), _alone(plan.runs), stop_signals() as stop:
        write_text(plan.results / "suite.yaml", dump_suite(plan.suite))
        outcomes = run_cells(waiting, executor, finished=done, notify=notify, stopping=lambda: bool(stop))
    by_key = {cell.key: cell for cell in waiting}
    for key, outcome in outcomes.items():
        if outcome.trace:
            path = keep_trace(plan.results, by_key[key], outcome.trace)
            outcomes[key] = replace(outcome, message=f"{outcome.message} ({path})")
        elif outcome.status == "stopped" and not stop:
            outcomes[key] = replace(outcome, status="failed", message="was stopped by somebody else")
    if stop and any(key not in outcomes or outcomes[key].status == "stopped" for key in by_key):
        count = sum(outcome.status == "done" for outcome in outcomes.values())
        raise Stopped(f"Stopped after saving: {count} of {len(waiting)} cells were done. Go on with the same command.")
    return outcomes


def finish(plan: Plan, outcomes: dict[str, Outcome]) -> Finished:
    """The tables of what was measured, now and before, written beside the records."""
    findings = find(plan, RecordStore(plan.results).records())
    sheets, beside = suite_sheets(findings), published_sheets(findings)
    paths = write_page(findings, sheets, beside, outcomes)
    return Finished(findings, sheets, beside, failures(plan, outcomes), paths)


def _alone(folder: Path) -> AbstractContextManager[None]:
    """Nobody else runs a suite into `folder` meanwhile: two would begin the same cells."""
    return alone(
        folder,
        lambda who: (
            f"Another ce benchmark is at work in {folder} ({who}). Wait for it, or take other --results and --runs."
        ),
    )


def _is_free(cell: Cell) -> bool:
    return isinstance(cell, EvaluationCell) and not cell.needs
