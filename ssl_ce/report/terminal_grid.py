"""A grid of short texts on a terminal: as rich's tables print it, in a tenth of the time that rich takes for a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from ssl_ce.errors import one_line

Part = tuple[str, str]  # text, rich's style
Cell = tuple[Part, ...]

_BETWEEN = "   "


@dataclass(frozen=True)
class Grid:
    """Heads over rows of cells, the first column to the left and the others to the right.

    Parameters
    ----------
    heads, rows
        Cells of one or more parts.
    stacked
        Whether the parts of a cell stand below one another, rather than side by side.
    """

    heads: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    stacked: bool = False

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Columns of characters that each column takes."""
        return tuple(
            max(_width(line) for cell in column for line in self._lines(cell))
            for column in zip(self.heads, *self.rows, strict=True)
        )

    @property
    def width(self) -> int:
        """Of the whole grid."""
        return sum(self.widths) + len(_BETWEEN) * (len(self.widths) - 1) + 2

    def print(self, console: Console) -> None:
        """Print it. Where the console is too narrow, rich folds the cells."""
        if self.width > console.width:
            console.print(self.folded())
            return
        heads = [tuple((text, "bold") for text, _ in cell) for cell in self.heads]
        lines = [
            " " * self.width,
            *self._row(heads, console, bottom=True),
            f" {'─' * (self.width - 2)} ",
            *(line for row in self.rows for line in self._row(row, console)),
            " " * self.width,
        ]
        console.print(Segments([Segment("\n".join(lines) + "\n")]), end="", crop=False)

    def folded(self) -> Table:
        """The same as rich's table, which fits into any width."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for number, head in enumerate(self.heads):
            table.add_column(self._text(head), justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*map(self._text, row))
        return table

    def _text(self, cell: Cell) -> Text:
        return Text("\n" if self.stacked else " ").join(Text(text, style) for text, style in map(_clean, cell))

    def _lines(self, cell: Cell) -> list[Cell]:
        parts = tuple(map(_clean, cell))
        return [(part,) for part in parts] if self.stacked else [parts]

    def _row(self, cells: Sequence[Cell], console: Console, *, bottom: bool = False) -> Iterator[str]:
        columns = [self._lines(cell) for cell in cells]
        height = max(map(len, columns))
        for level in range(height):
            texts = []
            for number, (lines, width) in enumerate(zip(columns, self.widths, strict=True)):
                place = level - (height - len(lines)) * bottom
                line = lines[place] if 0 <= place < len(lines) else ()
                text, space = " ".join(_painted(console, part) for part in line), " " * (width - _width(line))
                texts.append(space + text if number else text + space)
            yield f" {_BETWEEN.join(texts)} "


def _clean(part: Part) -> Part:
    """What a record of somebody else says becomes one line that commands no terminal."""
    return part if part[0].isprintable() else (one_line(part[0]), part[1])


def _width(line: Cell) -> int:
    return sum(len(text) if text.isascii() else cell_len(text) for text, _ in line) + max(0, len(line) - 1)


def _painted(console: Console, part: Part) -> str:
    before, after = _codes(console, part[1]) if part[1] else ("", "")
    return f"{before}{part[0]}{after}"


@lru_cache(maxsize=32)
def _codes(console: Console, style: str) -> tuple[str, str]:
    """What the console writes before and after a text of that style."""
    with console.capture() as captured:
        console.print(Text("x", style), end="")
    before, _, after = captured.get().partition("x")
    return before, after
