"""Published tables beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import combinations

from ssl_ce.errors import UserError, unknown
from ssl_ce.evaluators import evaluators
from ssl_ce.records.record import Record
from ssl_ce.report.units import MISSING, unit_of
from ssl_ce.suites.cells import EvaluationCell, Plan
from ssl_ce.suites.measured import SPREADS, Findings, row_name, show, spread_of
from ssl_ce.suites.sheets import Sheet
from ssl_ce.suites.suite import PublishedRow, PublishedTable

SPLITS = ("train", "test")


def check_tables(plan: Plan) -> None:
    """Raise `UserError` for a published row that nothing in the suite measures, or several things do."""
    names = list(dict.fromkeys(cell.name for cell in plan.pretrainings))
    for table in plan.suite.tables:
        metrics = evaluators.get(table.evaluator).metrics
        if not any(fnmatchcase(table.metric, known) for known in metrics):
            what = f"metric of {table.evaluator}"
            raise UserError(
                f"In suite {plan.suite.name}, table '{table.title}': {unknown(what, table.metric, metrics)}"
            )
        if len({row.label for row in table.rows}) < len(table.rows):
            raise UserError(f"In suite {plan.suite.name}, table '{table.title}': two rows have one label.")
        for row, split in _places(table):
            where = f"In suite {plan.suite.name}, table '{table.title}', row '{row.label}'"
            if row.run is not None and row.run not in names:
                raise UserError(f"{where}: {unknown('pretraining', row.run, names)}")
            cells = _cells(plan, table, row, split)
            _check_holes(where, table, cells)
            subjects = {row_name(plan, cell) for cell in cells}
            if not subjects:
                raise UserError(f"{where}: no {table.evaluator} of the suite on {split} images measures it.")
            if len(subjects) > 1:
                named = ", ".join(sorted(subjects))
                raise UserError(f"{where}: several subjects are measured ({named}). Say which with 'subject'.")


def _check_holes(where: str, table: PublishedTable, cells: list[EvaluationCell]) -> None:
    """An evaluator of fills leaves a record for each strategy: the table must mean one of them."""
    wanted = table.variant.get("holes")
    for cell in cells:
        known = [str(name) for name in cell.config.get("holes") or ()]
        if wanted is not None and wanted not in known:
            raise UserError(f"{where}: {unknown('kind of holes that is measured', wanted, known)}")
        if wanted is None and len(known) > 1:
            raise UserError(
                f"{where}: it is measured under several holes ({', '.join(known)}). Say which, as in variant: "
                f"{{holes: {known[0]}}}."
            )


def published_sheets(findings: Findings) -> list[Sheet]:
    """Each published table with the measured numbers in it, and what may be concluded from the two."""
    return [_sheet(findings, table) for table in findings.plan.suite.tables]


def _sheet(findings: Findings, table: PublishedTable) -> Sheet:
    splits = [split for split in SPLITS if any(split in row.published for row in table.rows)]
    symbol = unit_of(table.metric).symbol
    metric = f"{table.metric} ({symbol})" if symbol else table.metric
    header = ["", *(f"{who}, {split}" for split in splits for who in ("published", f"measured {metric}")), "spread"]
    rows: list[tuple[str, ...]] = []
    measured: dict[str, dict[str, float]] = {split: {} for split in splits}
    published: dict[str, dict[str, float]] = {split: {} for split in splits}
    absent: list[str] = []
    ambiguous = False
    for row in table.rows:
        texts, spread = [row.label], ""
        for split in splits:
            if split not in row.published:
                texts += [MISSING, MISSING]
                continue
            records, expected, several = _records(findings, table, row, split)
            ambiguous = ambiguous or several
            texts += [f"{row.published[split]:g}", show(records, table.metric)]
            spread = spread_of(records, table.metric, expected) or spread
            values = [record.metrics[table.metric].value for record in records if table.metric in record.metrics]
            if values:
                published[split][row.label] = row.published[split]
                measured[split][row.label] = statistics.fmean(values)
            if len(values) < expected:
                absent.append(f"{row.label} ({split}: {len(values)} of {expected})")
        rows.append((*texts, spread))
    notes = [SPREADS, f"Published: {table.source}; {table.unit}. {table.better.capitalize()} is better."]
    if table.compare == "order":
        notes.append("The two columns differ in scale and protocol, so only the order of the rows is compared.")
        notes += [_order(split, published[split], measured[split], table.better) for split in splits]
    if ambiguous:
        notes.append("Several records match a row: say which in the suite's table, as in 'variant: {holes: center}'.")
    if absent:
        notes.append(f"Missing, not run or failed: {'; '.join(absent)}.")
    return Sheet(table.title, tuple(header), tuple(rows), tuple(notes))


def _order(split: str, published: Mapping[str, float], measured: Mapping[str, float], better: str) -> str:
    """Both orders, best first, and in how many pairs of rows they agree."""
    if len(measured) < 2:
        return f"Order ({split}): too few rows are measured to compare."
    best_first = {
        who: " > ".join(sorted(values, key=lambda label: values[label] * (1 if better == "lower" else -1)))
        for who, values in (("published", published), ("measured", measured))
    }
    pairs = [(a, b) for a, b in combinations(published, 2) if published[a] != published[b]]
    same = sum((published[a] < published[b]) == (measured[a] < measured[b]) for a, b in pairs)
    verdict = "the same order" if same == len(pairs) else f"{same} of {len(pairs)} pairs in the same order"
    orders = "; ".join(f"{who} {order}" for who, order in best_first.items())
    return f"Order ({split}, best first): {orders}: {verdict}."


def _records(
    findings: Findings, table: PublishedTable, row: PublishedRow, split: str
) -> tuple[list[Record], int, bool]:
    """The records that stand beside a number, one for each seed; how many there should be; and if they are too many."""
    found: dict[tuple[str | None, int | None], list[Record]] = {}
    for cell in _cells(findings.plan, table, row, split):
        records = findings.records.get(cell.hash, ())
        matching = [record for record in records if table.variant.items() <= record.variant.items()]
        found.setdefault((cell.pretraining, cell.run_seed), []).extend(matching)
    if any(len(records) > 1 for records in found.values()):
        return [], len(found), True
    return [records[0] for records in found.values() if records], len(found), False


def _cells(plan: Plan, table: PublishedTable, row: PublishedRow, split: str) -> list[EvaluationCell]:
    """The cells that measure `row`: of its subject, or all that are asked for (no floors) of its pretraining."""
    found = []
    for cell in plan.evaluations:
        if cell.evaluator != table.evaluator or cell.sets.split != split:
            continue
        if row.run is not None and cell.pretraining != row.run:
            continue
        if row.subject is None:
            if not cell.floor:
                found.append(cell)
        elif row.subject.replace("{run}", row.run or "{run}") in (cell.reference, cell.subject, row_name(plan, cell)):
            found.append(cell)
    return found


def _places(table: PublishedTable) -> Iterator[tuple[PublishedRow, str]]:
    for row in table.rows:
        for split in row.published:
            yield row, split
