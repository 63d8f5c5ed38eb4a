"""Charts as coordinates, which a template draws as inline SVG: text stays text, and colours follow the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 26, 44
COLORS = 8
MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -4.8l4.6 8h-9.2z",
    "M0 -5l5 5l-5 5l-5 -5z",
    "M0 4.8l4.6 -8h-9.2z",
)
"""Outlines around (0, 0). Five of them and eight colours make 40 kinds of series, told apart without colour too."""

_LABEL_HEIGHT = 12
_TIMES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 432000, 864000)


@dataclass(frozen=True)
class Style:
    """How a series looks: the number of its colour and marker, and whether it is drawn dashed and hollow."""

    number: int
    dashed: bool = False

    @property
    def classes(self) -> str:
        """For CSS."""
        return f"s{self.number % COLORS}{' dashed' if self.dashed else ''}"

    @property
    def marker(self) -> str:
        """An SVG path around (0, 0)."""
        return MARKERS[self.number % len(MARKERS)]


@dataclass(frozen=True)
class Point:
    """A value at x, with the ends of its interval where it has one; `note` is shown when it is pointed at."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    ringed: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one legend entry, in order of x; `joined` by a line, `marked` one by one."""

    label: str
    style: Style
    points: Sequence[Point]
    joined: bool = True
    marked: bool = True


@dataclass
class Chart:
    """What the template draws: everything in SVG units, inside 0 0 WIDTH HEIGHT.

    Attributes
    ----------
    title, description, x_label, y_label
        Texts; the description is for those who do not see the picture.
    x_ticks, y_ticks
        (place, text).
    lines
        (points of a polyline, style).
    dots
        (x, y, ends of the interval or None, style, note, ringed).
    floors
        (y, y of the label, label, note); a label that has stood already is empty.
    legend
        (label, style, marked, joined), each once.
    """

    title: str
    description: str
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]] = field(default_factory=list)
    y_ticks: list[tuple[float, str]] = field(default_factory=list)
    lines: list[tuple[str, Style]] = field(default_factory=list)
    dots: list[tuple[float, float, tuple[float, float] | None, Style, str, bool]] = field(default_factory=list)
    floors: list[tuple[float, float, str, str]] = field(default_factory=list)
    legend: list[tuple[str, Style, bool, bool]] = field(default_factory=list)
    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM


def draw(
    chart: Chart,
    series: Sequence[Series],
    floors: Sequence[tuple[str, float, str]] = (),
    *,
    names: Sequence[str] = (),
    times: bool = False,
    show: Callable[[float], str] = "{:g}".format,
) -> Chart:
    """Put `series`, all points finite, into `chart`, and return it.

    Parameters
    ----------
    floors
        (label, value, note): horizontal lines. Several of one label are labelled once.
    names
        Where x counts them: a tick for each.
    times
        x is seconds, on a logarithmic axis.
    show
        A value as text, on the y axis.
    """
    points = [point for one in series for point in one.points]
    values = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    low, high = _padded(values + [value for _, value, _ in floors])
    y_ticks = ticks(low, high)
    to_y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    chart.y_ticks = [(to_y(tick), show(tick)) for tick in y_ticks]
    to_x, chart.x_ticks = _x_axis([point.x for point in points], names, times)
    for one in series:
        if one.joined and len(one.points) > 1:
            path = " ".join(f"{_round(to_x(point.x))},{_round(to_y(point.y))}" for point in one.points)
            chart.lines.append((path, one.style))
        if one.marked:
            for point in one.points:
                ends = None
                if point.low is not None and point.high is not None:
                    ends = _round(to_y(point.low)), _round(to_y(point.high))
                place = _round(to_x(point.x)), _round(to_y(point.y))
                chart.dots.append((*place, ends, one.style, point.note, point.ringed))
        if (entry := (one.label, one.style, one.marked, one.joined)) not in chart.legend:
            chart.legend.append(entry)
    labelled = {label: value for label, value, _ in reversed(floors)}
    places = dict(zip(labelled, _apart([to_y(value) for value in labelled.values()]), strict=True))
    for label, value, note in floors:
        y = _round(to_y(value))
        chart.floors.append(
            (y, places[label], label, note) if labelled.pop(label, None) is not None else (y, y, "", note)
        )
    return chart


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most about `most`, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for factor in (1, 2, 5, 10) if (step := factor * power) >= rough)
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def show_seconds(seconds: float) -> str:
    """A duration in its largest fitting unit: "45 s", "1.5 min", "2 h", "3 d"."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _x_axis(
    places: Sequence[float], names: Sequence[str], times: bool
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    if names:
        to_x = _scale(-0.5, len(names) - 0.5, LEFT, WIDTH - RIGHT)
        return to_x, [(_round(to_x(number)), name) for number, name in enumerate(names)]
    if times:
        low, high = min(places) / 1.4, max(places) * 1.4
        log = _scale(math.log(low), math.log(high), LEFT, WIDTH - RIGHT)
        inside = [float(time) for time in _TIMES if low <= time <= high]
        shown = inside[:: 1 + len(inside) // 7] if len(inside) > 2 else _clock_ticks(low, high)
        return lambda x: log(math.log(x)), [(_round(log(math.log(time))), show_seconds(time)) for time in shown]
    low, high = min(places), max(places)
    to_x = _scale(low, high if high > low else low + 1, LEFT, WIDTH - RIGHT)
    return to_x, [(_round(to_x(tick)), f"{tick:,.0f}") for tick in ticks(low, max(high, low + 1), 5)]


def _clock_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Seconds from `low` to `high` in steps that a clock has, at most `most`."""
    step = next((step for step in _TIMES if (high - low) / step < most), float(_TIMES[-1]))
    return [float(number * step) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def _apart(places: Sequence[float]) -> list[float]:
    """Places of labels for lines at `places`, moved so that none stands on another, and kept on the chart."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = [place - 3.0 for place in places]
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + _LABEL_HEIGHT)
    lowest = HEIGHT - BOTTOM - 3.0
    for below, above in pairwise(reversed(order)):
        moved[below] = min(moved[below], lowest)
        moved[above] = min(moved[above], moved[below] - _LABEL_HEIGHT)
    return [_round(place) for place in moved]


def _round(value: float) -> float:
    return round(value, 1)
