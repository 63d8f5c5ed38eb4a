"""Where cells are run: the interface, and processes on this machine.

Nothing here imports torch: a worker process decides how many threads it may take before it does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from ssl_ce.suites.cells import Cell


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes
    ----------
    status
        "done"; "failed", with the reason in `message`; or "stopped" on request, after saving.
    trace
        The traceback of an error that nobody foresaw.
    spoilt
        What went wrong may go on in this process (no memory, a device that failed): it is not to be used again.
    died
        The process that ran it is gone, and gave no answer.
    """

    status: Literal["done", "failed", "stopped"]
    message: str = ""
    trace: str = ""
    seconds: float = 0.0
    spoilt: bool = False
    died: bool = False


@dataclass(frozen=True)
class Report:
    """What a running cell says of itself: a text, and its step where it counts steps."""

    text: str
    step: int | None = None
    total: int | None = None


class Executor(Protocol):
    """Runs cells somewhere.

    Attributes
    ----------
    slots
        How many cells may run at a time; no more are submitted.
    """

    slots: int

    def submit(self, cell: Cell, report: Callable[[Report], None]) -> Future[Outcome]:
        """Start a cell. The future never raises: what goes wrong is a failed outcome. `report` may be called from
        any thread."""
        ...

    def stop(self) -> None:
        """Ask the running cells to save and stop; their outcomes are "stopped"."""
        ...

    def close(self) -> None:
        """Give everything back. Nothing is running any more, or it may be ended at once."""
        ...


class LocalExecutor:
    """Processes on this machine, each with its share of the cores. One that dies takes its own cell along, no other.

    Parameters
    ----------
    jobs
        How many cells run at a time.
    threads
        Of each process; None: its share of the cores.
    """

    def __init__(self, jobs: int = 1, threads: int | None = None) -> None:
        self.slots = jobs
        self._threads = threads or max(1, cores() // jobs)
        self._pool = ThreadPoolExecutor(jobs, "slot")
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._stopping = False

    def submit(self, cell: Cell, report: Callable[[Report], None]) -> Future[Outcome]:
        """See `Executor`."""
        return self._pool.submit(self._run, cell, report)

    def stop(self) -> None:
        """See `Executor`."""
        with self._lock:
            self._stopping = True
            for worker in self._busy:
                worker.process.terminate()

    def close(self) -> None:
        """See `Executor`."""
        with self._lock:
            self._stopping = True
            for worker in self._busy:
                worker.process.kill()
        self._pool.shutdown()
        for worker in self._idle:
            worker.close()

    def _run(self, cell: Cell, report: Callable[[Report], None]) -> Outcome:
        try:
            with self._lock:
                if self._stopping:
                    return Outcome("stopped")
                worker = self._idle.pop() if self._idle else _Worker(self._threads)
                self._busy.add(worker)
            return self._run_on(worker, cell, report)
        except Exception as error:  # no process could be started, or the cell not be sent: this cell's misfortune
            return Outcome("failed", f"{type(error).__name__}: {error}", trace=traceback.format_exc())

    def _run_on(self, worker: _Worker, cell: Cell, report: Callable[[Report], None]) -> Outcome:
        outcome = None
        try:
            outcome = worker.run(cell, report)
        finally:
            with self._lock:
                self._busy.remove(worker)
                if outcome is not None and not outcome.spoilt:
                    self._idle.append(worker)
            if outcome is not None and outcome.spoilt:
                worker.close()
        if outcome is None:
            died = Outcome("failed", _death(worker.process.exitcode, cell), died=True)
            return Outcome("stopped") if self._stopping else died
        return outcome


class _Worker:
    """A process that runs one cell after another."""

    def __init__(self, threads: int) -> None:
        from ssl_ce.suites.worker import serve

        context = multiprocessing.get_context("spawn")
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(theirs, threads), name="ce-benchmark")
        self.process.start()
        theirs.close()

    def run(self, cell: Cell, report: Callable[[Report], None]) -> Outcome | None:
        """The outcome of a cell; None if the process died over it."""
        try:
            self._connection.send(cell)
            while not isinstance(message := self._connection.recv(), Outcome):
                report(message)
            return message
        except (EOFError, OSError):
            self.process.join()
            return None

    def close(self) -> None:
        """Let it end by itself; if it does not, end it."""
        with suppress(OSError):
            self._connection.send(None)
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_advice(cell: Cell) -> str:
    """What to do about a cell that found too little memory; the same command with it tries the cell again."""
    name = getattr(cell, "entry_name", "")
    if not name:
        return "Judge smaller images (--set data.size=N), or take fewer --jobs"
    place = f"--set 'pretrain.{name}.settings.optim.batch_size=N'"
    return f"Take a smaller batch ({place}), half the precision (precision=bf16 there), or fewer --jobs"


def _death(code: int | None, cell: Cell) -> str:
    if code is None or code >= 0:
        return f"its process ended without an answer (exit code {code})"
    if -code == signal.SIGKILL:
        return f"its process was killed (signal 9), probably for want of memory. {memory_advice(cell)}"
    if -code == signal.SIGBUS:
        return "its process was ended by SIGBUS: a file that it reads in place was cut off, or the disk failed"
    return f"its process was ended by {signal.Signals(-code).name} (signal {-code})"
