"""The process that runs cells for `LocalExecutor`. It imports torch only after it knows its share of the cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING

from ssl_ce.errors import MachineError, SslCeError, Stopped, is_out_of_memory
from ssl_ce.manifest import reset_peak_memory
from ssl_ce.suites.executor import Outcome, Report, memory_advice

if TYPE_CHECKING:
    from ssl_ce.suites.cells import Cell

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def serve(connection: Connection, threads: int) -> None:
    """Run the cells that come through `connection` until None comes, or nobody is left at the other end.

    SIGTERM stops a cell: a pretraining saves first. SIGINT is for the process that started this one, which passes it
    on; a process group of its own keeps the terminal from doing so twice.
    """
    with suppress(OSError):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in _THREADS:
        os.environ[name] = str(fewest(threads, os.environ.get(name, "")))
    with suppress(_Terminated, EOFError, OSError):
        while (cell := connection.recv()) is not None:
            outcome = perform(cell, _sender(connection))
            connection.send(outcome)
            if outcome.spoilt:
                return
            _release()


def perform(cell: Cell, report: Callable[[Report], None]) -> Outcome:
    """Run one cell here and now. Whatever goes wrong is in the outcome; nothing is raised."""
    from ssl_ce.suites.work import run_cell

    reset_peak_memory()
    started = time.perf_counter()
    outcome = Outcome("done")
    try:
        run_cell(cell, report)
    except (_Terminated, Stopped) as stopped:
        outcome = Outcome("stopped", str(stopped))
    except SslCeError as error:
        outcome = _unforeseen(error, cell) if is_out_of_memory(error) else Outcome("failed", str(error))
    except Exception as error:
        outcome = _unforeseen(error, cell)
    return Outcome(
        outcome.status,
        outcome.message,
        outcome.trace,
        time.perf_counter() - started,
        outcome.spoilt,
    )


def fewest(share: int, asked: str) -> int:
    """The threads of a process: its share of the cores, or fewer if the user asked for fewer ("4"; "" for nothing)."""
    return min(share, int(asked)) if asked.isdecimal() and int(asked) else share


class _Terminated(BaseException):
    """SIGTERM came while nobody was there to save something first."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _end_with_parent() -> None:
    """Save and stop, as if asked to, once the process is gone that waits for the cells; it may have been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _sender(connection: Connection) -> Callable[[Report], None]:
    def send(report: Report) -> None:
        with suppress(OSError):  # whoever waits for this cell is gone, which ends it soon
            connection.send(report)

    return send


def _release() -> None:
    """Give back the GPU memory that torch keeps for later, which other workers may need now."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _unforeseen(error: Exception, cell: Cell) -> Outcome:
    if is_out_of_memory(error):
        return Outcome("failed", f"ran out of memory. {memory_advice(cell)}", spoilt=True)
    if isinstance(error, OSError):
        from ssl_ce.files import is_full

        if is_full(error):
            return Outcome("failed", str(MachineError(f"The disk is full ({error}). Free some space and run again.")))
    first = str(error).strip().splitlines()[:1]
    message = f"{type(error).__name__}: {first[0] if first else 'no message'}"
    # A GPU whose context broke fails whatever comes next, so nothing comes next.
    return Outcome("failed", message, trace=traceback.format_exc(), spoilt=True)
