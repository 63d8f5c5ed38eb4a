"""Which records stand together in one table, and in which order: only what may be compared is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from types import MappingProxyType
from typing import Any, Literal

from ssl_ce.errors import unknown
from ssl_ce.records.record import Metric, Record
from ssl_ce.report.units import MISSING, is_of_whole_image, repeats_over_image, unit_of
from ssl_ce.report.verdicts import Comparisons


@dataclass(frozen=True)
class Table:
    """Records of one protocol, with one variant and the same settings, on the same images.

    Attributes
    ----------
    key
        What those have in common, as text: equal for records of one table, different between tables.
    records
        The rows, best headline metric first; ties as they came.
    differs
        Settings that set this table apart from others of the same heading: {"standardise": "False"}.
    compared
        Its comparisons, if they were made (`comparisons.compare`).
    precision
        Decimals of every number; None: each unit's own.
    with_second
        Whether the second best value of a column is told too.
    """

    key: str
    records: tuple[Record, ...]
    differs: Mapping[str, str]
    compared: Comparisons | None = field(default=None, kw_only=True)
    precision: int | None = field(default=None, kw_only=True)
    with_second: bool = field(default=False, kw_only=True)

    @property
    def heading(self) -> str:
        """Protocol, data and variant: "linear-probe@1 · digits/test · labels: 10 a class"."""
        return heading_of(self.records[0], self.differs)

    @property
    def caption(self) -> str:
        """How many images of which size, trained on what, which seeds, and what the brackets hold."""
        first = self.records[0]
        parts = [f"n = {first.dataset.n:,}"]
        if first.dataset.size is not None:
            parts[0] += " ({} x {} px)".format(*first.dataset.size)
        trains = {record.train.fingerprint: record.train for record in self.records if record.train is not None}
        if len(trains) == 1:
            train = next(iter(trains.values()))
            parts.append(f"train: {train.name}/{train.split}, n = {train.n:,}")
        parts.append(f"{'seed' if len(self.seeds) == 1 else 'seeds'} {', '.join(map(str, self.seeds))}")
        metrics = [metric for record in self.records for metric in record.metrics.values()]
        if spreads := dict.fromkeys(metric.spread for metric in metrics if metric.low is not None):
            parts.append(f"[95 % interval]: {', '.join(spreads)}")
        return "; ".join(parts)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the records, ascending."""
        return tuple(sorted({record.seed for record in self.records}))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics, the headline first."""
        return tuple(dict.fromkeys(name for record in self.records for name in record.metrics))

    @cached_property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """The metrics in parts that stand below one another, for all beside one another are too wide to read.

        What is measured over whole images is a part of its own.
        """
        whole = tuple(metric for metric in self.metrics if is_of_whole_image(metric))
        others = tuple(metric for metric in self.metrics if not is_of_whole_image(metric))
        return tuple(block for block in (others, whole) if block) or ((),)

    @cached_property
    def brief(self) -> tuple[tuple[str, ...], ...]:
        """The blocks without what `image_` repeats over the whole image, unless there is nothing else."""
        own = tuple(tuple(metric for metric in block if not repeats_over_image(metric)) for block in self.blocks)
        return tuple(block for block in own if block) or self.blocks

    @cached_property
    def extras(self) -> tuple[str, ...]:
        """Columns that are there only if the rows differ in them: "seed", "train"."""
        trains = {record.train.fingerprint for record in self.records if record.train is not None}
        return ("seed",) * (len(self.seeds) > 1) + ("train",) * (len(trains) > 1)

    def narrowed(self) -> Table:
        """What was compared alone: its metric, and the rows that took part."""
        if self.compared is None or not self.compared.rows:
            return self
        who = {name for row in self.compared.rows for name in (row.subject, row.baseline)}
        records = [record for record in self.records if record.subject.name in who]
        return replace(self, records=tuple(with_metrics(records, [self.compared.metric])))

    def for_paper(self, precision: int | None = None) -> Table:
        """The same with the second best of each column, `precision` decimals, and of comparisons the marks alone."""
        compared = None if self.compared is None else replace(self.compared, listed=False)
        return replace(self, compared=compared, precision=precision, with_second=True)

    def extras_of(self, record: Record) -> list[str]:
        """What stands in the columns `extras` for one record."""
        train = record.train
        name = MISSING if train is None else f"{train.name}/{train.split} ({train.fingerprint[:8]})"
        return [{"seed": str(record.seed), "train": name}[extra] for extra in self.extras]

    def column(self, metric: str) -> str:
        """The head of a metric's column, with its unit and the better direction: "accuracy (%) ↑"."""
        return head(metric, next(r.metrics[metric].higher_is_better for r in self.records if metric in r.metrics))

    def show(self, metric: str, value: float) -> str:
        """A number of a metric's column as text, in the column's unit."""
        return unit_of(metric).show(value, decimals=self.precision)

    def cell(self, record: Record, metric: str) -> tuple[str, str]:
        """A metric of one record as texts, the value and its interval: ("91.4", "[88.9, 93.8]")."""
        found = record.metrics.get(metric)
        if found is None or found.low is None or found.high is None or math.isnan(found.value):
            return self._value(record, metric), ""
        return self._value(record, metric), f"[{self.show(metric, found.low)}, {self.show(metric, found.high)}]"

    def _value(self, record: Record, metric: str) -> str:
        found = record.metrics.get(metric)
        return MISSING if found is None else self.show(metric, found.value)

    def rank(self, record: Record, metric: str) -> Literal["best", "second"] | None:
        """Whether no row shows a better value, or, `with_second`, only the best does. What looks equal is equally good.

        One row has no best, and two have no second.
        """
        best, second = self._best[metric]
        value = self._value(record, metric)
        if len(self.records) > 1 and value == best:
            return "best"
        return "second" if self.with_second and len(self.records) > 2 and value == second else None

    def is_best(self, record: Record, metric: str) -> bool:
        """Whether no row shows a better value; see `rank`."""
        return self.rank(record, metric) == "best"

    def is_marked(self, record: Record, metric: str) -> bool:
        """Whether the record is significantly better than every baseline in what was compared."""
        return self.compared is not None and metric == self.compared.metric and record.id in self.compared.better

    @cached_property
    def _best(self) -> dict[str, tuple[str | None, str | None]]:
        """{metric: the best value as it is shown, the best of the others}."""
        found: dict[str, tuple[str | None, str | None]] = {}
        for metric in self.metrics:
            there = [record for record in self.records if not math.isnan(_goodness(record.metrics.get(metric)))]
            ranked = sorted(there, key=lambda record: _goodness(record.metrics.get(metric)), reverse=True)
            shown = (value for value, _ in groupby(self._value(record, metric) for record in ranked))
            found[metric] = next(shown, None), next(shown, None)
        return found


