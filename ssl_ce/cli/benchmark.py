"""`ce benchmark`: a suite of pretrainings and evaluations, run to its end and set beside what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_ce.errors import MachineError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from ssl_ce.suites.benchmark import Finished
    from ssl_ce.suites.cells import Cell
    from ssl_ce.suites.status import State


@click.command()
@click.argument("suite", metavar="SUITE")
@click.option("--results", type=click.Path(path_type=Path), metavar="DIR", help="Default: results/SUITE.")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    metavar="DIR",
    help="Run directories are DIR/SUITE/NAME-sSEED.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cells at a time, each in a process with its share of the cores (1), or on a cluster (as many as fit).",
)
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where cells run: processes here, or the nodes of a Ray cluster.",
)
@click.option("--address", metavar="HOST:PORT", help="The Ray cluster; auto (the default) finds it, local starts one.")
@click.option("--only", metavar="PATTERN", help="Only pretrainings of this name (vae-*), and what needs none.")
@click.option("--dry-run", is_flag=True, help="Show the cells and their time. Writes packed images to the cache only.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the suite's file.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where networks run.",
)
@click.option("--data-root", type=click.Path(file_okay=False, path_type=Path), help="Where registered datasets lie.")
@click.option("--download", is_flag=True, help="Fetch a registered dataset that is not there.")
def benchmark(
    suite: str,
    results: Path | None,
    runs: Path,
    jobs: int | None,
    executor: str,
    address: str | None,
    only: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    device: str,
    data_root: Path | None,
    download: bool,
) -> None:
    """Run SUITE (a shipped one's name, or a .yaml file): all its pretrainings and evaluations.

    What is finished is not run again, so a suite that was stopped goes on with the same command. A cell that fails is
    reported at the end and stops no other.

    \b
    Examples:
      ce benchmark quickstart
      ce benchmark quickstart --dry-run
      ce benchmark quickstart --set data.source=photos/ --set seeds=[0] --set settings.optim.epochs=5
      ce benchmark mine.yaml --executor ray --address 10.0.0.1:6379
      ce benchmark mine.yaml --jobs 2 --only 'vae-*' --results results/mine
      ce list suites
    """  # fmt: skip
    from rich.console import Console

    from ssl_ce.cli.progress import status_line, suite_progress
    from ssl_ce.data import DataOptions
    from ssl_ce.records.store import RecordStore
    from ssl_ce.suites.benchmark import choose, finish, run_suite
    from ssl_ce.suites.executor import Executor, LocalExecutor
    from ssl_ce.suites.planning import make_plan
    from ssl_ce.suites.ray_cluster import connect
    from ssl_ce.suites.ray_executor import RayExecutor
    from ssl_ce.suites.status import states
    from ssl_ce.suites.suite import load_suite

    if address is not None and executor != "ray":
        raise UserError("--address is that of a Ray cluster: give --executor ray with it.")
    loaded = load_suite(suite, assignments)
    folder = results or Path("results") / loaded.name
    if executor == "ray" and not dry_run:
        connect(address or "auto")
    options = DataOptions(data_root=data_root, download=download, progress=True)
    with status_line(f"reading {loaded.name}") as say:
        plan = make_plan(loaded, runs=runs, results=folder, device=device, options=options, say=say)
        found = states(plan, records := RecordStore(folder).records())
        cells = choose(plan, only)
    console = Console()
    if dry_run:
        from ssl_ce.suites.estimate import estimates

        with status_line("timing a step of each method"):
            seconds = estimates(plan, {cell.key for cell in cells}, found, records)
        _print_cells(console, cells, found, seconds)
        return
    where: Executor
    if executor == "ray":
        left = [cell for cell in cells if found[cell.key].kind != "done"]
        where = RayExecutor(left, (plan.results, plan.runs), jobs)
    else:
        where = LocalExecutor(jobs or 1)
    try:
        with suite_progress(loaded.name, [cell.key for cell in cells if found[cell.key].kind != "done"]) as notify:
            outcomes = run_suite(plan, cells, found, where, notify)
    finally:
        where.close()
    finished = finish(plan, outcomes)
    _print(console, finished)
    if finished.failed:
        raise MachineError(
            f"{len(finished.failed)} of {len(cells)} cells failed (above, and in {finished.paths[0]}). "
            "The same command tries them again."
        )


def _print(console: Console, finished: Finished) -> None:
    for line in finished.failed:
        click.echo(f"Failed: {line}", err=True)
    for sheet in (*finished.sheets, *finished.beside):
        sheet.print(console)
    if missing := finished.findings.missing():
        named = "; ".join(cell.label for cell in missing[:5]) + ("; ..." if len(missing) > 5 else "")
        click.echo(f"\nMissing from these tables: {len(missing)} evaluations ({named})")
    click.echo(f"\nWritten: {', '.join(map(str, finished.paths))}")


def _print_cells(
    console: Console, cells: Sequence[Cell], states: Mapping[str, State], seconds: Mapping[str, float | None]
) -> None:
    from ssl_ce.suites.sheets import Sheet

    rows = [
        (cell.label, str(states[cell.key]), "" if states[cell.key].kind == "done" else _time(seconds[cell.key]))
        for cell in cells
    ]
    left = [seconds[cell.key] for cell in cells if states[cell.key].kind != "done"]
    unknown = sum(one is None for one in left)
    total = _time(sum(one for one in left if one is not None))
    more = f", and {unknown} cells whose time is unknown until one of their protocol has run" if unknown else ""
    note = f"{len(left)} of {len(cells)} cells to do: {total}{more}. One after another, on this machine."
    Sheet("Cells", ("cell", "state", "estimate"), tuple(rows), (note,)).print(console)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
