"""Files that are whole or not there: everything is written under a temporary name and renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssl_ce.errors import MachineError, UserError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    Raises
    ------
    UserError
        If the folder cannot be made or written to.
    MachineError
        If the disk is full; nothing is left under either name.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # Last, for some writers (safetensors) put a file of their own, readable by its owner alone, in its place.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError):
            raise explain(error, path) from error
        raise


def explain(error: OSError, path: Path) -> UserError | MachineError:
    """The error to show when writing `path` failed: the user's to mend (permissions), or the machine's (disk full)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(
            f"The disk is full: {path} was not written, and what stood there before is unchanged. "
            "Free some space and run the command again."
        )
    reason = error.strerror or str(error)
    return UserError(f"Cannot write {path}: {reason}. Choose another place for the output.")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
