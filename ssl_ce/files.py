"""Files that are whole or not there: everything is written under a temporary name and renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssl_ce.errors import DiskFullError, UserError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    Raises
    ------
    UserError
        If the folder cannot be made or written to.
    DiskFullError
        If the disk is full; nothing is left under either name.
    """
    check_folder(path.parent)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp's files are readable by their owner alone. Last, for a writer may put a file of its own in its place.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        if (reason := _os_error(error)) is not None:
            raise explain(reason, path) from error
        raise


def explain(error: OSError, path: Path) -> UserError | DiskFullError:
    """The error to show when writing `path` failed: the user's to mend (permissions), or the machine's (disk full)."""
    if is_full(error):
        return DiskFullError(
            f"The disk is full: {path} was not written, and what stood there before is unchanged. "
            "Free some space and run the command again."
        )
    reason = error.strerror or str(error)
    return UserError(f"Cannot write {path}: {reason}. Choose another place for the output.")


def is_full(error: OSError) -> bool:
    """Whether there was no space left, on the disk or for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def check_folder(folder: Path) -> None:
    """Refuse a folder for output that cannot be made or written to, before the work whose results it is for.

    Raises
    ------
    UserError
        If it, or the nearest folder above it that is there, is a file or may not be written to.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"Cannot write to {folder}: {there} is a file. Choose another place for the output.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"Cannot write to {folder}: {there} is not yours to write to. Choose another place.")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def slug(text: str) -> str:
    """`text` as a part of a file's name: letters, digits and "._=-" stay, runs of others become one "-"."""
    return re.sub(r"[^\w.=-]+", "-", text).strip("-.") or "-"


def digest(*parts: bytes | str | memoryview) -> str:
    """A content hash of `parts` in order (each preceded by its length): 32 hexadecimal digits (BLAKE2b)."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()


def cache_dir() -> Path:
    """Where packed sets and features are kept: `$SSL_CE_CACHE`, or `ssl_ce` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if given := os.environ.get("SSL_CE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssl_ce"


def _os_error(error: BaseException) -> OSError | None:
    """What the system said. torch's writer hides it behind a RuntimeError that it raises while handling it."""
    inner = error.__context__ if isinstance(error, RuntimeError) else error
    return inner if isinstance(inner, OSError) else None


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
