"""What a suite leaves beside its records: `suite.md`, the tables of its records, and why cells failed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssl_ce.files import write_text
from ssl_ce.manifest import command_line
from ssl_ce.report.write import write_report
from ssl_ce.suites.cells import Cell, EvaluationCell, Plan
from ssl_ce.suites.executor import Outcome
from ssl_ce.suites.measured import Findings
from ssl_ce.suites.sheets import Sheet

PAGE = "suite.md"


def write_page(
    findings: Findings, sheets: Sequence[Sheet], beside: Sequence[Sheet], outcomes: Mapping[str, Outcome]
) -> list[Path]:
    """Write `suite.md`, and `table.md` and `table.csv` of the suite's records. Returns their paths."""
    plan = findings.plan
    suite = plan.suite
    parts = [f"# {suite.name}", suite.summary, f"Made by `{command_line()}`; the suite as it ran is in `suite.yaml`."]
    if suite.reproduces:
        parts += ["## Reproduces", suite.reproduces.strip()]
    if failed := failures(plan, outcomes):
        parts += ["## Failed", "\n".join(f"- {line}" for line in failed)]
    if missing := findings.missing():
        parts += ["## Missing", "\n".join(f"- {cell.label}" for cell in missing)]
    parts += ["## Measured", *(sheet.markdown() for sheet in sheets)] if sheets else []
    parts += ["## Published and measured", *(sheet.markdown() for sheet in beside)] if beside else []
    write_text(plan.results / PAGE, "\n\n".join(parts) + "\n")
    records = findings.all()
    return [plan.results / PAGE, *(write_report(plan.results, records) if records else [])]


def failures(plan: Plan, outcomes: Mapping[str, Outcome]) -> list[str]:
    """One line for each cell that failed, with the reason."""
    return [
        f"{cell.label}: {outcomes[cell.key].message}"
        for cell in plan.cells
        if cell.key in outcomes and outcomes[cell.key].status != "done"
    ]


def keep_trace(results: Path, cell: Cell, trace: str) -> Path:
    """Write the traceback of a failed cell into DIR/failures; returns its path."""
    name = f"{cell.evaluator}-{cell.hash}" if isinstance(cell, EvaluationCell) else f"pretrain-{cell.key}"
    path = results / "failures" / f"{re.sub(r'[^A-Za-z0-9._+-]', '_', name)}.txt"
    write_text(path, f"{cell.label}\n\n{trace}")
    return path
