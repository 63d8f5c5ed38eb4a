"""What the benchmarks share: work timed in turn, ratios printed, and results/speed written.

    options = arguments(__doc__).parse_args()
    sheet = Sheet("hog", "HOG", options.out)
    sheet.compare("200 images of 96 px", {"ours": own, "scikit-image": peer}, options.rounds, target=10)
    sheet.write()

Everything is printed as it is measured. With `--out results/speed`, `write` leaves NAME.md, for people, and NAME.json,
with the seconds of each round, for programs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssl_ce.files import atomic_write
from ssl_ce.manifest import device_name, git_commit, versions

Clock = Callable[[], float]
_NAMED = ("python", "torch", "numpy", "scikit-learn", "scikit-image", "faiss-cpu")


class Spread(NamedTuple):
    """Median, least and most of some measurements."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """That of `values`, one for each round."""
        return cls(float(np.median(values)), min(values), max(values))

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(self.least)} to {short(self.most)})"


class Comparison(NamedTuple):
    """Seconds of each side in each round, and the ratio of the second side to the first: how much faster that is."""

    seconds: dict[str, list[float]]
    ratio: Spread


def arguments(description: str | None, rounds: int | None = 5) -> argparse.ArgumentParser:
    """A parser that knows `--out` and, unless everything is measured once, `--rounds`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="how often each side is measured")
    parser.add_argument("--out", type=Path, help="folder for the results, such as results/speed; none by default")
    return parser


def machine(device: str = "cpu") -> str:
    """One line: the processor or GPU, threads, system and versions."""
    known = versions()
    named = ", ".join(f"{name} {known[name]}" for name in _NAMED if name in known)
    return f"{device_name(device)} of {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}; {named}"


def command() -> str:
    """The command that is running, from the repository's root; of a path outside of it the last part alone."""
    script, *given = sys.argv
    names = [Path(part).name if Path(part).is_absolute() else part for part in given]
    return shlex.join(["python", f"benchmarks/speed/{Path(script).name}", *names])


def seconds(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """How long `work` takes, once."""
    started = clock()
    work()
    return clock() - started


def compare(sides: Mapping[str, Callable[[], object]], rounds: int = 5, clock: Clock = time.perf_counter) -> Comparison:
    """Time two sides in turn, `rounds` times, so that a machine that slows down does so for both."""
    ours, peer = sides
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            times[name].append(seconds(work, clock))
    return Comparison(times, Spread.of([b / a for a, b in zip(times[ours], times[peer], strict=True)]))


@dataclass
class Sheet:
    """What one benchmark measured, by tables.

    Parameters
    ----------
    name
        The files' name.
    title
        The page's heading.
    out
        The folder for `write`; None writes nothing.
    device
        What `machine` describes.
    """

    name: str
    title: str
    out: Path | None = None
    device: str = "cpu"
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        print(f"{self.title}\n{machine(self.device)}", flush=True)

    def compare(
        self,
        what: str,
        sides: Mapping[str, Callable[[], object]],
        rounds: int = 5,
        *,
        target: float | None = None,
        amount: float | None = None,
        unit: str = "images/s",
        clock: Clock = time.perf_counter,
    ) -> Comparison:
        """`compare` two sides, ours first, and keep a row.

        Parameters
        ----------
        target
            The least median ratio that is good enough.
        amount
            What each side gets through, to print rates in `unit`; seconds by default.
        """
        found = compare(sides, rounds, clock)
        self.raw.append({"figure": what, **found._asdict(), "target": target, "amount": amount})
        row: dict[str, Any] = {"figure": what}
        for name, times in zip(("ours", "peer"), found.seconds.items(), strict=True):
            middle = Spread.of(times[1]).median
            value = f"{short(middle)} s" if amount is None else f"{short(amount / middle)} {unit}"
            row[name] = value if name == "ours" else f"{times[0]}: {value}"
        row |= {"ratio (least to most)": str(found.ratio)} | judged(found.ratio.median, target, least=True)
        self.row(row)
        return found

    def measure(self, what: str, work: Callable[[], object], rounds: int = 5, *, limit: float | None = None) -> Spread:
        """Seconds of `work`, which should take less than `limit`."""
        times = [seconds(work) for _ in range(rounds)]
        found = Spread.of(times)
        self.raw.append({"figure": what, "seconds": times, "limit": limit})
        self.row({"figure": what, "seconds (least to most)": str(found)} | judged(found.median, limit, least=False))
        return found

    def row(self, values: Mapping[str, Any], table: str = "") -> None:
        """Print a row of `table` and keep it."""
        self.tables.setdefault(table, []).append(dict(values))
        print(" | ".join(f"{name} {shown(value)}" for name, value in values.items()), flush=True)

    def note(self, line: str) -> None:
        """Print a line of text and keep it."""
        self.notes.append(line)
        print(line, flush=True)

    def write(self) -> None:
        """Write NAME.md and NAME.json, if there is a folder for them."""
        if self.out is None:
            return
        facts = {"command": command(), "machine": machine(self.device), "git_commit": git_commit()}
        values = {**facts, "tables": self.tables, "measured": self.raw, "notes": self.notes}
        for suffix, text in (("md", self._page(facts)), ("json", json.dumps(values, indent=1) + "\n")):
            with atomic_write(self.out / f"{self.name}.{suffix}") as temporary:
                temporary.write_text(text, encoding="utf-8")
        print(f"{self.out / self.name}.md", flush=True)

    def _page(self, facts: Mapping[str, str | None]) -> str:
        parts = [f"# {self.title}", f"```console\n$ {facts['command']}\n```"]
        parts += [f"{facts['machine']}; commit {facts['git_commit'] or 'unknown'}."]
        for heading, rows in self.tables.items():
            parts += ([f"## {heading}"] if heading else []) + [markdown(rows)]
        parts += [f"- {note}" for note in self.notes]
        return "\n\n".join([*parts, *(f"![{picture}]({picture})" for picture in self.pictures)]) + "\n"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; a column stands where a row first has it."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([shown(row.get(name, "")) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def judged(value: float, bound: float | None, *, least: bool) -> dict[str, str]:
    """The columns `target` and `met`, where there is one."""
    if bound is None:
        return {}
    met = value >= bound if least else value <= bound
    return {"target": f"{'≥' if least else '<'} {bound:g}", "met": "yes" if met else "no"}


def shown(value: object) -> str:
    """A cell: integers by thousands, other numbers by three digits."""
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else short(value) if isinstance(value, float) else str(value)


def short(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value and np.isfinite(value) else 0
    return f"{value:,.{min(digits, 6)}f}"
