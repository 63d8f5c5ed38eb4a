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

LOCK = ".lock"
_PAUSE = 0.1


@contextmanager
def alone(folder: Path, refusal: Callable[[str], str], *, patience: float = 0.0) -> Iterator[None]:
    """Hold `folder`, which is made if it is not there, while the block runs.

    Parameters
    ----------
    refusal
        What to say to the user when somebody else holds it: "process 12 on host" -> the message.
    patience
        Seconds to wait for somebody who is about to end.

    Raises
    ------
    UserError
        If another process holds it, or it cannot be written to.
    """
    deadline = time.monotonic() + patience
    while (held := _take(folder)) is None:
        if time.monotonic() >= deadline:
            raise UserError(refusal(_holder(folder)))
        time.sleep(_PAUSE)
    try:
        _sign(held, folder / LOCK)
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink()
        os.close(held)


def is_held(folder: Path) -> bool:
    """Whether somebody holds `folder`, on this machine or on another that shares its file system."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
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
            except BaseException:
                os.close(file)
                raise
            if _is_at(file, path):
                return file
            os.close(file)  # its last holder removed it between the two calls
    except BlockingIOError:
        return None
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
