"""Breakdowns as a picture: a panel for each set of holes, a line for each subject, its name at the line's end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssl_ce.errors import UserError
from ssl_ce.files import atomic_write
from ssl_ce.records.record import Record
from ssl_ce.report.breakdown import Breakdown
from ssl_ce.report.drawing import shortened
from ssl_ce.report.units import unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 10

_PANEL = (3.9, 3.1)  # inches, without the names
_ACROSS = 2
_LETTER = 0.075  # inches that a letter of a name or title takes
_NAME_SIZE = 8
_NAMES_AT = 1.07  # where the column of names begins, as a share of the panel's width
_NAME_GAP = 0.062  # from one name to the next, as a share of the panel's height
_DODGE = 0.012  # from one subject's bars to the next's, as a share of the panel's width
_LEADER = {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3}
_AXES = {
    "missing": "share of the image that is missing",
    "distance": "distance to the nearest context pixel (px)",
    "mixes": "what the hole covers",
}


def draw_breakdown(path: Path, tables: Sequence[Breakdown]) -> None:
    """A PNG at `path`: for each question, protocol and image set a panel for each of its `tables`, two in a row.

    A panel shows the first ten rows of its table, with their 95 % intervals: bands by distance, bars otherwise. Tables
    with a single bin are left out.

    Raises
    ------
    UserError
        If all tables are of a single bin, or `path` cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    questions: dict[tuple[str, ...], list[Breakdown]] = {}
    for table in tables:
        if table.alone is None:
            questions.setdefault(_question(table), []).append(table)
    if not questions:
        raise UserError("There is nothing to draw: all images are in one bin. Leave out --plot.")
    names = list(dict.fromkeys(record.subject.name for table in tables for record in _shown(table)))
    rows = [found[at : at + _ACROSS] for found in questions.values() for at in range(0, len(found), _ACROSS)]
    columns = max(map(len, rows))
    width = _PANEL[0] + _LETTER * max(len(shortened(name)) for name in names)
    layout = ConstrainedLayoutEngine(h_pad=0.12)
    figure = Figure(figsize=(columns * width, len(rows) * _PANEL[1]), layout=layout)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    letters = int(width / _LETTER) - 12
    colors = {name: f"C{number % 10}" for number, name in enumerate(names)}
    drawn: dict[tuple[str, ...], list[tuple[Axes, Breakdown, list[tuple[float, float]]]]] = {}
    for line, found in zip(panels, rows, strict=True):
        for panel, table in zip(line, found, strict=False):
            ends = _draw(panel, table, colors, letters)
            drawn.setdefault(_question(table), []).append((panel, table, ends))
        for panel in line[len(found) :]:
            panel.set_axis_off()
    for question, shared in drawn.items():
        limits = np.array([panel.get_ylim() for panel, _, _ in shared])
        low, high = 0.0 if question[0] == "distance" else limits[:, 0].min(), limits[:, 1].max()
        for panel, table, ends in shared:
            panel.set_ylim(low, high)
            _name_lines(panel, [record.subject.name for record in _shown(table)], ends, colors)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _question(table: Breakdown) -> tuple[str, ...]:
    """What the panels of one scale have in common."""
    first = table.records[0]
    return (table.by, first.protocol, first.dataset.name, first.dataset.split)


def _draw(panel: Axes, table: Breakdown, colors: dict[str, str], letters: int) -> list[tuple[float, float]]:
    """Draw all of a panel but the names of its lines, its title in lines of `letters`; returns where the lines end."""
    unit, shown = unit_of(table.metric), _shown(table)
    places = np.arange(len(table.bins), dtype=np.float64)
    ends = []
    for number, record in enumerate(shown):
        color = colors[record.subject.name]
        means = [record.metrics[name] for name in table.bins]
        values, low, high = (
            np.array([np.nan if end is None else end * unit.scale for end in series])
            for series in zip(*((mean.value, mean.low, mean.high) for mean in means), strict=True)
        )
        x = places
        if table.by == "distance":
            panel.plot(x, values, color=color, linewidth=1.4, marker="o", markersize=3)
            panel.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        else:
            x = places + (number - (len(shown) - 1) / 2) * _DODGE * len(places)
            panel.plot(x, values, color=color, linewidth=1.0, marker="o", markersize=4)
            panel.vlines(x, low, high, color=color, linewidth=1.0)
        ends.append((float(x[-1]), float(values[-1])))
    panel.set_xlim(-0.3, places[-1] + 0.3)
    panel.set_xticks(places, [f"{name.removesuffix(' px')}\nn = {table.counts[name]:,}" for name in table.bins])
    panel.tick_params(labelsize=7, labelleft=True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel(_AXES[table.by], fontsize=9)
    panel.set_ylabel(table.measured, fontsize=9)
    title = table.heading.partition(f" · {table.measured}")[0]
    more = len(table.records) > len(shown)
    title = f"{title} · {len(shown)} of {len(table.records)} subjects" if more else title
    title = title.replace(" · ", "\N{NO-BREAK SPACE}· ")  # no line begins with a point
    panel.set_title(fill(title, letters, break_on_hyphens=False), fontsize=9, loc="left")
    panel.grid(alpha=0.3)
    return ends


def _name_lines(panel: Axes, names: Sequence[str], ends: Sequence[tuple[float, float]], colors: dict[str, str]) -> None:
    """Each line's name in a column right of the panel, moved up or down just so far that no two names touch.

    What leads from a line's end to its name ends before the column.
    """
    bottom, top = panel.get_ylim()
    heights = spread((np.array([y for _, y in ends]) - bottom) / (top - bottom), _NAME_GAP)
    for name, end, height in zip(names, ends, heights, strict=True):
        panel.annotate(
            shortened(name),
            end,
            (_NAMES_AT, height),
            textcoords="axes fraction",
            color=colors[name],
            fontsize=_NAME_SIZE,
            va="center",
            annotation_clip=False,
            arrowprops={"color": colors[name], "relpos": (0.0, 0.5), **_LEADER},
        )


def spread(heights: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """The nearest heights (least squares) in the same order that are at least `gap` apart: float64 (n,) -> (n,)."""
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    placed = np.empty(len(heights))
    placed[order] = isotonic_regression(heights[order] - steps) + steps
    return placed


def _shown(table: Breakdown) -> Sequence[Record]:
    return table.records[:MOST_LINES]
