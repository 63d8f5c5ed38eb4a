"""`ce results compare`, `diff`, `reproduce` and `export`: what records say beside one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ssl_ce.cli.stores import open_store, records_with
from ssl_ce.errors import UserError

if TYPE_CHECKING:
    from ssl_ce.report.layout import Table

LOCAL_RESULTS = Path("results/local")

_baseline = click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="SUBJECT",
    help="Compare with this one, or with those of a pattern ('runs/x-s*'); may be repeated. Default: every subject of "
    "the table in which nothing was learned; an untrained twin with its own network alone.",
)
_results = click.option(
    "--results",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    default=(LOCAL_RESULTS,),
    show_default=True,
    metavar="DIR",
    help="Where records are looked for; may be repeated.",
)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@_baseline
@click.option(
    "--subject",
    "subjects",
    multiple=True,
    metavar="SUBJECT",
    help="Compare this one, or those of a pattern; may be repeated. Default: all that are no baselines.",
)
@click.option("--metric", metavar="NAME", help="What is compared. Default: the first metric of each table.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(["table", "md", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to show it; csv and json have every comparison, those of each seed too.",
)
def compare(
    folder: Path,
    baselines: tuple[str, ...],
    subjects: tuple[str, ...],
    metric: str | None,
    layout: Literal["table", "md", "csv", "json"],
) -> None:
    """Say which subjects of DIR are better than their baselines, and how sure that is.

    Subjects of one table are compared on the same images: right and wrong answers by McNemar's exact test, draws of
    labels and pretraining seeds by the exact sign-flip test, other outcomes by the paired bootstrap. p is adjusted over
    the comparisons of a table by Holm's method. A star marks what beats every baseline.

    \b
    Examples:
      ce results compare results/local
      ce results compare results/local --baseline hog --metric top5
      ce results compare results/local --subject 'runs/mae-s*@block4' --baseline 'runs/vae-s*@conv3'
      ce results compare results/local --format csv > comparisons.csv
    """
    from ssl_ce.report.comparisons import compare
    from ssl_ce.report.layout import arrange

    store = open_store(folder)
    records = records_with(store, metric)
    tables = compare(arrange(records), baselines=baselines, subjects=subjects, outcomes=store.find_outcomes)
    if layout in ("csv", "json"):
        from ssl_ce.report.frames import comparisons_text

        click.echo(comparisons_text(tables, "csv" if layout == "csv" else "json"), nl=False)
        return
    there = [table for table in tables if table.compared is not None and table.compared.rows]
    # What the options rule out is not worth a table.
    tables = [table.narrowed() for table in (there if there and (baselines or subjects) else tables)]
    if layout == "md":
        from ssl_ce.report.tables import render_tables

        click.echo(render_tables(tables, "md"), nl=False)
    else:
        from rich.console import Console

        from ssl_ce.report.terminal import print_tables

        print_tables(tables, Console(), everything=True)


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@_results
@click.option("--format", "layout", type=click.Choice(["table", "json"]), default="table", show_default=True)
def diff(a: str, b: str, folders: tuple[Path, ...], layout: Literal["table", "json"]) -> None:
    """Say what differs between two records, and which of their numbers moved.

    A and B are ids of records, or how they begin; DIR:ID names one in another folder.

    \b
    Examples:
      ce results diff 3f2a 91bc
      ce results diff results/first-light/scenes:3f2a results/local:3f2a
    """
    from ssl_ce.records.finding import find_record
    from ssl_ce.report.diff import diff as compare
    from ssl_ce.report.diff import print_diff, title

    found = compare(find_record(a, folders), find_record(b, folders))
    if layout == "json":
        from ssl_ce.report.frames import as_json

        click.echo(as_json(found.as_dict()), nl=False)
    else:
        from rich.console import Console

        click.echo(f"A: {title(found.a)}\nB: {title(found.b)}")
        print_diff(found, Console())


@click.command()
@click.argument("record_id", metavar="RECORD_ID")
@_results
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Default: the record's, if it is here.")
@click.option("--data-root", type=click.Path(file_okay=False, path_type=Path), help="Where registered datasets lie.")
@click.option("--download", is_flag=True, help="Fetch a registered dataset that is not there.")
@click.pass_context
def reproduce(
    context: click.Context, /, record_id: str, folders: tuple[Path, ...], device: str | None, **data: Any
) -> None:
    """Run the cell of a record again, and say whether its numbers come out again.

    RECORD_ID is an id or how it begins, or DIR:ID. Settings, seed, images and subject are those of the record; a run is
    looked for where the record says. Nothing is kept. The exit code is 0 if every number is equal or within its
    interval, 1 if one is not.

    \b
    Examples:
      ce results reproduce 3f2a
      ce results reproduce results/first-light/scenes:3f2a --data-root ~/data
    """
    from rich.console import Console

    from ssl_ce.cli.progress import status_line
    from ssl_ce.data import DataOptions
    from ssl_ce.records.finding import find_record
    from ssl_ce.report.diff import diff as compare
    from ssl_ce.report.diff import print_diff, title
    from ssl_ce.suites.reproducing import reproduce as run_again

    record = find_record(record_id, folders)
    where = device or ("cpu" if record.machine.get("device") == "cpu" else "auto")
    with status_line(f"{record.protocol}: {record.subject.name}") as say:
        again = run_again(record, DataOptions(progress=True, **data), where, say)
    found = compare(record, again)
    click.echo(title(record))
    print_diff(found, Console(), ("recorded", "again"))
    if found.moved:
        click.echo(f"Not reproduced: {', '.join(found.moved)}.")
        context.exit(1)
    within = any(one.verdict == "within the interval" for one in found.metrics)
    click.echo(f"Reproduced: every number is {'equal or within its interval' if within else 'equal'}.")
    if record.subject.identity != again.subject.identity:
        click.echo(
            f"The subject is another one than was recorded: {record.subject.name} has other weights or parameters."
        )


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--format", "layout", type=click.Choice(["latex", "md", "csv", "json", "html"]), required=True)
@click.option("--precision", type=click.IntRange(0, 12), metavar="N", help="Decimals. Default: each metric's own.")
@click.option("--metrics", metavar="A,B,...", help="Metrics to show, the first one sorts the rows. Default: all.")
@_baseline
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write to this file instead of the terminal.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def export(
    folder: Path,
    layout: Literal["latex", "md", "csv", "json", "html"],
    precision: int | None,
    metrics: str | None,
    baselines: tuple[str, ...],
    out: Path | None,
    force: bool,
) -> None:
    """Write the tables of DIR for a paper: intervals, the best in bold, the second underlined.

    A star marks what is significantly better than every baseline of its table, in the first metric: see ce results
    compare. csv and json hold the records in full precision, without marks.

    \b
    Examples:
      ce results export results/local --format latex --metrics accuracy --precision 2 -o table.tex
      ce results export results/local --format html -o table.html
    """
    from ssl_ce.report.layout import arrange
    from ssl_ce.report.tables import render, render_tables

    if out is not None and out.exists() and not force:
        raise UserError(f"{out} exists already. Choose another --out, or replace it with --force.")
    store = open_store(folder)
    records = records_with(store, metrics)
    if layout == "csv" or layout == "json":
        if precision is not None or baselines:
            raise UserError(f"{layout} holds full precision and no marks: leave out --precision and --baseline.")
        text = render(records, layout)
    else:
        from ssl_ce.report.comparisons import compare

        tables: list[Table] = compare(arrange(records), baselines=baselines, outcomes=store.find_outcomes)
        text = render_tables([table.for_paper(precision) for table in tables], layout)
    if out is None:
        click.echo(text, nl=False)
    else:
        from ssl_ce.files import write_text

        write_text(out, text)
        click.echo(f"{out}: {len(records)} {'record' if len(records) == 1 else 'records'}.")
