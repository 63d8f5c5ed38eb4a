"""A folder for one process alone: a lock that the kernel takes back when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssl_ce.errors import UserError
from ssl_ce.files import explain
from ssl_ce.files import is_held as is_file_held

LOCK = ".lock"
PATIENCE = 10.0
"""Seconds to wait for a process that was told to stop and is still saving, or that only asked who holds the lock."""
LONG_PATIENCE = 120.0
"""As `PATIENCE`, where it is known that the holder is about to end: long enough for a large checkpoint, and for a
network file system to take back the locks of a machine that is lost (NFS 4: 90 s)."""
_PAUSE = 0.1


@contextmanager
def alone(folder: Path, refusal: Callable[[str], str], *, patience: float | None = None) -> Iterator[None]:
    """Hold `folder`, which is made if it is not there, while the block runs.

    Parameters
    ----------
    refusal
        What to say to the user when somebody else holds it: "process 12 on host" -> the message.
    patience
        Seconds to wait for somebody who is about to end; None: `PATIENCE`.

    Raises
    ------
    UserError
        If another process holds it, or it cannot be written to.
    """
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    while (held := _take(folder)) is None:
        if time.monotonic() >= deadline:
            raise UserError(refusal(_holder(folder)))
        time.sleep(_PAUSE)
    try:
        _sign(held, folder / LOCK)
        yield
    finally:
        with suppress(OSError):
            if _is_at(held, folder / LOCK):  # else somebody deleted it, and another process may hold a new one
                (folder / LOCK).unlink()
        os.close(held)


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold the file `path`, made for this alone and removed at the end, while the block runs; others wait, threads too.

    Raises
    ------
    UserError
        If it cannot be written to.
    """
    held = _wait_for(path)
    try:
        yield
    finally:
        with suppress(OSError):
            if _is_at(held, path):
                path.unlink()
        os.close(held)


def is_held(folder: Path) -> bool:
    """Whether somebody holds `folder`, on this machine or on another that shares its file system."""
    try:
        return is_file_held(folder / LOCK)
    except OSError:
        return False


def _take(folder: Path) -> int | None:
    """The descriptor that holds the lock; None if another process holds it."""
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(file, path):
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)  # its last holder removed it between the two calls
    except BlockingIOError:
        return None
    except OSError as error:
        raise explain(error, path) from error


def _wait_for(path: Path) -> int:
    """The descriptor that holds the file, once nobody else does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if _is_at(file, path):
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)  # its last holder removed it
    except OSError as error:
        raise explain(error, path) from error


def _sign(file: int, path: Path) -> None:
    try:
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        raise explain(error, path) from error


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(folder: Path) -> str:
    with suppress(OSError):
        return (folder / LOCK).read_text(encoding="utf-8", errors="replace").strip() or "another process"
    return "another process"
