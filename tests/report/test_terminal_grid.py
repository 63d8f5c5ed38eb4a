from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from ssl_ce.report.terminal_grid import Grid

HEADS = [(("subject", ""),), (("accuracy", ""), ("(%) ↑", "")), (("seed", ""),)]
ROWS = [
    [(("runs/mine@conv4", ""),), (("91.4★", "bold green"), ("[88.9, 93.8]", "dim")), (("0", ""),)],
    [(("形@conv1", ""),), (("–", ""),), (("12", ""),)],
]


def printed(thing: Grid | None, width: int, folded: bool, **options: object) -> str:
    console = Console(width=width, file=io.StringIO(), **options)
    if folded:
        console.print(thing.folded())
    else:
        thing.print(console)
    return console.file.getvalue()


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("width", [30, 120])
def test_it_is_printed_as_rich_prints_its_table(stacked: bool, width: int) -> None:
    grid = Grid(HEADS, ROWS, stacked)
    plain = {"color_system": None}
    assert printed(grid, width, False, **plain) == printed(grid, width, True, **plain)
    coloured = {"force_terminal": True, "color_system": "truecolor"}
    ours, theirs = (Text.from_ansi(printed(grid, width, folded, **coloured)) for folded in (False, True))
    assert ours.plain == theirs.plain
    assert styles(ours) == styles(theirs) != []


def styles(text: Text) -> list[tuple[str, str]]:
    """What is not plain, without the spaces between."""
    parts = [(text.plain[span.start : span.end].strip(), str(span.style)) for span in text.spans]
    return [(word, style) for part, style in parts if style != "none" for word in part.split()]


def test_what_a_record_says_stays_in_its_row_and_commands_no_terminal() -> None:
    plain = {"color_system": None}
    name, shown = "a\x1b[2J\tb\r\nc\x9b", "a\\u001b[2J b c\\u009b"
    clean = [[((shown, ""),), *row[1:]] for row in ROWS]
    for width in (30, 120):
        dirty = Grid(HEADS, [[((name, ""),), *row[1:]] for row in ROWS], stacked=False)
        assert printed(dirty, width, False, **plain) == printed(Grid(HEADS, clean), width, False, **plain)


def test_a_console_without_colours_gets_no_codes() -> None:
    assert "\x1b" not in printed(Grid(HEADS, ROWS), 120, False)
