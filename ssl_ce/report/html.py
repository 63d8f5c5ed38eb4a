"""Tables as one self-contained HTML page: plain tables, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table
from ssl_ce.report.verdicts import STAR

_STYLE = """
body { font-family: sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
section { overflow-x: auto; }
table { border-collapse: collapse; border-bottom: 2px solid; border-top: 2px solid; margin: 1rem 0; }
th, td { padding: 0.2rem 0.7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 1px solid; }
small, p { color: #555; }
"""


def html_page(tables: Sequence[Table]) -> str:
    """A page with one section for each table, its comparisons below it."""
    body = "\n".join(map(_section, tables))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1" />\n'
        f"<title>Results</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _section(table: Table) -> str:
    parts = [f"<h2>{escape(table.heading)}</h2>", *(_block(table, block) for block in table.blocks)]
    parts.append(f"<p>{escape(table.caption)}.</p>")
    if (compared := table.compared) is not None:
        parts += [f"<p>{escape(compared.legend)}</p>"] * bool(compared.legend)
        if compared.listed and compared.rows:
            who = (f"{_code(line.subject)} − {_code(line.baseline)}" for line in compared.lines())
            cells = (map(escape, line.cells) for line in compared.lines())
            parts.append(_table(compared.heads, [[one, *rest] for one, rest in zip(who, cells, strict=True)]))
        parts += [f"<p>{escape(note)}</p>" for note in compared.notes if compared.listed]
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _block(table: Table, metrics: Sequence[str]) -> str:
    rows = [
        [
            _code(record.subject.name),
            *map(escape, table.extras_of(record)),
            *(_cell(table, record, metric) for metric in metrics),
        ]
        for record in table.records
    ]
    return _table(["subject", *table.extras, *map(table.column, metrics)], rows)


def _cell(table: Table, record: Record, metric: str) -> str:
    value, interval = map(escape, table.cell(record, metric))
    rank = table.rank(record, metric)
    text = {"best": f"<b>{value}</b>", "second": f"<u>{value}</u>", None: value}[rank]
    text += STAR * table.is_marked(record, metric)
    return f"{text} <small>{interval}</small>" if interval else text


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """`heads` as text, `rows` as HTML."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
