"""Where fills fail: outcomes of single images by how much is missing, how far in it lies, and what the hole covers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from ssl_ce.errors import UserError, unknown, visible
from ssl_ce.files import digest
from ssl_ce.records.record import Metric, Record
from ssl_ce.records.statistics import bootstrap_difference, mean_metric
from ssl_ce.report.frames import as_csv, as_json, tidy_frame
from ssl_ce.report.layout import Table, arrange, head
from ssl_ce.report.markdown import markdown_table
from ssl_ce.report.terminal import print_tables
from ssl_ce.report.units import unit_of
from ssl_ce.rings import RINGS

Question = Literal["missing", "distance", "mixes"]
Values = NDArray[np.float64]

QUESTIONS: tuple[Question, ...] = ("missing", "distance", "mixes")
ONE_CLASS, MIXED, DIFFERENCE = "one class", "mixed classes", "mixed − one"

# Liu et al., "Image inpainting for irregular holes using partial convolutions", ECCV 2018, section 4.2.
_SHARES = np.arange(1, 7) / 10
_SHARE_LABELS = ("≤ 10 %", *(f"{10 * i}–{10 * i + 10} %" for i in range(1, 6)), "> 60 %")

_HEADINGS = {
    "missing": "by share missing",
    "distance": "by distance to the context",
    "mixes": "by classes under the hole",
}
_AGAIN = "Run ce evaluate inpainting (or nn-inpainting) with this version, then this again."
_ABSENT = {
    "missing": f"No record here says what share of each image was missing. {_AGAIN}",
    "distance": f"No record here says how the L1 changes with the distance to the context. {_AGAIN}",
    "mixes": "No record here says whether holes mix classes. That needs label maps beside the test images: "
    "TEST/images/ and TEST/labels/. Evaluate on such a set.",
}


@dataclass(frozen=True)
class Breakdown(Table):
    """A table of one metric with a column for each bin of images; its records' metrics are the bins.

    Attributes
    ----------
    by
        What the bins are of.
    metric
        What is averaged over the images of each bin.
    counts
        {bin: images in it}; of the difference between two bins, the images in both.
    """

    by: Question
    metric: str
    counts: Mapping[str, int]

    @property
    def heading(self) -> str:
        """The table's, then the metric and the bins: "... · holes: center · psnr (dB) ↑ by share missing"."""
        return f"{super().heading} · {self.measured} {_HEADINGS[self.by]}"

    @property
    def measured(self) -> str:
        """The metric with its unit and better direction: "psnr (dB) ↑"."""
        return head(self.metric, self.records[0].metrics[self.bins[0]].higher_is_better)

    @property
    def caption(self) -> str:
        """The table's, and how many images are in no bin."""
        return f"{super().caption}{self._outside}"

    @property
    def bins(self) -> tuple[str, ...]:
        """The columns that are bins of images."""
        return tuple(name for name in self.counts if name != DIFFERENCE)

    def column(self, metric: str) -> str:
        """The head of a bin's column: "10–20 % (n = 34)"."""
        return metric if metric == DIFFERENCE else f"{metric} (n = {self.counts[metric]:,})"

    def show(self, metric: str, value: float) -> str:
        """A number of any column, in the unit of the metric that is averaged; differences with their sign."""
        return unit_of(self.metric).show(value, signed=metric == DIFFERENCE)

    @property
    def alone(self) -> str | None:
        """One line to say instead of the table where all images are in one bin; else None."""
        if len(self.bins) > 1:
            return None
        (name,) = self.bins
        images = f"all {self.counts[name]:,} images in one bin, {name}"
        return f"{super().heading} · {_HEADINGS[self.by]}: {images}{self._outside}."

    @property
    def _outside(self) -> str:
        outside = self.records[0].dataset.n - sum(self.counts[name] for name in self.bins)
        return "" if self.by == "distance" or outside == 0 else f"; images in no bin: {outside:,}"


def break_down(
    records: Iterable[Record], questions: Sequence[Question] = (), metric: str | None = None
) -> list[Breakdown]:
    """For each question the tables of the records that can answer it, rows in the order of the results' table.

    Parameters
    ----------
    records
        With their outcomes. Those that lack what a question needs are left out.
    questions
        "missing", "distance", "mixes"; none: all that the records can answer.
    metric
        What is averaged: one of the records' metrics that each image has. By distance there is only "l1". None: "l1"
        by distance, else "psnr".

    Raises
    ------
    UserError
        If no record can answer, or none can answer one of the `questions` asked, or there is no such metric.
    """
    records = list(records)
    if metric is not None:
        there = [record for record in records if "missing" in (record.outcomes or {})]
        known = {name for record in there for name in record.metrics if name in (record.outcomes or {})}
        if known and metric not in known:
            raise unknown("metric of single images in these records", metric, known)
    if metric not in (None, "l1") and "distance" in questions:
        raise UserError(f"By distance there is l1, and no {metric}. Leave out --metric {metric} or --by distance.")
    found: list[Breakdown] = []
    for question in questions or QUESTIONS:
        if question == "distance" and metric not in (None, "l1"):
            continue
        tables = _tables(records, question, metric or ("l1" if question == "distance" else "psnr"))
        if not tables and questions:
            raise UserError(_ABSENT[question])
        found += tables
    if not found:
        raise UserError(f"No record here says how its holes were filled image by image. {_AGAIN}")
    return found


