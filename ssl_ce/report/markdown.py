"""Tables as Markdown: the best value of a column bold, the second underlined where it is told."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table
from ssl_ce.report.verdicts import STAR


def markdown_table(table: Table) -> str:
    """One table under its heading, with its caption and its comparisons below."""
    blocks = [_pipes(_block(table, block)) for block in table.blocks]
    parts = [f"### {table.heading}", *blocks, f"{table.caption}."]
    if (compared := table.compared) is not None:
        parts += [compared.legend] * bool(compared.legend)
        if compared.listed and compared.rows:
            rows = [[f"{_code(line.subject)} − {_code(line.baseline)}", *line.cells] for line in compared.lines()]
            parts.append(_pipes([list(compared.heads), *rows]))
        parts += [" ".join(compared.notes)] * (compared.listed and bool(compared.notes))
    return "\n\n".join(parts)


def _block(table: Table, metrics: Sequence[str]) -> list[list[str]]:
    rows = [["subject", *table.extras, *map(table.column, metrics)]]
    for record in table.records:
        cells = (_cell(table, record, metric) for metric in metrics)
        rows.append([_code(record.subject.name), *table.extras_of(record), *cells])
    return rows


def _cell(table: Table, record: Record, metric: str) -> str:
    value, interval = table.cell(record, metric)
    rank = table.rank(record, metric)
    text = {"best": f"**{value}**", "second": f"<u>{value}</u>", None: value}[rank]
    return f"{text}{STAR * table.is_marked(record, metric)} {interval}".rstrip()


def _pipes(rows: list[list[str]]) -> str:
    """A pipe table, padded to read well as plain text; all columns but the first are right-aligned."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[rows[0][0].ljust(widths[0]), *map(str.rjust, rows[0][1:], widths[1:])]]
    lines.append(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines += [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"
