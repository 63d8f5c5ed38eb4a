"""Records in the folders that users name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_ce.errors import UserError

if TYPE_CHECKING:
    from ssl_ce.records.record import Record
    from ssl_ce.records.store import RecordStore


def open_store(folder: Path) -> RecordStore:
    """The store in a folder that the user named; a torn last line is told on stderr."""
    from ssl_ce.records.store import RecordStore

    store = RecordStore(folder, say=lambda message: click.echo(message, err=True))
    if not store.path.is_file():
        what = "has no records.jsonl" if folder.is_dir() else "is not a folder"
        raise UserError(f"There are no results in {folder}: it {what}. Give the folder that --results named.")
    return store


def records_with(store: RecordStore, metrics: str | None, *, with_outcomes: bool = False) -> list[Record]:
    """The records in `store`, with the metrics that --metrics names alone; None or "all": with all of them."""
    records = store.records(with_outcomes=with_outcomes)
    if metrics in (None, "all"):
        return records
    from ssl_ce.report.layout import with_metrics

    names = list(dict.fromkeys(name.strip() for name in str(metrics).split(",") if name.strip()))
    if not names:
        raise UserError(f"--metrics {metrics} names no metric. Name one or more: --metrics psnr,ssim; or all.")
    return with_metrics(records, names)
