"""A command's process and those it started: none is left behind where another has died."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from subprocess import Popen
from typing import Any

from ssl_ce.errors import MachineError

GRACE = 60.0
"""Seconds in which a process that has lost another may notice, speak and leave by itself."""

_PAUSE = 0.5
_PARENT = "SSL_CE_PARENT"


def end_with_parent() -> None:
    """In a process that another of the command starts, end it `GRACE` seconds after that one is gone.

    Every process of the command calls it before any is started; the one that starts others leaves its number to them.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ[_PARENT] = str(os.getpid())
    elif _PARENT in os.environ:  # torchrun and SLURM look after theirs
        parent = int(os.environ[_PARENT])
        threading.Thread(target=_outlive, args=(parent,), name="end-with-parent", daemon=True).start()


def watch(child_processes: Sequence[Popen[Any]]) -> None:
    """End this process `GRACE` seconds after one of `child_processes` has failed.

    It mostly notices before, at its next message to the others. It does not where it waits for what never comes: NCCL,
    and a process that ended before they found one another.
    """
    threading.Thread(target=_outlive_failed, args=(child_processes,), name="watch-children", daemon=True).start()


def _outlive(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PAUSE)
    time.sleep(GRACE)
    os._exit(MachineError.exit_code)


def _outlive_failed(children: Sequence[Popen[Any]]) -> None:
    while not (failed := [child for child in children if child.poll()]):
        if all(child.returncode == 0 for child in children):
            return
        time.sleep(_PAUSE)
    time.sleep(GRACE)
    print(
        f"Error: Process {failed[0].pid} of this command ended with exit code {failed[0].returncode}, and the others "
        "cannot finish without it. What was already written is whole; run the command again.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(MachineError.exit_code)
