"""`ce results`: show what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from ssl_ce.cli.comparing import compare, diff, export, reproduce
from ssl_ce.cli.groups import Group
from ssl_ce.cli.report import report
from ssl_ce.cli.stores import open_store, records_with
from ssl_ce.errors import UserError
from ssl_ce.files import check_folder
from ssl_ce.garbage import uncollected


@click.group(cls=Group)
@click.pass_context
def results(context: click.Context) -> None:
    """Look at records: one table for each protocol, image set and variant.

    \b
    Examples:
      ce results show results/local
      ce results compare results/local
      ce results breakdown results/local --by distance --plot distance.png
      ce results curves runs/mine -o curves.png
      ce results export results/local --format latex -o table.tex
      ce results report results/local -o report.html
    """
    context.with_resource(uncollected())


for _command in (compare, diff, reproduce, export, report):
    results.add_command(_command)


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
@click.option(
    "--metrics",
    metavar="A,B,...",
    help="Metrics to show, the first one sorts the rows; or all. Default: all, but in a `table` those over the whole "
    "image (image_...) only where there are no others.",
)
def show(folder: Path, layout: Literal["table", "md", "csv", "json", "latex"], metrics: str | None) -> None:
    """Show the records in DIR.

    DIR is a folder that `ce evaluate` or `ce quickstart` wrote (--results).

    \b
    Examples:
      ce results show results/local
      ce results show results/local --metrics psnr,seam,image_psnr
      ce results show results/local --format md > table.md
      ce results show results/local --format json | jq '.[] | [.subject, .metrics.accuracy.value]'
    """
    records = records_with(open_store(folder), metrics)
    if layout == "table":
        from rich.console import Console

        from ssl_ce.report.terminal import print_table

        print_table(records, Console(), everything=metrics is not None)
    else:
        from ssl_ce.report.tables import render

        click.echo(render(records, layout), nl=False)


@results.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--by",
    "questions",
    multiple=True,
    type=click.Choice(["missing", "distance", "mixes"]),
    help="The share of the image that is missing, a missing pixel's distance to the context, or whether the hole mixes "
    "classes; may be repeated. Default: all that the records tell.",
)
@click.option(
    "--metric", metavar="NAME", help="What is averaged. Default: psnr; by distance l1, and there is no other."
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["table", "md", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to show it; csv and json have a row for each subject and bin.",
)
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw it too, as a .png file.")
@click.option("--force", is_flag=True, help="Replace a picture that exists.")
def breakdown(
    folder: Path,
    questions: tuple[Literal["missing", "distance", "mixes"], ...],
    metric: str | None,
    layout: Literal["table", "md", "csv", "json"],
    plot: Path | None,
    force: bool,
) -> None:
    """Show where the inpainters of DIR fail, from the outcomes of single images.

    DIR is a folder that `ce evaluate inpainting` or `ce evaluate nn-inpainting` wrote (--results). Each number is the
    mean over the images of a bin, with its 95 % interval.

    \b
    Examples:
      ce results breakdown results/local
      ce results breakdown results/local --by missing --by mixes --metric ssim
      ce results breakdown results/local --by distance --plot distance.png
      ce results breakdown results/local --format csv > breakdown.csv
    """
    from ssl_ce.report.breakdown import break_down, print_breakdown, render_breakdown

    if plot is not None:
        _check_picture(plot, "--plot", force)
    tables = break_down(open_store(folder).records(with_outcomes=True), tuple(dict.fromkeys(questions)), metric)
    if plot is not None:
        from ssl_ce.report.breakdown_figure import draw_breakdown

        draw_breakdown(plot, tables)
    if layout == "table":
        from rich.console import Console

        print_breakdown(tables, Console())
    else:
        click.echo(render_breakdown(tables, layout), nl=False)
    if plot is not None:
        click.echo(f"Picture: {plot}", err=layout != "table")


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
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("curves.png"),
    show_default=True,
    help="The picture, a .png file.",
)
@click.option("--force", is_flag=True, help="Replace a picture that exists.")
def curves(runs: tuple[Path, ...], quantities: tuple[str, ...], out: Path, force: bool) -> None:
    """Draw what runs logged while they trained: a panel for each quantity, a line for each run.

    \b
    Examples:
      ce results curves runs/mine runs/other -o curves.png
      ce results curves runs/gan --quantity log_d_real --quantity log_d_filled --quantity held_out_psnr
    """
    from ssl_ce.report.curves import draw_curves, losses_of

    _check_picture(out, "--out", force)
    draw_curves(out, {str(run): run for run in runs}, quantities or losses_of(runs[0]))
    click.echo(f"{out}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}.")


def _check_picture(path: Path, option: str, force: bool) -> None:
    """Refuse a place for a picture before anything is drawn."""
    if path.suffix.lower() != ".png":
        raise UserError(f"Pictures are written as PNG, and {path} is not a .png file. Give {option} {path.stem}.png.")
    if path.exists() and not force:
        raise UserError(f"{path} exists already. Choose another {option}, or replace it with --force.")
    check_folder(path.parent)
