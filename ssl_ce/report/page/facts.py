"""What a page says in words and numbers: the summary, the runs, the environments, and all of each record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssl_ce.records.record import DatasetInfo, Record
from ssl_ce.report.layout import Table
from ssl_ce.report.page.charts import show_seconds
from ssl_ce.report.page.runs import Run

_NOT_ENVIRONMENT = ("command", "device")


@dataclass(frozen=True)
class Details:
    """All of one record that its table does not show, as (name, text); `anchor` is its place on the page."""

    anchor: str
    title: str
    facts: list[tuple[str, str]]


@dataclass(frozen=True)
class Manifest:
    """What it takes to run everything again.

    Attributes
    ----------
    environments
        (facts, number of records made there), the first is environment 1.
    commands
        (command line, number of records it made), the first is command 1.
    settings
        For each table its settings and data, then its records.
    """

    environments: list[tuple[list[tuple[str, str]], int]]
    commands: list[tuple[str, int]]
    settings: list[tuple[Table, list[tuple[str, str]], list[Details]]]


def summary(records: Sequence[Record], tables: Sequence[Table], runs: Mapping[str, Run]) -> list[tuple[str, str]]:
    """What was judged, on what, when: (name, text)."""
    subjects = {record.subject.name for record in records}
    data = {record.dataset.fingerprint: record.dataset for record in records}.values()
    days = sorted({record.created[:10] for record in records})
    facts = [
        ("records", f"{len(records):,} in {counted(len(tables), 'table')}"),
        ("subjects", f"{len(subjects):,}" + (f", of {counted(len(runs), 'run')}" if runs else "")),
        ("protocols", ", ".join(sorted({record.protocol for record in records}))),
        ("images", "; ".join(sorted({_data(one) for one in data}))),
        ("judged with seed", ", ".join(str(seed) for seed in sorted({record.seed for record in records}))),
        ("measured", days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"),
    ]
    return facts


def run_rows(runs: Mapping[str, Run]) -> list[list[str]]:
    """A row for each run: name, time, steps, images, trained on, device."""
    rows = []
    for run in runs.values():
        told = run.manifest
        step, total, seen, data = (told.get(name) for name in ("step", "total_steps", "images_seen", "data"))
        rows.append(
            [
                run.name,
                "" if run.seconds is None else show_seconds(run.seconds),
                _number(step) + (f" of {_number(total)}" if total not in (step, None) else ""),
                _number(seen),
                f"{data.get('name')}/{data.get('split')}" if isinstance(data, dict) else "",
                str(told.get("device_name", "")),
            ]
        )
    return rows


def manifest(tables: Sequence[Table]) -> Manifest:
    """What made the records of `tables`, each thing that several share told once."""
    records = [record for table in tables for record in table.records]
    environments = Counter(map(_environment, records))  # in the order in which they came
    commands = Counter(command for record in records if (command := _command(record)))
    environment_number = {environment: number for number, environment in enumerate(environments, start=1)}
    command_number = {command: number for number, command in enumerate(commands, start=1)}
    places = anchors(tables)
    settings = []
    for table in tables:
        details = []
        for record in table.records:
            made_with = f"environment {environment_number[_environment(record)]}"
            if command := _command(record):
                made_with += f", command {command_number[command]}"
            title = f"{record.subject.name} · seed {record.seed}"
            details.append(Details(places[record.id], title, _facts(record, made_with)))
        settings.append((table, _shared(table), details))
    return Manifest([(list(facts), n) for facts, n in environments.items()], list(commands.items()), settings)


def anchors(tables: Sequence[Table]) -> dict[str, str]:
    """{id of a record: the place of its details}."""
    ids = [record.id for table in tables for record in table.records]
    return {one: f"r{number}" for number, one in enumerate(ids, start=1)}


def _shared(table: Table) -> list[tuple[str, str]]:
    first = table.records[0]
    return [
        *((f"setting {name}", _text(value)) for name, value in first.config.items()),
        ("images", f"{_data(first.dataset)}, fingerprint {first.dataset.fingerprint}"),
        *((f"images, {name}", _text(value)) for name, value in first.dataset.source.items()),
    ]


def _facts(record: Record, made_with: str) -> list[tuple[str, str]]:
    train = record.train
    return [
        ("id", record.id),
        ("cell", record.cell),
        ("subject's identity", record.subject.identity),
        *([("train images", f"{_data(train)}, fingerprint {train.fingerprint}")] if train else []),
        ("made", f"{record.created}, in {show_seconds(record.seconds)}, {record.peak_memory_mb:,.0f} MiB at most"),
        ("with", made_with),
        *((f"chosen: {name}", _text(value)) for name, value in record.chosen.items()),
        *((f"note: {name}", _text(value)) for name, value in record.notes.items()),
    ]


def _command(record: Record) -> str:
    return str(record.machine.get("command", ""))


def _environment(record: Record) -> tuple[tuple[str, str], ...]:
    told = {name: value for name, value in record.machine.items() if name not in _NOT_ENVIRONMENT}
    return tuple((name.replace("_", " "), _text(value)) for name, value in told.items())


def _data(data: DatasetInfo) -> str:
    size = " of {} x {} px".format(*data.size) if data.size is not None else ""
    return f"{data.name}/{data.split}, {data.n:,} images{size}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value and all(isinstance(item, str | int | float) for item in value.values()):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else ""


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 table", "1,200 tables"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
