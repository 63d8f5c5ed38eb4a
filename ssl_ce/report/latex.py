"""Tables as LaTeX with booktabs, ready for a paper: everything escaped, one caption a table, ASCII alone."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table
from ssl_ce.report.verdicts import Comparisons

PREAMBLE = "% Needs \\usepackage{booktabs}"


def latex_table(table: Table) -> str:
    """One table with its comparisons as another below it; what is measured over whole images is one of its own."""
    parts = [_block(table, block) for block in table.blocks]
    if table.compared is not None and table.compared.listed and table.compared.rows:
        parts.append(_comparisons(table, table.compared))
    return "\n\n".join(parts)


def _block(table: Table, metrics: Sequence[str]) -> str:
    rows = [["subject", *table.extras, *map(table.column, metrics)]]
    rows = [[_escape(text) for text in rows[0]]]
    for record in table.records:
        extras = map(_escape, table.extras_of(record))
        rows.append([_name(record.subject.name), *extras, *(_cell(table, record, metric) for metric in metrics)])
    legend = f" {table.compared.legend}" if table.compared is not None else ""
    return _booktabs(rows, f"{table.heading} ({table.caption}).{legend}".rstrip())


def _cell(table: Table, record: Record, metric: str) -> str:
    value, interval = map(_escape, table.cell(record, metric))
    rank = table.rank(record, metric)
    text = {"best": f"\\textbf{{{value}}}", "second": f"\\underline{{{value}}}", None: value}[rank]
    text += "$^{\\star}$" * table.is_marked(record, metric)
    return f"{text} {{\\small {interval}}}" if interval else text


def _comparisons(table: Table, compared: Comparisons) -> str:
    rows = [[_escape(head) for head in compared.heads]]
    for line in compared.lines():
        rows.append([f"{_name(line.subject)} $-$ {_name(line.baseline)}", *map(_escape, line.cells)])
    return _booktabs(rows, f"{table.heading}. {' '.join(compared.notes)}")


def _booktabs(rows: list[list[str]], caption: str) -> str:
    head, *body = (f"{' & '.join(row)} \\\\" for row in rows)
    return "\n".join(
        (
            "\\begin{table}[ht]",
            "\\centering",
            f"\\caption{{{_escape(caption)}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
            "\\toprule",
            head,
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        )
    )


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
    "∞": "$\\infty$",
    "★": "$\\star$",
    "±": "$\\pm$",
    "−": "$-$",
    "–": "--",
    "·": "$\\cdot$",
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _name(text: str) -> str:
    return f"\\texttt{{{_escape(text)}}}"
