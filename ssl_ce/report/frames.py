"""Records and comparisons in full precision, for other programs: data frames, CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import pandas as pd

from ssl_ce.errors import visible
from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table


def results_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record: who, on what, and for each metric `accuracy`, `accuracy_low` and `accuracy_high`."""
    rows = []
    for record in records:
        row = _who(record)
        for name, metric in record.metrics.items():
            row |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
        rows.append(row)
    return pd.DataFrame(rows)


def tidy_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each metric of each record, with `value`, `low` and `high` in full precision."""
    rows = [
        _who(record)
        | {"metric": name, "value": metric.value, "low": metric.low, "high": metric.high}
        | {"spread": metric.spread, "higher_is_better": metric.higher_is_better}
        for record in records
        for name, metric in record.metrics.items()
    ]
    return pd.DataFrame(rows)


def records_csv(records: Iterable[Record]) -> str:
    """The tidy frame as CSV."""
    return as_csv(tidy_frame(records))


def records_json(records: Iterable[Record]) -> str:
    """A list of `Record.flat()` objects; what is not finite is null."""
    return as_json([record.flat() for record in records])


def comparisons_text(tables: Iterable[Table], format: Literal["csv", "json"]) -> str:
    """Every comparison of the tables, those of single runs too: a row, or an object, each."""
    rows = list(_comparisons(tables))
    return as_json(rows) if format == "json" else as_csv(pd.DataFrame(rows))


def as_json(value: Any) -> str:
    """JSON that ends in a newline. It has no infinity and no NaN: they are null."""
    return visible(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")


def as_csv(frame: pd.DataFrame) -> str:
    """CSV without the index."""
    return visible(str(frame.to_csv(index=False, lineterminator="\n")))


def _comparisons(tables: Iterable[Table]) -> Iterator[dict[str, Any]]:
    for table in tables:
        who = _who(table.records[0])
        place = {name: who[name] for name in ("protocol", "dataset", "split", "variant")}
        for row in table.compared.rows_as_dicts() if table.compared is not None else ():
            yield place | row


def _who(record: Record) -> dict[str, Any]:
    return {
        "protocol": record.protocol,
        "dataset": record.dataset.name,
        "split": record.dataset.split,
        "variant": ", ".join(f"{name}={value}" for name, value in record.variant.items()),
        "subject": record.subject.name,
        "n": record.dataset.n,
        "seed": record.seed,
        "id": record.id,
        "cell": record.cell,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
