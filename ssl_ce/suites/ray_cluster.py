"""Joining a Ray cluster, with one line for people where none answers."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ssl_ce.errors import UserError

# Seconds that a cluster may take to answer.
_PATIENCE = 30.0


def connect(address: str) -> None:
    """Join a Ray cluster, and leave one that was joined before.

    Parameters
    ----------
    address
        HOST:PORT; "auto" for $RAY_ADDRESS or the cluster that this machine is a node of; "local" for a new one here.

    Raises
    ------
    UserError
        If Ray is not installed, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # unset, it is warned of
    try:
        import ray
    except ImportError as error:
        raise UserError("--executor ray needs the extra 'cluster': pip install 'ssl-ce[cluster]'") from error
    if address != "local":
        _check_answers(address)
    ray.shutdown()
    # A node that dies is announced on stdout, among the tables, with the last lines of its log.
    worker: Any = import_module("ray._private.worker")
    worker.print_to_stdstream = _print_nothing
    with _own_signals():
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def _check_answers(address: str) -> None:
    """Ask in a process of its own: Ray ends one whose cluster does not answer, or lets it wait for long."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or "/" in host:
            raise UserError(f"--address takes HOST:PORT of a Ray cluster, auto or local; '{address}' is none of these.")
        try:
            socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
        except (OSError, OverflowError) as error:
            raise _silent(address, str(error)) from error
    code = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False)"
    try:
        asked = subprocess.run([sys.executable, "-c", code, address], capture_output=True, timeout=_PATIENCE, text=True)
    except subprocess.TimeoutExpired as error:
        raise _silent(address, f"nothing said within {_PATIENCE:.0f} s") from error
    if asked.returncode:
        reason = re.search(r"^\w+Error: (.*)", asked.stderr, re.DOTALL | re.MULTILINE)
        raise _silent(address, " ".join(reason[1].split())[:300] if reason else "what answers is no Ray")


def _silent(address: str, reason: str) -> UserError:
    return UserError(
        f"No Ray cluster answers at --address {address} ({reason.rstrip('.')}). Start one with ray start --head and "
        "give the command on one of its nodes, or give --address local for one that is started here."
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """SIGTERM means what it meant before, whatever the block says."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _print_nothing(*given: Any, **named: Any) -> None:
    """In the place of Ray's printing: what matters is said by us."""
