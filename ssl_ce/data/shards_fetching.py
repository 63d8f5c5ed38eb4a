"""Files of a server, fetched whole into a cache that never takes more than it may."""

from __future__ import annotations

import http.client
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ssl_ce.data.shards_index import hash_of
from ssl_ce.data.shards_naming import is_url
from ssl_ce.errors import MachineError, UserError
from ssl_ce.files import atomic_write, cache_dir, digest

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_DEFAULT_LIMIT = "20GB"
_CHUNK = 1 << 20
_TIMEOUT = 30.0
_ATTEMPTS = 4
_PAUSE = 0.5

# Bytes of the files that are on their way.
_coming: dict[Path, int] = {}
_room = threading.Lock()


LARGER = "Allow more: the environment variable SSL_CE_SHARD_CACHE."


def fetched(url: str) -> Path:
    """Where a file of a server lies once it is here."""
    return cache_dir() / "shards" / f"{digest(url)}{Path(url).suffix}"


def cache_limit() -> int:
    """The most bytes that fetched shards may take: `$SSL_CE_SHARD_CACHE` ("500MB", "2TB"), 20 GB by default."""
    given = os.environ.get("SSL_CE_SHARD_CACHE") or _DEFAULT_LIMIT
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", given.strip().upper())
    if not found:
        raise UserError(f"SSL_CE_SHARD_CACHE is a size such as 500MB or 2TB; '{given}' is not.")
    return int(float(found[1]) * _UNITS[found[2]])


@contextmanager
def making_room(path: Path, length: int) -> Iterator[None]:
    """Throw out what was used longest ago, so that `length` bytes more may come to `path` while the block runs."""
    with _room:
        _coming[path] = length
        there = []
        for file in path.parent.glob(f"*{path.suffix}"):
            with suppress(OSError):
                there.append((file.stat().st_mtime, file.stat().st_size, file))
        excess = sum(size for _, size, _ in there) + sum(_coming.values()) - cache_limit()
        for _, size, file in sorted(there):
            if excess > 0 and file != path:
                file.unlink(missing_ok=True)
                excess -= size
    try:
        yield
    finally:
        with _room:
            del _coming[path]


def altered(place: str) -> UserError:
    """The error for a shard that is not what the index says."""
    again = f"delete {cache_dir() / 'shards'}, where the old ones are known" if is_url(place) else "index the new ones"
    return UserError(f"The shard {place} was cut off or altered after it was indexed. Restore it, or {again}.")


def download(url: str, path: Path, *, most: int, checksum: str | None = None, length: int | None = None) -> None:
    """Fetch `url` into `path`, whole or not at all.

    Raises
    ------
    UserError
        If the server has no such thing, or it is larger than `most` bytes or another than `length` and `checksum` say.
    MachineError
        If the server cannot be reached, a few attempts on, or the disk is full.
    """
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE * 2**attempt)
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                declared = answer.headers.get("Content-Length")
                if length is not None and declared is not None and int(declared) != length:
                    raise altered(url)
                if declared is not None and int(declared) > most:
                    raise UserError(f"{url} takes {int(declared):,} bytes, more than the {most:,} it may. {LARGER}")
                with atomic_write(path) as temporary:
                    _copy(answer, temporary, url, None if declared is None else int(declared), most)
                    if checksum is not None and hash_of(temporary) != checksum:
                        raise altered(url)
                return
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"The server has no {url}: {error.code} {error.reason}. Check the address.") from error
            reason = f"{error.code} {error.reason}"
        except (_Interrupted, OSError, http.client.HTTPException, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
    raise MachineError(f"{url} cannot be fetched: {reason}. Try again when the server can be reached.")


class _Interrupted(Exception):  # noqa: N818 - a reason to ask again
    """The server stopped in the middle."""


def _copy(answer: BinaryIO, path: Path, url: str, declared: int | None, most: int) -> None:
    done = 0
    with path.open("wb") as file:
        while True:
            try:
                chunk = answer.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:  # not to be taken for trouble with our own disk
                raise _Interrupted(str(error)) from error
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            if done > most:
                raise UserError(f"{url} takes more than the {most:,} bytes it may. {LARGER}")
    if declared is not None and done != declared:
        raise _Interrupted(f"{done:,} of {declared:,} bytes came")
