"""Tables on a terminal, of any width: best values bold, what is significant green, intervals shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console

from ssl_ce.errors import visible
from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table, arrange
from ssl_ce.report.terminal_grid import Cell, Grid
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
        heading = visible(table.heading)
        console.print(("\n" if number else "") + heading, style="bold", markup=False, highlight=False)
        for block in blocks:
            for grid in _grids(table, block, console):
                grid.print(console)
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
        _comparison_grid(compared).print(console)
    for note in compared.notes:
        _say(console, note)


def _say(console: Console, line: str) -> None:
    console.print(visible(line), style="dim", markup=False, highlight=False)


def _grids(table: Table, metrics: Sequence[str], console: Console) -> list[Grid]:
    """One grid of all `metrics` if the console is wide enough, else several of fewer columns."""
    for stacked in (False, True):
        grid = _grid(table, metrics, stacked=stacked)
        if grid.width <= console.width:
            return [grid]
    if len(metrics) == 1:
        return [grid]
    half = (len(metrics) + 1) // 2
    return _grids(table, metrics[:half], console) + _grids(table, metrics[half:], console)


def _grid(table: Table, metrics: Sequence[str], *, stacked: bool) -> Grid:
    """Where intervals stand below values, units stand below names."""
    names = [name.partition(" (") for name in map(table.column, metrics)]
    heads: list[Cell] = [(("subject", ""),), *(((extra, ""),) for extra in table.extras)]
    heads += [((name, ""), (f"({unit}", "")) if unit else ((name, ""),) for name, _, unit in names]
    rows = []
    for record in table.records:
        cells: list[Cell] = [((record.subject.name, ""),), *(((extra, ""),) for extra in table.extras_of(record))]
        for metric in metrics:
            value, interval = table.cell(record, metric)
            shown = (value + STAR * table.is_marked(record, metric), _BEST[table.rank(record, metric)])
            cells.append((shown, (interval, "dim")) if interval else (shown,))
        rows.append(cells)
    return Grid(heads, rows, stacked)


def _comparison_grid(compared: Comparisons) -> Grid:
    p = compared.heads.index("p (Holm)") - 1
    rows = []
    for line in compared.lines():
        styles = ["bold green" if line.significant and place == p else "" for place in range(len(line.cells))]
        cells = [((text, style),) for text, style in zip(line.cells, styles, strict=True)]
        rows.append([((f"{line.subject} − {line.baseline}", ""),), *cells])
    return Grid([((head, ""),) for head in compared.heads], rows)
