"""Records as text: Markdown, LaTeX, HTML, CSV and JSON, each made in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ssl_ce.errors import visible
from ssl_ce.records.record import Record
from ssl_ce.report.frames import records_csv, records_json
from ssl_ce.report.html import html_page
from ssl_ce.report.latex import PREAMBLE, latex_table
from ssl_ce.report.layout import Table, arrange
from ssl_ce.report.markdown import markdown_table

Format = Literal["md", "latex", "html", "csv", "json"]


def render(records: Iterable[Record], format: Format) -> str:
    """The records as text that ends in a newline.

    `md`, `latex` and `html` hold one table for each protocol, image set and variant; `csv` is the tidy frame and `json`
    a list of `Record.flat()` objects, both in full precision.
    """
    if format == "csv":
        return records_csv(records)
    return records_json(records) if format == "json" else render_tables(arrange(records), format)


def render_tables(tables: Sequence[Table], format: Literal["md", "latex", "html"]) -> str:
    """Tables that are arranged already, with their comparisons below them, as text that ends in a newline."""
    if format == "html":
        return html_page(tables)
    if format == "latex":
        return visible("\n\n".join((PREAMBLE, *map(latex_table, tables))) + "\n")
    return visible("\n\n".join(map(markdown_table, tables)) + "\n")
