"""Tables as files beside the records they are a view of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssl_ce.files import write_text
from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table, arrange
from ssl_ce.report.tables import render, render_tables


def write_report(folder: Path, records: Sequence[Record], tables: Sequence[Table] | None = None) -> list[Path]:
    """Write `table.md` and `table.csv` into `folder`, each whole or not at all.

    `tables` are those of the records, where they were compared. Returns the two paths. Raises `UserError` if the folder
    cannot be written to, `MachineError` if the disk is full.
    """
    paths = [folder / "table.md", folder / "table.csv"]
    write_text(paths[0], render_tables(arrange(records) if tables is None else tables, "md"))
    write_text(paths[1], render(records, "csv"))
    return paths
