"""Progress on stderr (rich): bars for training and suites, a line for evaluation; in a log, a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from ssl_ce.pretraining.hooks import Progress as TrainingProgress
    from ssl_ce.suites.schedule import Event

# Seconds between two lines in a log file.
_PAUSE = 60.0


@contextmanager
def training_progress(what: str) -> Iterator[Callable[[TrainingProgress], None]]:
    """A bar with steps, images/s, the losses, the time so far and the time left."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        _Losses(table_column=Column()),
        console=console,
        disable=not console.is_terminal,
    )
    print_now_and_then = _now_and_then(console)
    with bar:
        task = bar.add_task(what, total=None, rate="", losses="")
        losses = ""

        def show(state: TrainingProgress) -> None:
            nonlocal losses
            rate = f"{state.images_per_second:,.0f} images/s"
            losses = state.losses or losses
            bar.update(task, completed=state.step, total=state.total, rate=rate, losses=losses)
            print_now_and_then(f"{what}: step {state.step:,} of {state.total:,}, {rate}, {losses}".rstrip(", "))

        yield show


class _Losses(ProgressColumn):
    """The losses, cut short where the terminal is narrow: what all the others say matters more."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["losses"], style="dim", no_wrap=True, overflow="ellipsis")


@contextmanager
def status_line(what: str) -> Iterator[Callable[[str], None]]:
    """One line that says what is being done now; an empty message hides it, for others to show their progress."""
    console = Console(stderr=True)
    print_now_and_then = _now_and_then(console)
    with console.status(what) as status:

        def say(message: str) -> None:
            if not message:
                status.stop()
                return
            status.update(message)
            status.start()
            print_now_and_then(message)

        yield say


def _now_and_then(console: Console) -> Callable[[str], None]:
    """Prints a message if `console` is no terminal and the last one is long ago."""
    last = time.monotonic()

    def show(message: str) -> None:
        nonlocal last
        if not console.is_terminal and time.monotonic() - last >= _PAUSE:
            last = time.monotonic()
            console.print(message, markup=False, highlight=False, soft_wrap=True)

    return show


@contextmanager
def suite_progress(what: str, keys: Collection[str]) -> Iterator[Callable[[Event], None]]:
    """A bar over all cells of a suite that are to be done (`keys`), and a line for each that runs.

    Where nobody looks on: a line when a cell starts and ends, and one now and then while it runs.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        _Losses(table_column=Column()),
        console=console,
        disable=not console.is_terminal,
    )
    running: dict[str, tuple[TaskID, Callable[[str], None]]] = {}
    ended = 0

    def tell(message: str) -> None:
        console.print(message, markup=False, highlight=False, soft_wrap=True)

    with bar:
        overall = bar.add_task(what, total=len(keys), count=f"0/{len(keys)} cells", losses="")

        def start(event: Event) -> None:
            task = bar.add_task(f"  {event.cell.label}", total=None, count="", losses="")
            running[event.cell.key] = task, _now_and_then(console)
            if not console.is_terminal:
                tell(f"[{ended}/{len(keys)}] started: {event.cell.label}")

        def progress(event: Event) -> None:
            if event.report is None or event.cell.key not in running:
                return
            task, print_now_and_then = running[event.cell.key]
            step, total, text = event.report.step, event.report.total, event.report.text
            count = "" if step is None or total is None else f"{step:,}/{total:,}"
            bar.update(task, completed=step or 0, total=total, count=count, losses=text)
            print_now_and_then(f"{event.cell.label}: {f'step {count}, ' if count else ''}{text}")

        def end(event: Event) -> None:
            nonlocal ended
            assert event.outcome is not None
            status, message = event.outcome.status, event.outcome.message
            ended += status != "stopped"
            if event.cell.key in running:
                bar.remove_task(running.pop(event.cell.key)[0])
            bar.update(overall, completed=ended, count=f"{ended}/{len(keys)} cells")
            more = {"failed": f": {message}", "done": f" in {event.outcome.seconds:.0f} s"}.get(status, ", saved")
            if not console.is_terminal or status != "done":
                tell(f"[{ended}/{len(keys)}] {status}: {event.cell.label}{more}")

        actions = {"started": start, "progress": progress, "ended": end}
        yield lambda event: actions[event.kind](event)
