"""Published tables beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations

from ssl_ce.errors import UserError, unknown
from ssl_ce.evaluators import evaluators
from ssl_ce.records.record import Record
from ssl_ce.report.units import MISSING, unit_of
from ssl_ce.suites.cells import EvaluationCell, Plan
from ssl_ce.suites.measured import SPREADS, Findings, row_name, show, spread_of
from ssl_ce.suites.sheets import Sheet
from ssl_ce.suites.tables import PublishedRow, PublishedTable

_ORDERS_ONLY = (
    "Published and measured numbers differ in images, protocol or both: nothing is subtracted, only the order of the "
    "rows is compared."
)
_ALSO_MEASURED = "Rows without a published number stand in the measured order only."


def check_tables(plan: Plan) -> None:
    """Raise `UserError` for a published row that nothing in the suite measures, or several things do."""
    names = list(dict.fromkeys(cell.name for cell in plan.pretrainings))
    for table in plan.suite.tables:
        title = f"In suite {plan.suite.name}, table '{table.title}'"
        if len({row.label for row in table.rows}) < len(table.rows):
            raise UserError(f"{title}: two rows have one label.")
        for row in table.rows:
            where = f"{title}, row '{row.label}'"
            _check_metrics(title, table, row)
            if row.run is not None and row.run not in names:
                raise UserError(f"{where}: {unknown('pretraining', row.run, names)}")
            measured = {name: _cells(plan, table, row, name) for name in table.columns}
            for name in row.published or table.columns:
                if not measured[name] and (row.published or not any(measured.values())):
                    split = table.columns[name].split
                    raise UserError(f"{where}: no {table.protocol(row)} of the suite on {split} images measures it.")
            for cells in measured.values():
                _check_holes(where, table, cells)
                subjects = {row_name(plan, cell) for cell in cells}
                if len(subjects) > 1:
                    named = ", ".join(sorted(subjects))
                    raise UserError(f"{where}: several subjects are measured ({named}). Say which with 'subject'.")


def _check_metrics(where: str, table: PublishedTable, row: PublishedRow) -> None:
    known = evaluators.get(table.protocol(row)).metrics
    for name in table.columns:
        if not any(fnmatchcase(table.metric(name), pattern) for pattern in known):
            raise UserError(f"{where}: {unknown(f'metric of {table.protocol(row)}', table.metric(name), known)}")


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


@dataclass(frozen=True)
class _Measured:
    """What stands beside one number: a record for each seed, how many there should be, and if they are too many."""

    records: Sequence[Record]
    expected: int
    ambiguous: bool = False


def _sheet(findings: Findings, table: PublishedTable) -> Sheet:
    measured = {(row.label, name): _find(findings, table, row, name) for row in table.rows for name in table.columns}
    rows: list[tuple[str, ...]] = []
    absent: list[str] = []
    for row in table.rows:
        texts, spreads = [row.label], []
        for name in table.columns:
            found, metric = measured[row.label, name], table.metric(name)
            texts += [_printed(table, row, name), show(found.records, metric)]
            spreads.append(spread_of(found.records, metric, found.expected))
            count = len(_values(found, metric))
            if count < found.expected:
                absent.append(f"{row.label} ({name}: {count} of {found.expected})")
        rows.append((*texts, "; ".join(filter(None, dict.fromkeys(spreads)))))
    notes = [SPREADS, f"Published: {table.source}. {_units(table)}"]
    if table.note:
        notes.append(table.note)
    if table.compare == "order":
        notes.append(f"{_ORDERS_ONLY} {'' if all(row.published for row in table.rows) else _ALSO_MEASURED}".strip())
        notes += [_order(table, name, measured) for name in table.columns]
    if any(found.ambiguous for found in measured.values()):
        notes.append("Several records match a row: say which in the suite's table, as in 'variant: {holes: center}'.")
    if absent:
        notes.append(f"Missing, not run or failed: {'; '.join(absent)}.")
    return Sheet(table.title, ("", *_header(table), "spread"), tuple(rows), tuple(notes), together=2)


def _header(table: PublishedTable) -> list[str]:
    """Two headings for each column: "published l1 (%)", "measured l1 (%)"; one with a name of its own ends in it."""
    header = []
    for name, column in table.columns.items():
        metric = table.metric(name)
        symbol = unit_of(metric).symbol
        shown = f"{metric} ({symbol})" if symbol else metric
        if name != metric:
            header += [f"published, {name}", f"measured {shown}, {name}"]
        else:
            header += [f"published {shown if column.unit == symbol else metric}", f"measured {shown}"]
    return header


def _units(table: PublishedTable) -> str:
    """Unit and direction of the published numbers, columns that share them together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, column in table.columns.items():
        groups.setdefault((column.unit, column.better), []).append(name)
    return " ".join(f"{', '.join(names)}: {unit}; {better} is better." for (unit, better), names in groups.items())


