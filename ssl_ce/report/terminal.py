"""Tables on a terminal, of any width: best values bold, what is significant green, intervals shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table, arrange
from ssl_ce.report.verdicts import STAR, Comparisons

_BEST = {"best": "bold green", "second": "underline", None: ""}


def print_table(records: Iterable[Record], console: Console, *, everything: bool = False) -> None:
    """Print the tables of the records. Where the terminal is narrow, intervals stand below their values.

    What was measured over the hole and again over the whole image is shown over the hole, and a last line names the
    rest; `everything` shows both.
    """
    print_tables(arrange(records), console, everything=everything)


def print_tables(tables: Iterable[Table], console: Console, *, everything: bool = False) -> None:
    """As `print_table`, of tables that are arranged already, with their comparisons below them."""
    unshown: dict[str, None] = {}
    for number, table in enumerate(tables):
        blocks = table.blocks if everything else table.brief
        unshown |= dict.fromkeys(metric for metric in table.metrics if not any(metric in block for block in blocks))
        console.print(("\n" if number else "") + table.heading, style="bold", markup=False, highlight=False)
        for block in blocks:
            for grid in _grids(table, block, console):
                console.print(grid)
        _say(console, table.caption)
        if table.compared is not None:
            _print_comparisons(table.compared, console)
    if unshown:
        _say(console, f"Also measured: {', '.join(unshown)}. To see them: ce results show DIR --metrics all")


def _print_comparisons(compared: Comparisons, console: Console) -> None:
    if compared.legend:
        _say(console, compared.legend)
    if not compared.listed:
        return
    if compared.rows:
        console.print(_comparison_grid(compared))
    for note in compared.notes:
        _say(console, note)


def _say(console: Console, line: str) -> None:
    console.print(line, style="dim", markup=False, highlight=False)


def _grids(table: Table, metrics: Sequence[str], console: Console) -> list[RichTable]:
    """One grid of all `metrics` if the console is wide enough, else several of fewer columns."""
    unbounded = console.options.update(max_width=10_000)
    for separator in (" ", "\n"):
        grid = _grid(table, metrics, separator)
        if console.measure(grid, options=unbounded).maximum <= console.width:
            return [grid]
    if len(metrics) == 1:
        return [grid]
    half = (len(metrics) + 1) // 2
    return _grids(table, metrics[:half], console) + _grids(table, metrics[half:], console)


def _grid(table: Table, metrics: Sequence[str], separator: str) -> RichTable:
    grid = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("subject", overflow="fold")
    for head in (*table.extras, *map(table.column, metrics)):
        # Where intervals stand below values, units stand below names.
        grid.add_column(Text(head.replace(" (", f"{separator}(")), justify="right")
    for record in table.records:
        cells = [Text(record.subject.name), *map(Text, table.extras_of(record))]
        for metric in metrics:
            value, interval = table.cell(record, metric)
            shown = Text(value, style=_BEST[table.rank(record, metric)])
            shown += Text(STAR * table.is_marked(record, metric))
            cells.append(shown + Text(separator + interval, style="dim") if interval else shown)
        grid.add_row(*cells)
    return grid


def _comparison_grid(compared: Comparisons) -> RichTable:
    grid = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(compared.heads):
        grid.add_column(head, justify="right" if number else "left", overflow="fold")
    for line in compared.lines():
        cells = [Text(text) for text in line.cells]
        if line.significant:
            cells[compared.heads.index("p (Holm)") - 1].stylize("bold green")
        grid.add_row(Text(f"{line.subject} − {line.baseline}"), *cells)
    return grid
