"""Which charts a page has: headline metric against pretraining time and against layer, and what runs logged."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from ssl_ce.records.record import Metric, Record
from ssl_ce.references import SCHEMES
from ssl_ce.report.curves import Curve, quantity_name
from ssl_ce.report.layout import Table
from ssl_ce.report.page.charts import Chart, Point, Series, Style, draw, show_seconds
from ssl_ce.report.page.runs import Run, parts_of, run_of, without_seed
from ssl_ce.report.units import unit_of

MOST_FLOORS = 6
"""Of the subjects that stand on no run, the best so many are lines in a chart."""

MOST_POINTS = 300
"""A longer curve of training is thinned to about this many points."""

_LOGGED = re.compile(r".*_loss|held_out_psnr|online_.*")


class Styles:
    """One look for the same pretraining in all charts of a page; its untrained twin is dashed."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, name: str, *, dashed: bool = False) -> Style:
        """The style of `name`; a new name gets the next one."""
        return Style(self._numbers.setdefault(name, len(self._numbers)), dashed)


def time_charts(tables: Iterable[Table], runs: Mapping[str, Run], styles: Styles) -> list[Chart]:
    """For each table with learned subjects whose runs say how long they trained: all of them, and the others as lines.

    A subject that stands on no run (HOG, an untrained network, somebody else's weights) is a horizontal line, one for
    all seeds of a network. Of a network with a `REF@all` only that is shown: its taps are in the layer charts.
    """
    charts = []
    for table in tables:
        learned: dict[str, list[Point]] = {}
        floors: dict[str, list[float]] = {}
        chosen = {base for tap, base in (_tap_of(record.subject.name) for record in table.records) if tap == "all"}
        for record in table.records:
            tap, base = _tap_of(record.subject.name)
            if (metric := _finite_headline(table, record)) is None or (tap != "all" and base in chosen):
                continue
            name, note = run_of(record.subject.name), _note(table, record, metric)
            if name is None:
                floors.setdefault(_floor_label(record.subject.name, runs), []).append(metric.value)
            elif name in runs and (seconds := runs[name].seconds) is not None:
                point = Point(seconds, metric.value, metric.low, metric.high, f"{note}, {show_seconds(seconds)}")
                learned.setdefault(without_seed(name), []).append(point)
        if not learned:
            continue
        series = [
            Series(_label(name, runs), styles.of(name), sorted(points, key=lambda point: point.x), joined=False)
            for name, points in sorted(learned.items())
        ]
        best = list(floors.items())[:MOST_FLOORS]  # rows of a table come best first
        shown = [_floor(table, label, values) for label, values in best]
        charts.append(_of_table(table, series, shown, "pretraining time (logarithmic)", times=True))
    return charts


def layer_charts(tables: Iterable[Table], runs: Mapping[str, Run], styles: Styles) -> list[Chart]:
    """For each table, a chart for the encoders of which at least two taps were judged and whose taps have like names.

    The tap that `REF@all` chose on held-out train images is ringed.
    """
    charts = []
    for table in tables:
        of_network: dict[tuple[str, int], dict[str, tuple[Record, Metric]]] = {}
        chosen = set()
        for record in table.records:
            tap, base = _tap_of(record.subject.name)
            metric = _finite_headline(table, record)
            if tap == "all":
                chosen.add((base, record.seed, record.chosen.get("tap")))
            elif tap and metric is not None:
                of_network.setdefault((base, record.seed), {})[tap] = record, metric
        several = {network: taps for network, taps in sorted(of_network.items()) if len(taps) > 1}
        for group in _sharing(several):
            names = sorted({tap for network in group for tap in several[network]}, key=_depth)
            series = []
            for base, seed in group:
                taps = several[base, seed]
                points = [
                    Point(
                        names.index(tap), metric.value, metric.low, metric.high, _note(table, record, metric),
                        ringed=(base, seed, tap) in chosen,
                    )
                    for tap, (record, metric) in sorted(taps.items(), key=lambda item: _depth(item[0]))
                ]  # fmt: skip
                label, style = _look(base, runs, styles)
                series.append(Series(label, style, points))
            charts.append(_of_table(table, series, [], "layer", names=names))
    return charts


