"""`ce results report`: everything that a folder of records tells, as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from ssl_ce.errors import UserError
from ssl_ce.files import check_folder


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page, an .html file.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="SUBJECT",
    help="What the others are compared with; may be repeated. Default: as in ce results compare.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path(),
    help="The folder that runs/x in a subject's name is relative to. Default: the current one.",
)
@click.option("--no-images", is_flag=True, help="Embed no pictures: they show the images that were judged.")
@click.option("--force", is_flag=True, help="Replace a page that exists.")
def report(folder: Path, out: Path, baselines: tuple[str, ...], runs: Path, no_images: bool, force: bool) -> None:
    """Write the records in DIR as one page that opens from disk, without a network.

    Tables to sort, comparisons, what each run took and logged, layers, fills, retrieval, and what it takes to run
    everything again. Pictures that `ce evaluate` left in DIR, and the last fills of each run, are embedded: they
    contain images of yours. Give --no-images before you pass the page on, if nobody else may see them.

    \b
    Examples:
      ce results report results/local -o report.html
      ce results report results/local --no-images --force
      ce results report results/paper --runs /data/paper -o paper.html
    """
    from ssl_ce.cli.stores import open_store
    from ssl_ce.report.comparisons import compare
    from ssl_ce.report.layout import arrange
    from ssl_ce.report.page.facts import counted
    from ssl_ce.report.page.write import write_page

    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(
            f"The report is a page, and {out} is not an .html file. Give --out {out.stem or 'report'}.html."
        )
    if out.exists() and not force:
        raise UserError(f"{out} exists already. Choose another --out, or replace it with --force.")
    check_folder(out.parent)
    if not runs.is_dir():
        raise UserError(f"There is no folder {runs}. Give --runs the folder that runs/x is relative to.")
    store = open_store(folder)
    records = store.records()
    if not records:
        raise UserError(f"{folder} holds no records yet. Write some: ce evaluate ... --results {folder}")
    tables = compare(arrange(records), baselines=baselines, outcomes=store.find_outcomes)
    contents = write_page(out, folder, tables, runs=runs, pictures=not no_images)
    counts = {"record": len(records), "table": contents.tables, "chart": contents.charts, "picture": contents.pictures}
    told = ", ".join(counted(count, noun) for noun, count in counts.items())
    click.echo(f"{out}: {told}, {out.stat().st_size / 1e6:.1f} MB.")
    for path, reason in contents.left_out.items():
        click.echo(f"Left out: {path} ({reason}).", err=True)
