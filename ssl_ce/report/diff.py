"""Two records beside each other: what was declared or used differently, and which numbers moved."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ssl_ce.errors import one_line
from ssl_ce.records.record import DatasetInfo, Metric, Record
from ssl_ce.report.layout import heading_of
from ssl_ce.report.units import MISSING, unit_of

Verdict = Literal["equal", "within the interval", "outside the interval", "no interval", "only in A", "only in B"]

# Rounding differs between machines and threads; what agrees to so many digits is the same number.
_SAME = 1e-9
_LONGEST = 40
_HASH = re.compile(r"[0-9a-f]{16,}(\+changes)?")


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same: `kind` "setting", `name` "draws", and what it is in either."""

    kind: str
    name: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Moved:
    """A metric of both records; `verdict` says where b's value lies against the interval of a."""

    metric: str
    a: float | None
    b: float | None
    low: float | None
    high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Diff:
    """What sets record `b` apart from record `a`."""

    a: Record
    b: Record
    differences: tuple[Difference, ...]
    metrics: tuple[Moved, ...]

    @property
    def moved(self) -> tuple[str, ...]:
        """The metrics of a that are not in b, or are neither equal nor within their interval."""
        fine = ("equal", "within the interval", "only in B")
        return tuple(metric.metric for metric in self.metrics if metric.verdict not in fine)

    def as_dict(self) -> dict[str, Any]:
        """For other programs."""
        return {
            "a": self.a.id,
            "b": self.b.id,
            "differences": [asdict(difference) for difference in self.differences],
            "metrics": [asdict(moved) for moved in self.metrics],
        }


def diff(a: Record, b: Record) -> Diff:
    """What differs between two records: settings, subject, data, seed, versions and machine, and their numbers."""
    ours, theirs = dict(_facts(a)), dict(_facts(b))
    differences = tuple(
        Difference(*key, ours.get(key), theirs.get(key))
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    )
    names = dict.fromkeys([*a.metrics, *b.metrics])
    return Diff(a, b, differences, tuple(_moved(name, a.metrics.get(name), b.metrics.get(name)) for name in names))


def title(record: Record) -> str:
    """Which record it is: "a1b2c3 · linear-probe@1 · digits/test · labels: all · hog"."""
    return one_line(f"{record.id} · {heading_of(record)} · {record.subject.name}")


def print_diff(found: Diff, console: Console, names: tuple[str, str] = ("A", "B")) -> None:
    """Print what differs, then the numbers. `names` head the columns of the two records."""
    if found.differences:
        grid = _grid("differs", *names)
        kinds: set[str] = set()
        for one in found.differences:
            first = "" if one.kind in kinds else f"{one.kind}: "
            kinds.add(one.kind)
            grid.add_row(Text(one_line(first + one.name)), Text(_shown(one.a)), Text(_shown(one.b)))
        console.print(grid)
    else:
        console.print("Nothing differs in what was declared and used.", style="dim")
    grid = _grid("metric", *names, "difference", "is")
    for moved in found.metrics:
        unit = unit_of(moved.metric)
        symbol = f" ({unit.symbol})" if unit.symbol else ""
        numbers = [MISSING if value is None else unit.show(value) for value in (moved.a, moved.b)]
        if moved.low is not None and moved.high is not None:
            numbers[0] += f" [{unit.show(moved.low)}, {unit.show(moved.high)}]"
        change = MISSING if moved.a is None or moved.b is None else unit.show(moved.b - moved.a, signed=True)
        change = "0" if moved.verdict == "equal" else change
        grid.add_row(Text(one_line(moved.metric + symbol)), *map(Text, (*numbers, change, moved.verdict)))
    console.print(grid)


def _facts(record: Record) -> Iterator[tuple[tuple[str, str], Any]]:
    yield ("protocol", "name and version"), record.protocol
    for kind, values in (("variant", record.variant), ("setting", record.config)):
        for name, value in _flat(values):
            yield (kind, name), value
    yield ("subject", "name"), record.subject.name
    yield ("subject", "identity"), record.subject.identity
    for role, data in (("test images", record.dataset), ("train images", record.train)):
        yield from _of_data(role, data)
    yield ("seed", "of the evaluation"), record.seed
    for kind, values in (("chosen", record.chosen), ("note", record.notes), ("machine", record.machine)):
        for name, value in _flat(values):
            if name != "command":
                yield (kind, name), value


def _of_data(role: str, data: DatasetInfo | None) -> Iterator[tuple[tuple[str, str], Any]]:
    if data is not None:
        for name, value in _flat(data.model_dump(mode="json")):
            yield (role, name), value


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """{"versions": {"torch": "2"}} -> ("versions.torch", "2")."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _moved(name: str, a: Metric | None, b: Metric | None) -> Moved:
    if a is None:
        return Moved(name, None, None if b is None else b.value, None, None, "only in B")
    if b is None:
        return Moved(name, a.value, None, a.low, a.high, "only in A")
    if math.isclose(a.value, b.value, rel_tol=_SAME) or (math.isnan(a.value) and math.isnan(b.value)):
        verdict: Verdict = "equal"
    elif a.low is None or a.high is None:
        verdict = "no interval"
    else:
        verdict = "within the interval" if a.low <= b.value <= a.high else "outside the interval"
    return Moved(name, a.value, b.value, a.low, a.high, verdict)


def _shown(value: Any) -> str:
    text = MISSING if value is None else one_line(str(value))
    if isinstance(value, str) and _HASH.fullmatch(value):
        text = f"{value[:12]}{value.lstrip('0123456789abcdef')}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _grid(*heads: str) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False)
    for number, head in enumerate(heads):
        grid.add_column(head, justify="left" if number == 0 else "right", overflow="fold")
    return grid
