"""Packing: a source decoded in parallel into one file, in order, with few images in memory at a time."""

from __future__ import annotations

import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_ce.data.decode import Unreadable, decode, fit_square, quiet_pillow
from ssl_ce.data.options import DataOptions, Fit
from ssl_ce.data.packfile import PIXELS_AT, BodyWriter, Metadata
from ssl_ce.data.source import Source
from ssl_ce.errors import DataLostError, MachineError, UserError
from ssl_ce.files import atomic_write, digest

GEOMETRY: Mapping[Fit, str] = {
    "crop": "shorter side resized (antialiased bicubic), then centre crop",
    "squash": "both sides resized (antialiased bicubic)",
    "pad": "longer side resized (antialiased bicubic), centred on black",
}
UNREADABLE_SHARE = 0.01
# Results that wait for their turn, for each thread.
_AHEAD = 8
_REPORTED = 20
_LISTED = 1000
A = TypeVar("A")
B = TypeVar("B")


def pack(source: Source, size: int, path: Path, options: DataOptions, asked: Mapping[str, Any]) -> Metadata:
    """Decode `source` to squares of `size` pixels (`options.fit`) into the packed file `path`, replacing it.

    Anonymous memory does not grow with the number of images. With `options.progress`, the disk it will take,
    a progress bar and the unreadable images are shown on stderr.

    Parameters
    ----------
    asked
        What the file tells as its `source`.

    Raises
    ------
    UserError
        If the source is empty, if more than 1 % of its images cannot be read (unless `allow_unreadable`) or
        none can, or if `path` cannot be written.
    MachineError
        If the file does not fit on the disk, or an image changed or vanished meanwhile (`DataLostError`). Nothing is
        left behind in any of these cases.
    """
    if len(source) == 0:
        raise UserError(f"The {source.split} split of {source.name} holds no images.")
    console = Console(stderr=True, quiet=not options.progress)
    _check_space(source, size, path, console)
    failures = Failures(source, options.allow_unreadable, console)
    listed = source.identity()
    kept = np.ones(len(source), dtype=bool)
    with atomic_write(path) as temporary, temporary.open("wb") as file, quiet_pillow(), progress_bar(console) as bar:
        body = BodyWriter(file)
        task = bar.add_task(f"Packing {source.name}, {source.split}", total=len(source))
        for index, result in enumerate(_decode_in_order(source, size, options)):
            if isinstance(result, Unreadable):
                kept[index] = False
                failures.add(index, result)
            else:
                body.write(result.data)
            bar.advance(task)
        failures.check_end()
        metadata = _describe(source, size, options.fit, kept, failures, body, asked)
        if metadata.source_identity != listed:
            first = f" (the first that cannot be read: {failures.listed[0]})" if failures.listed else ""
            raise DataLostError(
                f"Images of {source.name} changed or vanished while they were packed{first}. Nothing was written. "
                "Restore them and run again."
            )
        body.finish(metadata)
    return metadata


def check_unreadable(name: str, count: int, total: int, allowed: bool, first: str) -> None:
    """Raise `UserError` where `count` unreadable images of `total` are too many to go on with."""
    if count > UNREADABLE_SHARE * total and not allowed:
        raise UserError(
            f"More than 1 % of the images of {name} cannot be read: {count} of {total:,}, the first {first}. "
            "Mend or remove them, or go on without them: --allow-unreadable."
        )


class Failures:
    """The images that could not be read; stops the packing as soon as they are too many."""

    def __init__(self, source: Source, allowed: bool, console: Console) -> None:
        self._source = source
        self._allowed = allowed
        self._console = console
        self.count = 0
        self.listed: list[str] = []

    def add(self, index: int, reason: Unreadable) -> None:
        """Note an image, and raise `UserError` where there are too many."""
        message = f"{self._source.label(index)}: {reason}"
        self.count += 1
        if len(self.listed) < _LISTED:
            self.listed.append(message)
        if self.count <= _REPORTED:
            self._console.print(f"Skipped {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        check_unreadable(self._source.name, self.count, len(self._source), self._allowed, self.listed[0])

    def check_end(self) -> None:
        """Say how many were not shown. `UserError` where no image is left."""
        if self.count == len(self._source):
            raise UserError(f"None of the {self.count} images of {self._source.name} can be read: {self.listed[0]}.")
        if self.count > _REPORTED:
            self._console.print(f"... and {self.count - _REPORTED} more that could not be read", style="yellow")


def in_order(work: Callable[[A], B], items: Iterable[A], workers: int | None) -> Iterator[B]:
    """`work` of each item, in order, done by threads (one a core for None) a little ahead of who takes the results."""
    count = workers or os.cpu_count() or 1
    # Threads suffice: Pillow decodes and resizes without holding the interpreter's lock.
    pool = ThreadPoolExecutor(count, "decode")
    pending: deque[Future[B]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= _AHEAD * count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_in_order(source: Source, size: int, options: DataOptions) -> Iterator[NDArray[np.uint8] | Unreadable]:
    def work(index: int) -> NDArray[np.uint8] | Unreadable:
        try:
            return fit_square(decode(source.images[index]), size, options.fit)
        except Unreadable as reason:
            return reason

    return in_order(work, range(len(source)), options.workers)


def _describe(
    source: Source,
    size: int,
    fit: Fit,
    kept: NDArray[np.bool_],
    failures: Failures,
    body: BodyWriter,
    asked: Mapping[str, Any],
) -> Metadata:
    n = int(kept.sum())
    targets = np.empty((n, 0), dtype="<i8") if source.targets is None else source.targets[kept].astype("<i8")
    body.write(targets.tobytes())
    return Metadata(
        name=source.name,
        split=source.split,
        task=source.task,
        classes=source.classes,
        n=n,
        columns=None if targets.ndim == 1 else targets.shape[1],
        size=size,
        fit=fit,
        geometry=GEOMETRY[fit],
        fingerprint=digest(body.content_hash(), str((n, size, targets.shape)), *source.classes),
        source=dict(asked),
        source_identity=source.identity(),
        total=len(source),
        unreadable=tuple(failures.listed),
        unreadable_count=failures.count,
        dropped=tuple(np.flatnonzero(~kept).tolist()),
        ignored=source.ignored,
    )


def _check_space(source: Source, size: int, path: Path, console: Console) -> None:
    columns = 0 if source.targets is None else math.prod(source.targets.shape[1:])
    needed = PIXELS_AT + len(source) * (3 * size * size + 8 * columns)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    counted, take = ("1 image", "takes") if len(source) == 1 else (f"{len(source):,} images", "take")
    console.print(
        f"{counted} at {size} x {size} {take} {_bytes(needed)}: {path}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    check_free(
        folder,
        needed,
        f"{source.name} when packed at {size} x {size}",
        "Nothing was written. Free some space, take a smaller --size, or put the cache elsewhere (the environment "
        "variable SSL_CE_CACHE).",
    )


def check_free(folder: Path, needed: int, what: str, advice: str) -> None:
    """Raise `MachineError` where `needed` bytes are more than are free in `folder`; `what` takes them."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MachineError(f"{what} takes {_bytes(needed)}, but {folder} has {_bytes(free)} left. {advice}")


def progress_bar(console: Console) -> Progress:
    """A bar of images done, for a terminal only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