def training_charts(runs: Mapping[str, Run], styles: Styles) -> list[Chart]:
    """A chart for each loss and each score that the runs logged, with a line for each run."""
    quantities = dict.fromkeys(name for run in runs.values() for name in run.curves if _LOGGED.fullmatch(name))
    charts = []
    for quantity in quantities:
        series = []
        for name, run in runs.items():
            points = _thinned(run.curves[quantity]) if quantity in run.curves else []
            if points:
                style = styles.of(without_seed(name))
                series.append(Series(_label(without_seed(name), runs), style, points, marked=len(points) == 1))
        if series:
            title = quantity_name(quantity)
            about = f"{title} against step of {len(series)} {'run' if len(series) == 1 else 'runs'}."
            charts.append(draw(Chart(title, about, "step", ""), series))
    return charts


def _of_table(
    table: Table,
    series: Sequence[Series],
    floors: Sequence[tuple[str, float, str]],
    x_label: str,
    *,
    names: Sequence[str] = (),
    times: bool = False,
) -> Chart:
    headline = table.metrics[0]
    count = sum(len(one.points) for one in series)
    about = f"{headline} against {x_label}: {count} points; the numbers are in the table of that name."
    chart = Chart(table.heading, about, x_label, table.column(headline))
    return draw(chart, series, floors, names=names, times=times, show=lambda value: _tick(headline, value))


def _note(table: Table, record: Record, metric: Metric) -> str:
    return f"{record.subject.name}: {table.show(table.metrics[0], metric.value)}"


def _floor(table: Table, label: str, values: Sequence[float]) -> tuple[str, float, str]:
    mean = sum(values) / len(values)
    of = f", the mean of {len(values)}" if len(values) > 1 else ""
    return label, mean, f"{label}: {table.show(table.metrics[0], mean)}{of}"


def _tick(metric: str, value: float) -> str:
    return f"{value * unit_of(metric).scale:.6g}".replace("-", "−")


def _finite_headline(table: Table, record: Record) -> Metric | None:
    found = record.metrics.get(table.metrics[0]) if table.metrics else None
    return found if found is not None and math.isfinite(found.value) else None


def _thinned(curve: Curve) -> list[Point]:
    """Every k-th point that is finite, and the last one."""
    points = [Point(float(x), float(y)) for x, y in zip(*curve, strict=True) if math.isfinite(y)]
    step = -(-len(points) // MOST_POINTS) or 1
    kept = points[::step]
    return kept if not points or kept[-1] is points[-1] else [*kept, points[-1]]


def _tap_of(subject: str) -> tuple[str | None, str]:
    """The tap that a subject's text names, and the text without it: ("conv3", "init:runs/x?pool=2")."""
    parts = parts_of(subject)
    tap = parts[0].tap if parts else None
    return tap, "".join(subject.rsplit(f"@{tap}", 1)) if tap else subject


def _depth(tap: str) -> tuple[int, str]:
    """Where a tap stands among others, as far as names tell: stem, conv1, pool1, conv2, ..., what has no number."""
    numbers = re.findall(r"\d+", tap)
    return (int(numbers[-1]) if numbers else 0 if tap == "stem" else 1_000_000), tap


def _sharing(networks: Mapping[tuple[str, int], Mapping[str, object]]) -> list[list[tuple[str, int]]]:
    """The networks in groups whose taps are called alike ("conv", "block"), so that they share an axis."""

    def kind(network: tuple[str, int]) -> str:
        return re.sub(r"\d.*", "", max(networks[network], key=_depth))

    return [list(group) for _, group in groupby(sorted(networks, key=lambda one: (kind(one), one)), key=kind)]


def _floor_label(subject: str, runs: Mapping[str, Run]) -> str:
    """A subject's text, that of an untrained network by the label of its run, without seed: "mae@block4, untrained"."""
    for part in parts_of(subject):
        if part.scheme == "init" and part.target in runs:
            label = _label(without_seed(part.target), runs)
            return subject.replace(f"init:{part.target}", label, 1) + ", untrained"
    return subject


def _look(base: str, runs: Mapping[str, Run], styles: Styles) -> tuple[str, Style]:
    """Label and style of a network by its reference: as those of its run, dashed if it is untrained."""
    scheme, _, rest = base.partition(":")
    untrained = scheme in ("init", "random")
    target = rest if scheme in SCHEMES else base
    name = without_seed(target.partition("?")[0])
    if name not in {without_seed(run) for run in runs}:
        return base, styles.of(base, dashed=untrained)
    label = _label(name, runs)
    return (f"{label}, untrained" if untrained else label), styles.of(name, dashed=untrained)


def _label(name: str, runs: Mapping[str, Run]) -> str:
    """What a pretraining is called in legends: the label of its runs, without their seeds."""
    return next(without_seed(run.label) for run in runs.values() if without_seed(run.name) == name)
