"""Anonymous memory: what is not a page of a file, and so cannot be given back to the system (Linux)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Most:
    """The most that was seen, MiB."""

    mib: float = 0.0


@contextmanager
def watched(process: int | str = "self", every: float = 0.02) -> Iterator[Most]:
    """Look at a process's anonymous memory every 20 ms; the result is complete when the block ends."""
    most, done = Most(anonymous_mib(process)), threading.Event()

    def watch() -> None:
        while not done.wait(every):
            most.mib = max(most.mib, anonymous_mib(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def anonymous_mib(process: int | str = "self") -> float:
    """Anonymous resident memory now; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)
