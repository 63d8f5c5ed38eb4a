"""Put a page together and write it: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ssl_ce import __version__
from ssl_ce.files import write_text
from ssl_ce.records.record import Record
from ssl_ce.report.layout import Table
from ssl_ce.report.page import facts
from ssl_ce.report.page.pictures import Album, collect
from ssl_ce.report.page.plots import Styles, layer_charts, time_charts, training_charts
from ssl_ce.report.page.runs import find_runs


@dataclass(frozen=True)
class Contents:
    """What a page holds, counted: tables, charts, pictures, and why other pictures are left out."""

    tables: int
    charts: int
    pictures: int
    left_out: dict[str, str]


def write_page(path: Path, folder: Path, tables: Sequence[Table], *, runs: Path, pictures: bool = True) -> Contents:
    """Write the page of `tables` to `path`, whole or not at all.

    Parameters
    ----------
    folder
        Where their records come from: it names the page, and its pictures are shown.
    tables
        At least one, with their comparisons where they were made.
    runs
        The folder that relative names of runs are relative to.
    pictures
        Embed pictures, which show the images that were judged.

    Raises
    ------
    UserError
        If `path` cannot be written.
    """
    records = [record for table in tables for record in table.records]
    found, missing = find_runs({record.subject.name for record in records}, runs)
    album = collect(folder, records, found) if pictures else Album([], [], {})
    styles = Styles()
    charts = {
        "times": time_charts(tables, found, styles),
        "layers": layer_charts(tables, found, styles),
        "training": training_charts(found, styles),
    }
    script, style = (files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = _environment().get_template("page.html").render(
        name=folder.resolve().name,
        version=__version__,
        script=script,
        script_hash=f"sha256-{digest}",
        style=style,
        summary=facts.summary(records, tables, found),
        tables=tables,
        anchors=facts.anchors(tables),
        charts=charts,
        runs=facts.run_rows(found),
        missing=missing,
        album=album,
        manifest=facts.manifest(tables),
    )  # fmt: skip
    write_text(path, html)
    shown = len(album.fills) + len(album.retrieval)
    return Contents(len(tables), sum(map(len, charts.values())), shown, album.left_out)


def _environment() -> Environment:
    """Templates beside this file; whatever comes from records is escaped."""
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["sort_value"] = _sort_value
    return environment


def _sort_value(record: Record, metric: str) -> str:
    """A number as the page's script reads it, empty for none."""
    found = record.metrics.get(metric)
    return "" if found is None or found.value != found.value else repr(found.value).replace("inf", "Infinity")
