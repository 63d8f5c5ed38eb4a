"""Files of a server, fetched whole into a cache that never takes more than it may."""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ssl_ce.data.shards_naming import is_url
from ssl_ce.errors import DataLostError, MachineError, UserError
from ssl_ce.files import atomic_write, cache_dir, digest, hash_of, is_held
from ssl_ce.locks import in_turn

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_DEFAULT_LIMIT = "20GB"
_CHUNK = 1 << 20
_TIMEOUT = 30.0
_ATTEMPTS = 4
_PAUSE = 0.5
# Beside a shard that is on its way: the lock of who fetches it, as long as the shard will be.
_COMING = ".coming"
_ROOM = ".room"
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


class WrongShardError(DataLostError):
    """A shard is not what its index says: wrong input, but met in the middle of work, which is to be saved first."""

    exit_code = 2


def altered(place: str) -> str:
    """What to say of a shard that is not what the index says."""
    again = f"delete {cache_dir() / 'shards'}, where the old ones are known" if is_url(place) else "index the new ones"
    return f"The shard {place} was cut off or altered after it was indexed. Restore it, or {again}."


def fetch(
    url: str, path: Path, *, is_whole: Callable[[Path], bool], length: int | None = None, checksum: str | None = None
) -> None:
    """Fetch a shard into the cache, unless it `is_whole` there, where room is made for it.

    One process fetches it, and others that want it meanwhile wait. What was used longest ago is thrown out for it.

    Parameters
    ----------
    length, checksum
        What it must be; None where that is not known.

    Raises
    ------
    UserError, MachineError
        As `download`.
    """
    coming = path.with_suffix(_COMING)

    def expect(count: int) -> None:
        os.truncate(coming, count)
        _make_room(path)

    with in_turn(coming):
        if is_whole(path):
            return
        if length is not None:
            expect(length)
            download(url, path, most=length, checksum=checksum, length=length)
        else:
            download(url, path, most=cache_limit(), expect=expect)
            expect(0)  # of a length that the server did not tell


def _make_room(path: Path) -> None:
    """Throw out shards, but not `path`, until the others and what is on its way, here and elsewhere, may stay."""
    with in_turn(path.parent / _ROOM):
        there, needed = [], 0
        # In this order: a shard that arrives meanwhile is counted twice and not never.
        for file in path.parent.glob(f"*{_COMING}"):
            with suppress(OSError):
                needed += file.stat().st_size if is_held(file) else 0
        for file in path.parent.glob(f"*{path.suffix}"):
            with suppress(OSError):
                status = file.stat()
                there.append((status.st_mtime, status.st_size, file))
        excess = needed + sum(size for _, size, _ in there) - cache_limit()
        for _, size, file in sorted(there):
            if excess > 0 and file != path:
                file.unlink(missing_ok=True)
                excess -= size


def download(
    url: str,
    path: Path,
    *,
    most: int,
    checksum: str | None = None,
    length: int | None = None,
    expect: Callable[[int], None] | None = None,
    hint: str = LARGER,
) -> None:
    """Fetch `url` into `path`, whole or not at all.

    Parameters
    ----------
    most
        Bytes that it may take; `hint` says what to do about more.
    checksum, length
        What it must be.
    expect
        Told how many bytes will come, before they do, where the server says so.

    Raises
    ------
    UserError
        If the server has no such thing, or it is larger than `most` bytes.
    WrongShardError
        If it is another than `length` and `checksum` say.
    MachineError
        If the server cannot be reached, a few attempts on, or the disk is full.
    """
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE * 2**attempt)
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                said = answer.headers.get("Content-Length")
                declared = None if said is None else int(said)
                if length is not None and declared not in (None, length):
                    raise WrongShardError(altered(url))
                if declared is not None and declared > most:
                    raise UserError(f"{url} takes {declared:,} bytes, more than the {most:,} it may. {hint}")
                if expect is not None and declared is not None:
                    expect(declared)
                with atomic_write(path) as temporary:
                    _copy(answer, temporary, url, declared, most, hint)
                    if checksum is not None and hash_of(temporary) != checksum:
                        raise WrongShardError(altered(url))
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


def _copy(answer: BinaryIO, path: Path, url: str, declared: int | None, most: int, hint: str) -> None:
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
                raise UserError(f"{url} takes more than the {most:,} bytes it may. {hint}")
    if declared is not None and done != declared:
        raise _Interrupted(f"{done:,} of {declared:,} bytes came")
