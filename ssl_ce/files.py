"""Files that are whole or not there: everything is written under a temporary name and renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ssl_ce.errors import DiskFullError, UserError

TEMPORARY = ".ssl-ce.tmp"
"""How the names of files end that are being written, or were when their writer was killed."""

# Folders whose leftovers this process has looked for.
_swept: set[Path] = set()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    What is renamed is on the disk before, so not even a power failure leaves half a file under `path`. What killed
    writers left in the folder is removed when a process first writes there.

    Raises
    ------
    UserError
        If the folder cannot be made or written to.
    DiskFullError
        If the disk is full; nothing is left under either name.
    """
    check_folder(path.parent)
    temporary, held = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent)
        held, temporary = _make_temporary(path)
        yield temporary
        # mkstemp's files are readable by their owner alone. Last, for a writer may put a file of its own in its place.
        temporary.chmod(0o666 & ~_umask())
        _flush(temporary)
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        if (reason := _os_error(error)) is not None:
            raise explain(reason, path) from error
        raise
    finally:
        if held is not None:
            os.close(held)


def leftovers(folder: Path) -> list[Path]:
    """Temporary files in `folder` whose writers are dead: each held a lock that the kernel took back."""
    return [path for path in sorted(folder.glob(f".*{TEMPORARY}")) if _is_dead(path)]


def sweep(folder: Path) -> None:
    """Remove what killed writers left in `folder`."""
    for path in sorted(folder.glob(f".*{TEMPORARY}")):
        _is_dead(path, remove=True)


def is_held(path: Path, *, remove: bool = False) -> bool:
    """Whether a process holds the lock of the file `path`, on this machine or on another that shares its file system.

    Two that ask at a time do not disturb each other. A file that nobody holds is removed if `remove`.

    Raises
    ------
    OSError
        If that cannot be told: there is no such file, or its file system has no locks.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        if remove:
            path.unlink(missing_ok=True)
    return False


def explain(error: OSError, path: Path) -> UserError | DiskFullError:
    """The error to show when writing `path` failed: the user's to mend (permissions), or the machine's (disk full)."""
    if is_full(error):
        return DiskFullError(
            f"The disk is full: {path} was not written, and what stood there before is unchanged. "
            "Free some space and run the command again."
        )
    reason = error.strerror or str(error)
    return UserError(f"Cannot write {path}: {reason}. {_elsewhere(path)}")


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
        read_only = os.statvfs(there).f_flag & os.ST_RDONLY
        why = "is on a read-only disk" if read_only else "is not yours to write to"
        raise UserError(f"Cannot write to {folder}: {there} {why}. {_elsewhere(folder)}")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def expanded(path: Path | str) -> Path:
    """`path` with its "~" or "~user" as a home directory; as it is where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises what is no UserError


def read_json(path: Path) -> Any:
    """What the JSON file `path` holds. Raises `OSError` or `ValueError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def slug(text: str) -> str:
    """`text` as a part of a file's name: letters, digits and "._=-" stay, runs of others become one "-"."""
    return re.sub(r"[^\w.=-]+", "-", text).strip("-.") or "-"


def hash_of(path: Path) -> str:
    """A content hash of the file `path`: 32 hexadecimal digits (BLAKE2b)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest(*parts: bytes | str | memoryview) -> str:
    """A content hash of `parts` in order (each preceded by its length): 32 hexadecimal digits (BLAKE2b)."""
    return digest_each(parts)


def digest_each(parts: Iterable[bytes | str | memoryview]) -> str:
    """As `digest`, of parts that are made one after the other and not held."""
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


def _elsewhere(path: Path) -> str:
    if path.absolute().is_relative_to(cache_dir().absolute()):
        return "Put the cache elsewhere: the environment variable SSL_CE_CACHE."
    return "Choose another place for the output."


def _sweep_once(folder: Path) -> None:
    whole = folder.absolute()
    if whole not in _swept:
        _swept.add(whole)
        sweep(folder)


def _make_temporary(path: Path) -> tuple[int, Path]:
    """A new temporary file for `path`, locked for as long as the descriptor is open."""
    while True:
        held, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
        with suppress(OSError):  # a file system without locks: then nobody sweeps there either
            fcntl.flock(held, fcntl.LOCK_EX)
        if os.fstat(held).st_nlink:
            return held, Path(name)
        os.close(held)  # swept by another process before it was locked


def _is_dead(path: Path, *, remove: bool = False) -> bool:
    """Whether the writer of a temporary file is told dead. A dead one's is removed if `remove`."""
    try:
        return not is_held(path, remove=remove)
    except OSError:
        return False


def _flush(path: Path) -> None:
    """Down to the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _os_error(error: BaseException) -> OSError | None:
    """What the system said. torch's writer hides it behind a RuntimeError that it raises while handling it."""
    inner = error.__context__ if isinstance(error, RuntimeError) else error
    return inner if isinstance(inner, OSError) else None


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
