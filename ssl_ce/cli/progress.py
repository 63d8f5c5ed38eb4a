"""Progress on stderr (rich): a bar for training, a line for evaluation. Where nobody looks on, a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from ssl_ce.pretraining.loop import Progress as TrainingProgress

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
            logged = {name: value for name, value in state.numbers.items() if name.endswith("_loss")}
            if logged:
                losses = "loss: " + ", ".join(f"{name[:-5]} {value:.4f}" for name, value in logged.items())
            bar.update(task, completed=state.step, total=state.total, rate=rate, losses=losses)
            print_now_and_then(f"{what}: step {state.step:,} of {state.total:,}, {rate}, {losses}".rstrip(", "))

        yield show


class _Losses(ProgressColumn):
    """The losses, cut short where the terminal is narrow: what all the others say matters more."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["losses"], style="dim", no_wrap=True, overflow="ellipsis")


@contextmanager
def status_line(what: str) -> Iterator[Callable[[str], None]]:
    """One line that says what is being done now."""
    console = Console(stderr=True)
    print_now_and_then = _now_and_then(console)
    with console.status(what) as status:

        def say(message: str) -> None:
            status.update(message)
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
