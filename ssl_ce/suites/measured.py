"""The suite's own tables: a row for each pretraining, over its seeds, and for each subject without one."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table, arrange
from ssl_ce.report.units import MISSING, unit_of
from ssl_ce.suites.cells import EvaluationCell, Plan
from ssl_ce.suites.sheets import Sheet
from ssl_ce.suites.status import fresh_records


@dataclass(frozen=True)
class Findings:
    """The records of a suite's cells, and nothing else.

    Attributes
    ----------
    records
        {cell's hash: its records}; a cell that has not run, or must run again, is not there.
    """

    plan: Plan
    records: Mapping[str, Sequence[Record]]

    def all(self) -> list[Record]:
        """Every record, in the suite's order."""
        return [record for cell in self.plan.evaluations for record in self.records.get(cell.hash, ())]

    def missing(self) -> list[EvaluationCell]:
        """The cells without records."""
        return [cell for cell in self.plan.evaluations if cell.hash not in self.records]


def find(plan: Plan, records: Iterable[Record]) -> Findings:
    """The records that belong to `plan`, among all that a store holds."""
    of_cell: dict[str, list[Record]] = {}
    for record in records:
        of_cell.setdefault(record.cell, []).append(record)
    made = {cell.key: cell for cell in plan.pretrainings}
    found = {}
    for cell in plan.evaluations:
        fresh = fresh_records(cell, of_cell.get(cell.hash, ()), [made[key] for key in cell.needs])
        if fresh:
            found[cell.hash] = tuple(fresh.values())
    return Findings(plan, found)


def suite_sheets(findings: Findings) -> list[Sheet]:
    """One table for each protocol, image set and variant; what is measured over whole images in one of its own."""
    cells = {cell.hash: cell for cell in findings.plan.evaluations}
    return [_sheet(findings, table, block, cells) for table in arrange(findings.all()) for block in table.blocks]


def row_name(plan: Plan, cell: EvaluationCell) -> str:
    """The subject with its pretraining's name in the place of the run's path: "context-encoder@conv2"."""
    for made in plan.pretrainings:
        if made.key in cell.needs:
            return cell.subject.replace(made.path.as_posix(), made.name)
    return cell.subject


SPREADS = (
    "±: standard deviation over pretraining seeds, all judged on the same images. [ ]: 95 % interval over images, "
    "of one network."
)


def spread_of(records: Sequence[Record], metric: str, seeds: int) -> str:
    """What the spread in a row is over; never both at once."""
    if len(records) > 1:
        some = "" if len(records) == seeds else f" (of {seeds})"
        return f"± {len(records)} seeds{some}"
    found = records[0].metrics.get(metric) if records else None
    some = f"1 of {seeds} seeds" if seeds > 1 and records else ""
    interval = "[ ] images" if found is not None and found.low is not None else ""
    return "; ".join(filter(None, (some, interval)))


def show(records: Sequence[Record], metric: str) -> str:
    """A metric of one record with its interval, or of several seeds with its standard deviation."""
    values = [record.metrics[metric].value for record in records if metric in record.metrics]
    unit = unit_of(metric)
    if not values:
        return MISSING
    if len(values) > 1:
        finite = all(map(math.isfinite, values))
        spread = unit.show(statistics.stdev(values)) if finite else MISSING
        return f"{unit.show(statistics.fmean(values))} ± {spread}"
    found = records[0].metrics[metric]
    if found.low is None or found.high is None:
        return unit.show(found.value)
    return f"{unit.show(found.value)} [{unit.show(found.low)}, {unit.show(found.high)}]"


def _sheet(findings: Findings, table: Table, metrics: Sequence[str], cells: Mapping[str, EvaluationCell]) -> Sheet:
    """One row a name; the cells that the table lacks are rows too, without numbers."""
    plan = findings.plan
    kind = _kind(cells[table.records[0].cell])
    here = {record.cell: record for record in table.records}
    rows: dict[str, list[EvaluationCell]] = {}
    for cell in sorted(plan.evaluations, key=lambda one: one.floor):
        if _kind(cell) == kind and (cell.hash in here or cell.hash not in findings.records):
            rows.setdefault(row_name(plan, cell), []).append(cell)
    texts = []
    for name, ours in rows.items():
        found = [here[cell.hash] for cell in ours if cell.hash in here]
        spread = spread_of(found, metrics[0], len(ours))
        numbers = (show(found, metric) for metric in metrics)
        texts.append((name, *numbers, spread if found else "not measured"))
    return Sheet(
        table.heading if metrics == table.blocks[0] else f"{table.heading} · over the whole image",
        ("subject", *map(table.column, metrics), "spread"),
        tuple(texts),
        (f"{table.caption}.", SPREADS),
    )


def _kind(cell: EvaluationCell) -> str:
    """Cells of one kind stand in one table."""
    return json.dumps([cell.protocol, cell.config, str(cell.sets), cell.seed], sort_keys=True)
