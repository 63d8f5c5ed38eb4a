"""Plain tables of text, for the terminal and for Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

# Widest last column on a narrow terminal: it holds words, which may stand below one another.
_LAST_COLUMN = 22


@dataclass(frozen=True)
class Sheet:
    """A titled table of texts; the first column names the rows. `notes` stand below it.

    Where it is shown in several parts, so many columns as `together` says stay beside one another.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    together: int = 1

    def markdown(self) -> str:
        """A third-level heading, a pipe table and the notes."""
        lines = [self.header, tuple("---" + ":" * (place > 0) for place in range(len(self.header))), *self.rows]
        table = "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)
        return "\n\n".join([f"### {self.title}", table, *self.notes])

    def print(self, console: Console) -> None:
        """On a terminal. Where it is narrow, the columns between the first and the last are shown in several parts."""
        console.print(f"\n{self.title}", style="bold", markup=False, highlight=False)
        for grid in self._grids(list(range(1, len(self.header) - 1)), console):
            console.print(grid)
        for note in self.notes:
            console.print(note, style="dim", markup=False, highlight=False)

    def _grids(self, middle: list[int], console: Console) -> list[Table]:
        unbounded = console.options.update(max_width=10_000)
        for most in (None, _LAST_COLUMN):
            grid = self._grid([0, *middle, len(self.header) - 1], most)
            if console.measure(grid, options=unbounded).maximum <= console.width:
                return [grid]
        groups = len(middle) // self.together
        if groups < 2:
            return [grid]
        half = (groups + 1) // 2 * self.together
        return self._grids(middle[:half], console) + self._grids(middle[half:], console)

    def _grid(self, places: list[int], most: int | None) -> Table:
        grid = Table(box=SIMPLE_HEAD, pad_edge=False)
        for place in places:
            justify: JustifyMethod = "right" if place else "left"
            widest = most if place == len(self.header) - 1 else None
            grid.add_column(Text(self.header[place]), justify=justify, overflow="fold", max_width=widest)
        for row in self.rows:
            grid.add_row(*(Text(row[place]) for place in places))
        return grid
