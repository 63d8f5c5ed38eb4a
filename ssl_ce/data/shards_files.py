"""The files of shards: local ones as they lie, those of a server in the cache."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ssl_ce.data.packfile import once_for_each_version
from ssl_ce.data.shards_fetching import LARGER, WrongShardError, altered, cache_limit, fetch, fetched
from ssl_ce.data.shards_index import Shard
from ssl_ce.data.shards_naming import is_url
from ssl_ce.errors import DataLostError, DiskFullError, MachineError, SslCeError, UserError
from ssl_ce.files import hash_of

_ATTEMPTS = 4


class ShardFiles:
    """Bytes of shards. A shard is hashed when it is first read, so none that was altered goes unnoticed.

    Parameters
    ----------
    shards
        What they must be.
    places
        Path or URL of each.
    """

    def __init__(self, shards: Sequence[Shard], places: Sequence[str]) -> None:
        self.shards = shards
        self.places = places
        self._whole: set[int] = set()
        self._locks = [threading.Lock() for _ in shards]

    def check_there(self) -> None:
        """Raise `UserError` where a local shard is missing or has another length than it had."""
        for shard, place in zip(self.shards, self.places, strict=True):
            if is_url(place):
                continue
            try:
                length = Path(place).stat().st_size
            except OSError as error:
                raise UserError(f"The shard {place} cannot be read: {error.strerror}. Restore it.") from error
            if length != shard.bytes:
                raise UserError(altered(place))

    def read(self, number: int, offset: int, length: int) -> bytes:
        """`length` bytes of a shard.

        Raises
        ------
        DataLostError
            If it was there and cannot be read any more, or cannot be fetched; `WrongShardError` if it is not the one
            that was indexed.
        """
        place = self.places[number]
        for _ in range(_ATTEMPTS):
            try:
                with self.path(number).open("rb") as file:
                    file.seek(offset)
                    data = file.read(length)
            except FileNotFoundError as error:
                if is_url(place):  # another reader made room for its own
                    continue
                raise DataLostError(f"The shard {place} is not there any more. Restore it.") from error
            except OSError as error:
                raise DataLostError(f"The shard {place} cannot be read any more: {error.strerror}.") from error
            if len(data) < length:
                raise DataLostError(f"The shard {place} was cut off while it was read. Restore it.")
            return data
        raise DataLostError(f"The shard {place} is thrown out of the cache as soon as it is fetched. {LARGER}")

    def path(self, number: int) -> Path:
        """Where a shard lies, fetched if need be, and known to be the one that was indexed."""
        shard, place = self.shards[number], self.places[number]
        remote = is_url(place)
        path = fetched(place) if remote else Path(place)
        with self._locks[number]:
            if remote and not path.exists():
                _fetch_whole(place, path, shard)
                self._whole.add(number)
            if remote:
                with suppress(OSError):
                    _touch(path)
            if number not in self._whole:
                try:
                    once_for_each_version(path, lambda: _check(path, shard, place))
                except WrongShardError:
                    if not remote:
                        raise
                    _fetch_whole(place, path, shard)  # what lay in the cache was an older one
                self._whole.add(number)
        return path

    def fetch_ahead(self, numbers: Sequence[int], in_use: Sequence[int]) -> None:
        """Fetch what is not there yet while others work, and throw out neither what is nor those `in_use` for it.

        What goes wrong is met by who reads it.
        """
        wanted = []
        for number in (*in_use, *numbers):
            if is_url(self.places[number]):
                try:
                    _touch(fetched(self.places[number]))
                except OSError:
                    wanted += [number] if number in numbers else []

        def work() -> None:
            with suppress(SslCeError, OSError):
                for number in wanted:
                    self.path(number)

        if wanted:
            # A daemon: nobody who ends waits for shards that nobody will read.
            threading.Thread(target=work, name="shards", daemon=True).start()


def check_cache(shards: Sequence[Shard], at_once: int) -> None:
    """Raise `UserError` where the cache cannot hold the `at_once` largest shards."""
    needed = sum(sorted((shard.bytes for shard in shards), reverse=True)[:at_once])
    if needed > cache_limit():
        raise UserError(
            f"{min(at_once, len(shards))} of these shards are read at a time and take {needed:,} bytes, but fetched "
            f"shards may take {cache_limit():,}. {LARGER}"
        )


def _touch(path: Path) -> None:
    """Note that a shard is used: the one that was used longest ago is the first to go. Raises `OSError`."""
    now = time.time_ns()  # the kernel's own would be some milliseconds old, and the same for several shards
    os.utime(path, ns=(now, now))


def _check(path: Path, shard: Shard, place: str) -> None:
    if hash_of(path) != shard.hash:
        raise WrongShardError(altered(place))


def _fetch_whole(url: str, path: Path, shard: Shard) -> None:
    """A shard in the middle of the work: that it is not there any more is no mistake of the user's."""

    def is_whole(path: Path) -> bool:
        with suppress(OSError):  # it is not there, or was thrown out meanwhile
            return hash_of(path) == shard.hash
        return False

    try:
        fetch(url, path, is_whole=is_whole, length=shard.bytes, checksum=shard.hash)
    except (DiskFullError, DataLostError):
        raise
    except (UserError, MachineError) as error:
        raise DataLostError(str(error)) from error
