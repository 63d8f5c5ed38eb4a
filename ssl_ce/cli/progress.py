"""Progress on the terminal (rich, on stderr): a bar for training, a line for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from ssl_ce.pretraining.loop import Progress as TrainingProgress


@contextmanager
def training_progress(what: str) -> Iterator[Callable[[TrainingProgress], None]]:
    """A bar with steps, images/s, the loss and the time left."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(what, total=None, rate="", loss="")

        def show(state: TrainingProgress) -> None:
            loss = " ".join(f"{name} {value:.4f}" for name, value in state.numbers.items() if name.endswith("_loss"))
            bar.update(task, completed=state.step, total=state.total, rate=f"{state.images_per_second:,.0f} images/s")
            if loss:
                bar.update(task, loss=loss)

        yield show


@contextmanager
def status_line(what: str) -> Iterator[Callable[[str], None]]:
    """One line that says what is being done now."""
    console = Console(stderr=True)
    with console.status(what) as status:
        yield lambda message: status.update(message)
