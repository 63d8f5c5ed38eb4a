"""Errors that speak to people: what was given, what is wrong, what to do. Each carries its exit code."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

# More of a line than this is of no use to anybody; what is cut out of it was somebody's file.
_LONGEST = 2000

# CUDA and its libraries (cuBLAS, cuDNN), torch's CPU allocator, oneDNN.
_MEMORY_IS_OUT = ("out of memory", "alloc_failed", "can't allocate memory", "could not create a memory object")


class SslCeError(Exception):
    """Base of every error this package raises on purpose. Its message is one line, shown without a traceback."""

    exit_code = 1


class UserError(SslCeError):
    """The input is wrong: a path, a name, a setting, a file. Nothing was written."""

    exit_code = 2


class MachineError(SslCeError):
    """The machine failed: disk full, out of memory, a loss that is not finite. The message says what was saved."""

    exit_code = 1


class DiskFullError(MachineError):
    """No space is left for a file. It was not written, and what stood there before is unchanged."""


class MemoryFullError(MachineError):
    """The device, or the machine, has no memory left for the work."""


class DataLostError(MachineError):
    """Images that were there when the work began are not any more, or cannot be read."""


class Stopped(SslCeError):  # noqa: N818 - a stop on request is not an error
    """A signal asked the work to stop, and it stopped after saving. Schedulers requeue on code 75 (EX_TEMPFAIL)."""

    exit_code = 75


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, on the machine or on the device: as torch and its libraries say it."""
    if isinstance(error, MemoryError | MemoryFullError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _MEMORY_IS_OUT)


def one_line(text: str, longest: int = _LONGEST) -> str:
    """`text` on one line, its middle left out beyond `longest`; what could command a terminal is written out."""
    words = visible(" ".join(text.split()))
    return words if len(words) <= longest else f"{words[: longest // 2]} ... {words[-longest // 2 :]}"


def visible(text: str) -> str:
    """`text` with its lines as they are; what else could command a terminal is written out as JSON does: "\\u001b"."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1] for letter in text)


def unknown(kind: str, given: str, known: Iterable[str]) -> UserError:
    """A `UserError` for a name that nothing answers to, with the closest known names."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    if close:
        hint = f"Did you mean {' or '.join(close)}?"
    elif names:
        hint = f"Known: {', '.join(names)}."
    else:
        hint = "None are known."
    return UserError(f"There is no {kind} named '{given}'. {hint}")