def _printed(table: PublishedTable, row: PublishedRow, name: str) -> str:
    """The published numbers of a row, with the measured ones' decimals where they are in the same unit."""
    unit = unit_of(table.metric(name))
    form = f".{unit.decimals}f" if table.columns[name].unit == unit.symbol else "g"
    return " or ".join(f"{value:{form}}" for value in row.published.get(name, ())) or MISSING


def _order(table: PublishedTable, name: str, found: Mapping[tuple[str, str], _Measured]) -> str:
    """Both orders, best first, and in how many pairs of published rows they agree."""
    sign = 1 if table.columns[name].better == "lower" else -1
    measured: dict[str, float] = {}
    published: dict[str, list[float]] = {}
    for row in table.rows:
        if values := _values(found[row.label, name], table.metric(name)):
            measured[row.label] = sign * statistics.fmean(values)
            if name in row.published:
                published[row.label] = [sign * value for value in row.published[name]]
    different = [(a, b) for a, b in combinations(published, 2) if sorted(published[a]) != sorted(published[b])]
    pairs = [(a, b) for a, b in different if _before(published[a], published[b]) or _before(published[b], published[a])]
    if not pairs:
        return f"Order ({name}): too few rows are measured to compare."
    same = sum(
        measured[a] < measured[b] if _before(published[a], published[b]) else measured[b] < measured[a]
        for a, b in pairs
    )
    verdict = "the same order" if same == len(pairs) else f"{same} of {len(pairs)} pairs in the same order"
    undecided = len(different) - len(pairs)
    left_out = f" (pairs left out because printings differ: {undecided})" if undecided else ""
    orders = (
        f"published {' > '.join(sorted(published, key=lambda label: statistics.fmean(published[label])))}",
        f"measured {' > '.join(sorted(measured, key=lambda label: measured[label]))}",
    )
    return f"Order ({name}, best first): {'; '.join(orders)}: {verdict}{left_out}."


def _before(first: Sequence[float], then: Sequence[float]) -> bool:
    """Whether every printing of the one is smaller than every printing of the other."""
    return max(first) < min(then)


def _values(found: _Measured, metric: str) -> list[float]:
    return [record.metrics[metric].value for record in found.records if metric in record.metrics]


def _find(findings: Findings, table: PublishedTable, row: PublishedRow, name: str) -> _Measured:
    found: dict[tuple[str | None, int | None], list[Record]] = {}
    for cell in _cells(findings.plan, table, row, name):
        records = findings.records.get(cell.hash, ())
        matching = [record for record in records if table.variant.items() <= record.variant.items()]
        found.setdefault((cell.pretraining, cell.run_seed), []).extend(matching)
    if any(len(records) > 1 for records in found.values()):
        return _Measured((), len(found), ambiguous=True)
    return _Measured([records[0] for records in found.values() if records], len(found))


def _cells(plan: Plan, table: PublishedTable, row: PublishedRow, name: str) -> list[EvaluationCell]:
    """The cells that measure `row`: of its subject, or all that are asked for (no floors) of its pretraining."""
    found = []
    for cell in plan.evaluations:
        if cell.evaluator != table.protocol(row) or cell.sets.split != table.columns[name].split:
            continue
        if row.run is not None and cell.pretraining != row.run:
            continue
        if row.subject is None:
            if not cell.floor:
                found.append(cell)
        elif row.subject.replace("{run}", row.run or "{run}") in (cell.reference, cell.subject, row_name(plan, cell)):
            found.append(cell)
    return found
