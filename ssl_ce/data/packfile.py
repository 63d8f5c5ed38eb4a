"""The packed file: what lies where in it, and how it is known to be whole.

    0        head, 64 bytes: magic, place and length of the metadata, length of the file, BLAKE2b of all below
    4096     pixels, uint8 (n, 3, size, size)
    ...      targets, little-endian int64 (n,) or (n, classes)
    ...      metadata, JSON

Pixels come first so that they can be written as they are decoded, before it is known how many can be read.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import NonNegativeInt, PositiveInt, ValidationError

from ssl_ce.data.imageset import Task
from ssl_ce.data.options import Fit
from ssl_ce.errors import SslCeError, UserError
from ssl_ce.files import cache_dir, digest, write_text
from ssl_ce.settings import Settings

PIXELS_AT = 4096
_MAGIC = b"SSLCEPK1"
_HEAD = struct.Struct("<8sQQQ32s")
_CHUNK = 1 << 23
# Below this age, in seconds, a change might leave a file's times as they are: it is verified again next time.
_YOUNG = 2.0
_AGAIN = "Delete it and pack again."


class Metadata(Settings):
    """What a packed file says about itself.

    Attributes
    ----------
    n, columns
        Images, and columns of the targets: None for (n,), 0 where there are none.
    fingerprint
        Hash of pixels, targets and classes.
    source
        How the set was asked for, enough to ask again.
    source_identity
        Hash of the listing that was packed (`Source.identity`).
    total, unreadable, unreadable_count
        Images that were listed; those that could not be read, "path: reason" (the first 1,000); their number.
    dropped
        Places, in the listing, of the images that could not be read: all of them. Packs of earlier versions lack it.
    ignored
        Files beside the images that are not images.
    """

    name: str
    split: str
    task: Task
    classes: tuple[str, ...]
    n: PositiveInt
    columns: NonNegativeInt | None
    size: PositiveInt
    fit: Fit
    geometry: str
    fingerprint: str
    source: dict[str, Any]
    source_identity: str
    total: int
    unreadable: tuple[str, ...] = ()
    unreadable_count: int = 0
    dropped: tuple[int, ...] = ()
    ignored: int = 0

    @property
    def targets_at(self) -> int:
        """Where the targets begin, in bytes."""
        return PIXELS_AT + self.n * 3 * self.size * self.size

    @property
    def kept(self) -> Sequence[int] | None:
        """Places of the packed images in the listing, in order; None where it is not known which were left out."""
        if len(self.dropped) != self.unreadable_count:
            return None
        dropped = set(self.dropped)
        if not dropped:
            return range(self.total)
        return [place for place in range(self.total) if place not in dropped]

    @property
    def targets_shape(self) -> tuple[int, ...]:
        """Shape of the targets."""
        return (self.n,) if self.columns is None else (self.n, self.columns)


class BodyWriter:
    """Writes what follows the head, hashing it on the way; `finish` writes the head."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hasher = hashlib.blake2b(digest_size=32)
        file.write(bytes(PIXELS_AT))

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        self._file.write(data)
        self._hasher.update(data)

    def content_hash(self) -> str:
        """A hash of what was written so far."""
        return self._hasher.copy().hexdigest()

    def finish(self, metadata: Metadata) -> None:
        """Append the metadata and write the head. The file is whole then."""
        text = metadata.model_dump_json(exclude_defaults=True).encode()
        place = self._file.tell()
        self.write(text)
        length = self._file.tell()
        self._file.seek(0)
        self._file.write(_HEAD.pack(_MAGIC, place, len(text), length, self._hasher.digest()))
        self._file.flush()
        os.fsync(self._file.fileno())


def is_packed(path: Path) -> bool:
    """Whether `path` is a file that begins like a packed one."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_metadata(path: Path) -> Metadata:
    """The metadata of the packed file `path`, its length checked, its content not.

    Raises
    ------
    UserError
        If it cannot be read, is no packed file, or is cut off.
    """
    return _read_ends(path)[1]


def verify(path: Path) -> Metadata:
    """The metadata of the packed file `path` after its checksum was found right.

    A file that did not change since it was last verified is not read again: inode, length and times are
    remembered in the cache directory.

    Raises
    ------
    UserError
        Like `read_metadata`, and if a single bit was altered.
    """
    checksum, metadata = _read_ends(path)

    def check() -> None:
        hasher = hashlib.blake2b(digest_size=32)
        for chunk in _chunks(path):
            hasher.update(chunk)
        if hasher.digest() != checksum:
            raise UserError(f"The packed file {path} was altered after it was written: its checksum is wrong. {_AGAIN}")

    once_for_each_version(path, check)
    return metadata


def once_for_each_version(path: Path, check: Callable[[], None]) -> None:
    """Call `check` unless it passed before and `path` has not changed since, as inode, length and times tell."""
    status = path.stat()
    stamps = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    memory = cache_dir() / "verified" / digest(str(path.resolve()), *(str(stamp) for stamp in stamps))
    if memory.exists():
        return
    check()
    if time.time() - max(status.st_mtime, status.st_ctime) > _YOUNG:
        with suppress(SslCeError):  # a cache that cannot be written only costs time
            write_text(memory, "")


def _read_ends(path: Path) -> tuple[bytes, Metadata]:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
            if not head.startswith(_MAGIC):
                raise UserError(f"{path} is not a packed image set. Make one: ce data pack REF --size N --out FILE")
            length = os.fstat(file.fileno()).st_size
            _, place, text_length, whole_length, checksum = _HEAD.unpack(head.ljust(_HEAD.size, b"\0"))
            if length != whole_length or place + text_length != length:
                raise UserError(f"The packed file {path} is cut off or was altered. {_AGAIN}")
            file.seek(place)
            text = file.read(text_length)
    except OSError as error:
        raise UserError(f"Cannot read the packed file {path}: {error.strerror}.") from error
    try:
        metadata = Metadata.model_validate_json(text)
        whole = metadata.targets_at + 8 * math.prod(metadata.targets_shape) == place
    except ValidationError:
        whole = False
    if not whole:
        raise UserError(f"The packed file {path} was altered: its metadata cannot be read. {_AGAIN}")
    return checksum, metadata


def _chunks(path: Path) -> Iterator[memoryview]:
    """What follows the head, in pieces that share one buffer."""
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        file.seek(PIXELS_AT)
        while count := file.readinto(buffer):
            yield buffer[:count]