def heading_of(record: Record, differs: Mapping[str, str] = MappingProxyType({})) -> str:
    """Protocol, data, variant and what else `differs`: "inpainting@1 · digits/test · holes: center"."""
    parts = [record.protocol, f"{record.dataset.name}/{record.dataset.split}"]
    parts += [f"{name}: {value}" for name, value in {**record.variant, **differs}.items()]
    return " · ".join(parts)


def head(metric: str, higher_is_better: bool | None) -> str:
    """A metric's name with its unit and the better direction: "accuracy (%) ↑"."""
    symbol = unit_of(metric).symbol
    direction = {True: " ↑", False: " ↓", None: ""}[higher_is_better]
    return f"{metric}{f' ({symbol})' if symbol else ''}{direction}"


def with_metrics(records: Iterable[Record], names: Sequence[str]) -> list[Record]:
    """The records with only the metrics called `names`, in this order; a record that has none of them is left out.

    Raises
    ------
    UserError
        If no record has a metric of one of the names.
    """
    records = list(records)
    known = {name for record in records for name in record.metrics}
    for name in names:
        if name not in known:
            raise unknown("metric in these records", name, known)
    chosen = [{name: record.metrics[name] for name in names if name in record.metrics} for record in records]
    pairs = zip(records, chosen, strict=True)
    return [record.model_copy(update={"metrics": metrics}) for record, metrics in pairs if metrics]


def arrange(records: Iterable[Record]) -> list[Table]:
    """Tables in the order in which their first records came; the rows of each, best first."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(table_key(record), []).append(record)
    alike: dict[tuple[object, ...], list[Record]] = {}
    for group in groups.values():
        alike.setdefault(_heading_key(group[0]), []).append(group[0])
    return [
        Table(key, tuple(_best_first(group)), _apart(group[0], alike[_heading_key(group[0])]))
        for key, group in groups.items()
    ]


def table_key(record: Record) -> str:
    """What two records must share to be compared: protocol, variant, settings, and the very same images."""
    dataset = (record.dataset.name, record.dataset.split, record.dataset.fingerprint)
    return json.dumps([record.protocol, record.variant, dataset, _settings(record)], sort_keys=True, default=str)


def _best_first(records: list[Record]) -> list[Record]:
    headline = next((name for record in records for name in record.metrics), "")

    def goodness(record: Record) -> float:
        good = _goodness(record.metrics.get(headline))
        return -math.inf if math.isnan(good) else good

    return sorted(records, key=goodness, reverse=True)


def _goodness(metric: Metric | None) -> float:
    if metric is None or metric.higher_is_better is None:
        return math.nan
    return metric.value if metric.higher_is_better else -metric.value


def _apart(record: Record, alike: list[Record]) -> dict[str, str]:
    """The settings and images of `record` that the other tables of the same heading, one record each, do not share."""
    ours = _declared(record)
    others = [_declared(other) for other in alike if other is not record]
    return {name: ours[name] for name in ours if any(other.get(name) != ours[name] for other in others)}


def _heading_key(record: Record) -> tuple[object, ...]:
    return record.protocol, record.dataset.name, record.dataset.split, tuple(sorted(record.variant.items()))


def _declared(record: Record) -> dict[str, str]:
    settings = {name: str(value) for name, value in _settings(record).items()}
    return settings | {"images": record.dataset.fingerprint[:8]}


def _settings(record: Record) -> dict[str, Any]:
    """The evaluator's settings, without those that the variant speaks for (which hole strategies to run)."""
    return {name: value for name, value in record.config.items() if name not in record.variant}
