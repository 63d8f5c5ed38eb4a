"""What a command does while it runs in this process: its time, what it says, the files it opens, what it starts."""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 20
"""No input may take longer."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.startfile", "subprocess.Popen", "pty.spawn", "socket.connect")


class TooLong(BaseException):
    """The time is over."""


@contextmanager
def limited() -> Iterator[None]:
    """Ends what runs too long; what hangs in C, and cannot be ended, takes this process with it."""

    def end(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


@contextmanager
def typed(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[Callable[[], tuple[str, str]]]:
    """`command` is what was typed in `folder`; what is said on stdout and, by C libraries too, on stderr is caught."""
    before = Path.cwd(), sys.argv, sys.stdout, sys.stderr, dict(os.environ)
    error = (folder.parent.parent / "stderr").open("w+b")
    kept = os.dup(2)
    os.dup2(error.fileno(), 2)
    os.chdir(folder)
    os.environ.update(environment)
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    sys.argv, sys.stdout = ["ce", *command], out
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")

    def said() -> tuple[str, str]:
        path = folder.parent.parent / "stderr"
        text = path.read_bytes().decode("utf-8", "replace")
        path.unlink()
        out.seek(0)
        return out.read(), text

    try:
        yield said
    finally:
        sys.stderr.close()
        os.dup2(kept, 2)
        os.close(kept)
        error.close()
        os.chdir(before[0])
        _, sys.argv, sys.stdout, sys.stderr, variables = before
        os.environ.clear()
        os.environ.update(variables)


class _Audit:
    """What Python tells of files that are opened to be written, of programs that are started, of connections."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] | None = None
        self.below: tuple[str, ...] = ()
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in _RUNS:
            program = arguments[0]
            if event != "subprocess.Popen" or Path(str(program)).name not in ("git", "fc-list"):
                self.seen.append(f"{event}: {program!r}")
        elif event == "open" and isinstance(arguments[0], str | bytes) and _writes(*arguments[1:3]):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if path not in self.allowed and not path.startswith(self.below):
                self.seen.append(f"opened {path} to write")


def _writes(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & _WRITES)


_audit: _Audit | None = None


@contextmanager
def watched(allowed: Sequence[Path]) -> Iterator[list[str]]:
    """A list of what was done that an input must never make us do: writing elsewhere than `allowed`, running."""
    global _audit
    _audit = _audit or _Audit()
    _audit.seen, _audit.below = [], tuple(f"{place}{os.sep}" for place in allowed)
    _audit.allowed = (*map(str, allowed), os.devnull)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        yield _audit.seen
    finally:
        _audit.allowed = None
        sys.dont_write_bytecode = before


def resident() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024.0
