"""Errors that speak to people: what was given, what is wrong, what to do. Each carries its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


class Stopped(SslCeError):  # noqa: N818 - a stop on request is not an error
    """A signal asked the work to stop, and it stopped after saving. Schedulers requeue on code 75 (EX_TEMPFAIL)."""

    exit_code = 75


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
