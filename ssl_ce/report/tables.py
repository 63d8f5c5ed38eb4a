"""Tables from records: Markdown, LaTeX, CSV, JSON and the terminal. Best values bold, intervals shown."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ssl_ce.records.record import Record
from ssl_ce.report.comparisons import Comparison
from ssl_ce.report.layout import Table, arrange
from ssl_ce.report.units import show_p, unit_of

Format = Literal["md", "csv", "json", "latex"]
Comparisons = Sequence[Comparison]

COMPARISON_COLUMNS = ("compared", "difference", "p", "p (Holm)")


def results_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record: who, on what, and for each metric `accuracy`, `accuracy_low` and `accuracy_high`."""
    rows = []
    for record in records:
        row = _who(record)
        for name, metric in record.metrics.items():
            row |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
        rows.append(row)
    return pd.DataFrame(rows)


def tidy_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each metric of each record, with `value`, `low` and `high` in full precision."""
    rows = [
        _who(record)
        | {"metric": name, "value": metric.value, "low": metric.low, "high": metric.high}
        | {"spread": metric.spread, "higher_is_better": metric.higher_is_better}
        for record in records
        for name, metric in record.metrics.items()
    ]
    return pd.DataFrame(rows)


def render(records: Iterable[Record], format: Format, comparisons: Comparisons = ()) -> str:
    """The records as text that ends in a newline.

    `md` and `latex` hold one table for each protocol, image set and variant, with its comparisons below it;
    `csv` is the tidy frame and `json` a list of `Record.flat()` objects (what is not finite is null), both
    without comparisons.
    """
    return _RENDERERS[format](list(records), comparisons)


def print_table(
    records: Iterable[Record], console: Console, comparisons: Comparisons = (), *, everything: bool = False
) -> None:
    """Print the tables of the records. Where the terminal is narrow, intervals stand below their values.

    What was measured over the hole and again over the whole image is shown over the hole, and a last line names the
    rest; `everything` shows both.
    """
    print_tables(arrange(records), console, comparisons, everything=everything)


def print_tables(
    tables: Iterable[Table], console: Console, comparisons: Comparisons = (), *, everything: bool = False
) -> None:
    """As `print_table`, of tables that are arranged already."""
    unshown: dict[str, None] = {}
    for number, table in enumerate(tables):
        blocks = table.blocks if everything else table.brief
        unshown |= dict.fromkeys(metric for metric in table.metrics if not any(metric in block for block in blocks))
        console.print(("\n" if number else "") + table.heading, style="bold", markup=False, highlight=False)
        for block in blocks:
            for grid in _grids(table, block, console):
                console.print(grid)
        console.print(table.caption, style="dim", markup=False, highlight=False)
        if below := _of(table, comparisons):
            console.print(_rich_comparisons(below))
            console.print(_test_note(below), style="dim", markup=False, highlight=False)
    if unshown:
        also = f"Also measured: {', '.join(unshown)}. To see them: ce results show DIR --metrics all"
        console.print(also, style="dim", markup=False, highlight=False)


def _who(record: Record) -> dict[str, Any]:
    return {
        "protocol": record.protocol,
        "dataset": record.dataset.name,
        "split": record.dataset.split,
        "variant": ", ".join(f"{name}={value}" for name, value in record.variant.items()),
        "subject": record.subject.name,
        "n": record.dataset.n,
        "seed": record.seed,
        "id": record.id,
        "cell": record.cell,
    }


def _of(table: Table, comparisons: Comparisons) -> list[Comparison]:
    return [comparison for comparison in comparisons if comparison.table == table.key]


def _difference(comparison: Comparison) -> str:
    """A difference of percentages is in points, not in percent of anything."""
    unit = unit_of(comparison.metric)
    symbol = "points" if unit.symbol == "%" else unit.symbol
    return f"{comparison.metric} {unit.show(comparison.difference, signed=True)} {symbol}".rstrip()


def _test_note(comparisons: Comparisons) -> str:
    tests = ", ".join(dict.fromkeys(comparison.test for comparison in comparisons))
    return f"Two-sided {tests}; p (Holm) is adjusted for these {len(comparisons)} comparisons."


# Markdown


def _markdown(records: list[Record], comparisons: Comparisons) -> str:
    return "\n\n".join(markdown_table(table, _of(table, comparisons)) for table in arrange(records)) + "\n"


def markdown_table(table: Table, comparisons: Comparisons = ()) -> str:
    """One table as Markdown, under its heading, with its caption and its comparisons below."""
    blocks = [_markdown_rows(_markdown_block(table, block)) for block in table.blocks]
    parts = [f"### {table.heading}", *blocks, f"{table.caption}."]
    if comparisons:
        below = [list(COMPARISON_COLUMNS)]
        for comparison in comparisons:
            who = f"{_code(comparison.subject)} − {_code(comparison.baseline)}"
            below.append([who, _difference(comparison), show_p(comparison.p), show_p(comparison.p_adjusted)])
        parts += [_markdown_rows(below), _test_note(comparisons)]
    return "\n\n".join(parts)


def _markdown_block(table: Table, metrics: Sequence[str]) -> list[list[str]]:
    rows = [["subject", *table.extras, *map(table.column, metrics)]]
    for record in table.records:
        rows.append([_code(record.subject.name), *table.extras_of(record)])
        for metric in metrics:
            value, interval = table.cell(record, metric)
            rows[-1].append(f"{f'**{value}**' if table.is_best(record, metric) else value} {interval}".rstrip())
    return rows


def _markdown_rows(rows: list[list[str]]) -> str:
    """A pipe table, padded to read well as plain text; all columns but the first are right-aligned."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[rows[0][0].ljust(widths[0]), *map(str.rjust, rows[0][1:], widths[1:])]]
    lines.append(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines += [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


# LaTeX


def _latex(records: list[Record], comparisons: Comparisons) -> str:
    parts = ["% Needs \\usepackage{booktabs}"]
    for table in arrange(records):
        parts += [_latex_table(table, block) for block in table.blocks]
        if below := _of(table, comparisons):
            parts.append(_latex_comparisons(table, below))
    return "\n\n".join(parts) + "\n"


def _latex_table(table: Table, metrics: Sequence[str]) -> str:
    rows = []
    for record in table.records:
        row = {"subject": f"\\texttt{{{_escape(record.subject.name)}}}"}
        row |= dict(zip(table.extras, map(_escape, table.extras_of(record)), strict=True))
        for metric in metrics:
            value, interval = map(_escape, table.cell(record, metric))
            bold = f"\\textbf{{{value}}}" if table.is_best(record, metric) else value
            row[_escape(table.column(metric))] = f"{bold} {{\\small {interval}}}" if interval else bold
        rows.append(row)
    return _booktabs(rows, f"{table.heading} ({table.caption}).")


def _latex_comparisons(table: Table, comparisons: Comparisons) -> str:
    rows = []
    for comparison in comparisons:
        who = " $-$ ".join(f"\\texttt{{{_escape(name)}}}" for name in (comparison.subject, comparison.baseline))
        numbers = (_difference(comparison), show_p(comparison.p), show_p(comparison.p_adjusted))
        rows.append(dict(zip(COMPARISON_COLUMNS, (who, *map(_escape, numbers)), strict=True)))
    return _booktabs(rows, f"{table.heading}. {_test_note(comparisons)}")


def _booktabs(rows: list[dict[str, str]], caption: str) -> str:
    frame = pd.DataFrame(rows)
    text = frame.to_latex(
        index=False,
        escape=False,
        column_format="l" + "r" * (len(frame.columns) - 1),
        caption=_escape(caption),
        position="ht",
    )
    return str(text).replace("\\begin{table}[ht]", "\\begin{table}[ht]\n\\centering", 1).strip()


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "$<$",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
    "∞": "$\\infty$",
    "−": "$-$",
    "–": "--",
    "·": "$\\cdot$",
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


# CSV and JSON


def _csv(records: list[Record], comparisons: Comparisons) -> str:
    return str(tidy_frame(records).to_csv(index=False, lineterminator="\n"))


def _json(records: list[Record], comparisons: Comparisons) -> str:
    return json.dumps([_finite(record.flat()) for record in records], indent=2, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_RENDERERS: dict[str, Callable[[list[Record], Comparisons], str]] = {
    "md": _markdown,
    "csv": _csv,
    "json": _json,
    "latex": _latex,
}


# The terminal


def _grids(table: Table, metrics: Sequence[str], console: Console) -> list[RichTable]:
    """One grid of all `metrics` if the console is wide enough, else several of fewer columns."""
    unbounded = console.options.update(max_width=10_000)
    for separator in (" ", "\n"):
        grid = _rich_table(table, metrics, separator)
        if console.measure(grid, options=unbounded).maximum <= console.width:
            return [grid]
    if len(metrics) == 1:
        return [grid]
    half = (len(metrics) + 1) // 2
    return _grids(table, metrics[:half], console) + _grids(table, metrics[half:], console)


def _rich_table(table: Table, metrics: Sequence[str], separator: str) -> RichTable:
    grid = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("subject", overflow="fold")
    for head in (*table.extras, *map(table.column, metrics)):
        # Where intervals stand below values, units stand below names.
        grid.add_column(Text(head.replace(" (", f"{separator}(")), justify="right")
    for record in table.records:
        cells = [Text(record.subject.name), *map(Text, table.extras_of(record))]
        for metric in metrics:
            value, interval = table.cell(record, metric)
            best = Text(value, style="bold green" if table.is_best(record, metric) else "")
            cells.append(best + Text(separator + interval, style="dim") if interval else best)
        grid.add_row(*cells)
    return grid


def _rich_comparisons(comparisons: Comparisons) -> RichTable:
    grid = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(COMPARISON_COLUMNS):
        grid.add_column(head, justify="right" if number else "left", overflow="fold")
    for comparison in comparisons:
        who = Text(f"{comparison.subject} − {comparison.baseline}")
        style = "bold green" if comparison.p_adjusted < 0.05 else ""
        p, adjusted = show_p(comparison.p), Text(show_p(comparison.p_adjusted), style=style)
        grid.add_row(who, _difference(comparison), p, adjusted)
    return grid
