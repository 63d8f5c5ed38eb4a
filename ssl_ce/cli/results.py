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
      ce results curves runs/mine -o curves.png
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


@results.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--quantity",
    "quantities",
    multiple=True,
    metavar="NAME",
    help="A column of log.csv; may be repeated. Default: every loss of the first run.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("curves.png"), show_default=True, help="The picture."
)
def curves(runs: tuple[Path, ...], quantities: tuple[str, ...], out: Path) -> None:
    """Draw what runs logged while they trained: a panel for each quantity, a line for each run.

    \b
    Examples:
      ce results curves runs/mine runs/other -o curves.png
      ce results curves runs/gan --quantity log_d_real --quantity log_d_filled --quantity held_out_psnr
    """
    from ssl_ce.report.curves import draw_curves, losses_of

    draw_curves(out, {str(run): run for run in runs}, quantities or losses_of(runs[0]))
    click.echo(f"{out}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}.")