def breakdown_frame(tables: Iterable[Breakdown]) -> pd.DataFrame:
    """One row for each subject and bin, in full precision: who and on what, `by`, `metric`, `bin`, `images`, `value`,
    `low` and `high`."""
    frames = []
    for table in tables:
        frame = tidy_frame(table.records).rename(columns={"metric": "bin"})
        place = list(frame.columns).index("bin")
        frame.insert(place, "by", table.by)
        frame.insert(place + 1, "metric", table.metric)
        frame.insert(place + 3, "images", frame["bin"].map(dict(table.counts)))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def render_breakdown(tables: Sequence[Breakdown], format: Literal["md", "csv", "json"]) -> str:
    """The tables as text that ends in a newline: `md` as they are printed; `csv` and `json` as `breakdown_frame`."""
    if format == "md":
        return visible("\n\n".join(table.alone or markdown_table(table) for table in tables) + "\n")
    frame = breakdown_frame(tables)
    if format == "csv":
        return as_csv(frame)
    return as_json(frame.astype(object).where(frame.notna(), None).to_dict("records"))


def print_breakdown(tables: Iterable[Breakdown], console: Console) -> None:
    """Print the tables; where all images are in one bin, a line that says so."""
    for number, table in enumerate(tables):
        if number:
            console.print()
        if table.alone is not None:
            console.print(visible(table.alone), markup=False, highlight=False)
        else:
            print_tables([table], console)


def _tables(records: Iterable[Record], question: Question, metric: str) -> list[Breakdown]:
    """Rows stand together only if the same images are in each bin: one seed, one set of holes."""
    tables = []
    for table in arrange(record for record in records if _can_answer(record, question, metric)):
        groups: dict[tuple[int, str], list[tuple[Record, dict[str, Values]]]] = {}
        for record in table.records:
            cells = _cells(record, question, metric)
            members = digest(*(np.packbits(~np.isnan(values)).tobytes() for values in cells.values()))
            groups.setdefault((record.seed, members), []).append((record, cells))
        for (seed, members), rows in sorted(groups.items(), key=lambda group: group[0][0]):
            counts = {name: int((~np.isnan(values)).sum()) for name, values in rows[0][1].items()}
            counts = {name: count for name, count in counts.items() if count}
            if not counts:
                continue
            if question == "mixes" and len(counts) == 2:
                counts[DIFFERENCE] = sum(counts.values())
            differs = dict(table.differs)
            if len(table.seeds) > 1:
                differs["seed"] = str(seed)
            if sum(other == seed for other, _ in groups) > 1:
                differs["bins"] = members[:6]
            means = tuple(_with_means(record, cells, counts, metric) for record, cells in rows)
            tables.append(Breakdown(table.key, means, differs, question, metric, counts))
    return tables


def _cells(record: Record, question: Question, metric: str) -> dict[str, Values]:
    """{bin: float64 (n,)}: the outcome of each image in the bin, NaN for the others."""
    outcomes = _outcomes(record)
    if question == "distance":
        return {_ring_label(name): outcomes[name] for name in RINGS if name in outcomes}
    values, placed = outcomes[metric], outcomes[question]
    if question == "missing":
        bins = np.searchsorted(_SHARES, placed)
        return {label: np.where(bins == number, values, np.nan) for number, label in enumerate(_SHARE_LABELS)}
    return {label: np.where(placed == mixes, values, np.nan) for label, mixes in ((ONE_CLASS, 0.0), (MIXED, 1.0))}


def _with_means(record: Record, cells: Mapping[str, Values], counts: Mapping[str, int], metric: str) -> Record:
    """`record` with the means of its bins for metrics."""
    higher = record.metrics[metric].higher_is_better is not False
    inside = {name: values[~np.isnan(values)] for name, values in cells.items() if name in counts}
    means = {name: mean_metric(values, seed=record.seed, higher_is_better=higher) for name, values in inside.items()}
    if DIFFERENCE in counts:
        means[DIFFERENCE] = _difference(inside[MIXED], inside[ONE_CLASS], record.seed)
    return record.model_copy(update={"metrics": means, "outcomes": None})


def _difference(mixed: Values, one_class: Values, seed: int) -> Metric:
    """The difference of two means; no interval where either is of fewer than two images."""
    if min(mixed.size, one_class.size) < 2:
        return Metric(value=float(mixed.mean() - one_class.mean()), higher_is_better=None)
    value, low, high = bootstrap_difference(mixed, one_class, seed=seed)
    return Metric(value=value, low=low, high=high, spread="bootstrap over test images", higher_is_better=None)


def _can_answer(record: Record, question: Question, metric: str) -> bool:
    there = set(record.outcomes or ())
    needed = not there.isdisjoint(RINGS) if question == "distance" else {question, metric} <= there
    return needed and metric in record.metrics


def _outcomes(record: Record) -> dict[str, Values]:
    return {name: np.asarray(values, dtype=np.float64) for name, values in (record.outcomes or {}).items()}


def _ring_label(name: str) -> str:
    """ "l1_ring_3_4" -> "3–4 px"; the last ring is open: "33+ px"."""
    distances = name.removeprefix("l1_ring_").replace("_", "–")
    return f"{distances}{'+' if name == RINGS[-1] else ''} px"
