"""`ce results`: show what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from ssl_ce.cli.groups import Group
from ssl_ce.errors import UserError


@click.group(cls=Group)
def results() -> None:
    """Look at records: one table for each protocol, image set and variant.

    \b
    Examples:
      ce results show results/local
    """


@results.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "layout",
    type=click.Choice(["table", "md", "csv", "json", "latex"]),
    default="table",
    show_default=True,
    help="How to show them; everything but `table` is for files and other programs.",
)
def show(folder: Path, layout: Literal["table", "md", "csv", "json", "latex"]) -> None:
    """Show the records in DIR.

    DIR is a folder that `ce evaluate` or `ce quickstart` wrote (--results).

    \b
    Examples:
      ce results show results/local
      ce results show results/local --format md > table.md
      ce results show results/local --format json | jq '.[] | [.subject, .metrics.accuracy.value]'
    """
    from ssl_ce.records.store import RecordStore

    store = RecordStore(folder, say=lambda message: click.echo(message, err=True))
    if not store.path.is_file():
        what = "has no records.jsonl" if folder.is_dir() else "is not a folder"
        raise UserError(f"There are no results in {folder}: it {what}. Give the folder that --results named.")
    records = store.records()
    if layout == "table":
        from rich.console import Console

        from ssl_ce.report.tables import print_table

        print_table(records, Console())
    else:
        from ssl_ce.report.tables import render

        click.echo(render(records, layout), nl=False)
