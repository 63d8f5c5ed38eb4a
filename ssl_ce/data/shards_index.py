"""What lies where in shards: the index that `ce data shard` writes, and the one pass over shards that have none."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from ssl_ce.data.decode import Unreadable, decode, quiet_pillow
from ssl_ce.data.folders import EXTENSIONS
from ssl_ce.data.imageset import Task
from ssl_ce.data.options import MOST_SIZE, Fit
from ssl_ce.data.packer import in_order
from ssl_ce.errors import UserError
from ssl_ce.files import digest, hash_of
from ssl_ce.settings import Settings

FORMAT = "ssl_ce shards 2"
# WebDataset's: what precedes the first dot of a name is the sample, what follows is the kind of the member.
_NAME = re.compile(r"((?:.*/|)[^./][^./]*)[.]([^/]*)")
_OF_THE_ARCHIVE = re.compile(r"__[^/]*__(?:$|/)")
_BLOCK = 512
_LARGEST_IMAGE = 1 << 28
_LARGEST_TEXT = 1 << 20
_LABEL_KEYS = ("cls", "label")
_LISTED = 1000
_MOST_CLASSES = 1_000_000

Label = int | str | None
Count = Annotated[int, Field(ge=0, le=1 << 50)]
"""Of images, or of bytes."""


class Shard(Settings):
    """One archive: the name of its file, how many images it holds, its length, and a hash of every byte of it."""

    name: str
    images: Count
    bytes: Count
    hash: str


class ShardIndex(Settings):
    """What is known of a set of shards.

    Attributes
    ----------
    columns
        Of the targets: None for (n,), 0 where there are none.
    size, fit
        Side of the square images, and how they became squares; None for images as they were found.
    encoding
        "png", "webp", "jpeg" or "original".
    fingerprint
        Hash of every byte of the shards, of the places and targets of the images, of task, classes, size and fit.
    source
        How the images were asked for that the shards were made of.
    unreadable, unreadable_count
        Images that cannot be decoded and were left out, "name: reason" (the first 1,000); their number.
    total
        Images with those.
    """

    format: Literal["ssl_ce shards 2"] = "ssl_ce shards 2"
    name: str
    split: str
    task: Task
    classes: tuple[str, ...]
    n: Count
    columns: Annotated[int, Field(ge=0, le=_MOST_CLASSES)] | None
    size: Annotated[int, Field(gt=0, le=MOST_SIZE)] | None
    fit: Fit | None
    encoding: str
    fingerprint: str
    source: dict[str, Any]
    total: Count
    unreadable: tuple[str, ...] = ()
    unreadable_count: Count = 0
    shards: tuple[Shard, ...]

    @property
    def members_shape(self) -> tuple[int, int]:
        """Shape of what `content_hash` takes as members."""
        return self.n, 2 + (1 if self.columns is None else self.columns)


class OwnIndex(ShardIndex):
    """One that was read from a file: its shards lie beside it, so a name with a folder in it is refused."""

    @field_validator("shards")
    @classmethod
    def _are_beside(cls, shards: tuple[Shard, ...]) -> tuple[Shard, ...]:
        if wrong := [shard.name for shard in shards if not re.fullmatch(r"\w[\w.=+-]*\.tar", shard.name)]:
            raise ValueError(f"'{wrong[0]}' is not the name of a shard")
        return shards

    @model_validator(mode="after")
    def _fits_itself(self) -> OwnIndex:
        columns = {"classes": None, "multilabel": len(self.classes)}.get(self.task, 0)
        if self.columns != columns:
            raise ValueError(f"targets of {self.columns} columns are none of the task '{self.task}'")
        if sum(shard.images for shard in self.shards) != self.n:
            raise ValueError(f"its shards do not hold {self.n:,} images")
        return self


class Member(NamedTuple):
    """An image in an archive: its sample's name, where its bytes lie, and its label."""

    key: str
    offset: Count
    length: Count
    label: Label


class Scan(Settings):
    """What one pass over an archive finds, in the archive's order."""

    bytes: Count
    hash: str
    members: tuple[Member, ...]
    unreadable: tuple[str, ...] = ()
    unreadable_count: Count = 0


def scan(path: Path, *, decoding: bool, workers: int | None = None) -> Scan:
    """One pass over the archive `path`. With `decoding`, images that cannot be decoded are left out and listed.

    A sample's image is its first member of an image's suffix; its label is what its member ".cls" says, or "cls" or
    "label" in ".json". Nothing else is looked at, and no name becomes a path.

    Raises
    ------
    UserError
        If it cannot be read, is no uncompressed tar archive, or is cut off.
    """
    try:
        with path.open("rb") as file:
            checksum = hash_of(path)
            found = list(_samples(path, file))
            length = file.seek(0, 2)
        problems: list[Unreadable | None] = _problems(path, found, workers) if decoding else [None] * len(found)
    except OSError as error:
        raise UserError(f"Cannot read the shard {path}: {error.strerror or error}.") from error
    listed = [f"{path.name}/{member.key}: {why}" for member, why in zip(found, problems, strict=True) if why]
    good = tuple(member for member, why in zip(found, problems, strict=True) if why is None)
    return Scan(
        bytes=length,
        hash=checksum,
        members=good,
        unreadable=tuple(listed[:_LISTED]),
        unreadable_count=len(listed),
    )


def content_hash(
    shards: tuple[Shard, ...],
    members: NDArray[np.int64],
    classes: tuple[str, ...],
    task: Task,
    size: int | None,
    fit: Fit | None,
) -> str:
    """What `ShardIndex.fingerprint` says. Members: int64 (n, 2 + columns): offset, length and targets of each image."""
    about = (task, str((len(shards), members.shape, size, fit)))
    held = (f"{shard.hash} {shard.bytes} {shard.images}" for shard in shards)
    return digest(FORMAT, *about, *held, members.data.cast("B") if members.size else b"", *classes)


def numbered(labels: list[Label]) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """The classes of labels and the number of each: int64 (n,). None where an image has no label.

    Whole numbers are class numbers themselves; words are numbered in sorted order.
    """
    if not labels or None in labels:
        return (), None
    numbers = [label for label in labels if isinstance(label, int)]
    if len(numbers) == len(labels):
        if wrong := [number for number in numbers if not 0 <= number < _MOST_CLASSES]:
            raise UserError(f"Class numbers in shards go from 0 to {_MOST_CLASSES - 1:,}; one is {wrong[0]}.")
        return tuple(map(str, range(max(numbers) + 1))), np.array(numbers, dtype=np.int64)
    words = [str(label) for label in labels]
    classes = sorted(set(words))
    places = {name: number for number, name in enumerate(classes)}
    return tuple(classes), np.array([places[word] for word in words], dtype=np.int64)


def _problems(path: Path, members: list[Member], workers: int | None) -> list[Unreadable | None]:
    """Why an image cannot be decoded, of each; None for a good one."""

    def problem(member: Member) -> Unreadable | None:
        try:
            with path.open("rb") as file:
                decode(_content(file, member.offset, member.length))
        except Unreadable as reason:
            return reason
        return None

    with quiet_pillow():
        return list(in_order(problem, members, workers))


def _samples(path: Path, file: BinaryIO) -> Iterator[Member]:
    """The samples with an image. Members of one sample stand in a row."""
    key, image, label = "", None, None
    for name, kind, offset, length in _files(path, file):
        if name != key:
            if image is not None:
                yield Member(key, *image, label)
            key, image, label = name, None, None
        if f".{kind}" in EXTENSIONS and image is None:
            image = (offset, length)
        elif kind in ("cls", "json") and length <= _LARGEST_TEXT and (kind == "cls" or label is None):
            said = _label(kind, _content(file, offset, length).getvalue())
            label = label if said is None else said
    if image is not None:
        yield Member(key, *image, label)


def _files(path: Path, file: BinaryIO) -> Iterator[tuple[str, str, int, int]]:
    """Sample, kind, offset and length of the regular files in an archive."""
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined] # they would be kept, all of them
                parts = _NAME.fullmatch(member.name)
                if parts and member.isreg() and not member.issparse() and not _OF_THE_ARCHIVE.match(member.name):
                    yield parts[1], parts[2].lower(), member.offset_data, member.size
            file.seek(tar.offset)
            whole = file.read(_BLOCK) == bytes(_BLOCK)
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is no uncompressed tar archive, or is cut off: {reason}. Fetch it again.") from error
    if not whole:
        raise UserError(f"The shard {path} is cut off or damaged: its end is missing. Fetch it again.")


def _content(file: BinaryIO, offset: int, length: int) -> BytesIO:
    if length > _LARGEST_IMAGE:
        raise Unreadable(f"its {length:,} bytes are more than the {_LARGEST_IMAGE:,} that are read safely")
    file.seek(offset)
    return BytesIO(file.read(length))


def _label(kind: str, data: bytes) -> Label:
    """What a member says of the class; None where it says nothing."""
    try:
        if kind == "cls":
            text = data.decode().strip()
            return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else text or None
        values = json.loads(data)
    except (ValueError, RecursionError):
        return None
    given = [values[key] for key in _LABEL_KEYS if key in values] if isinstance(values, dict) else []
    return given[0] if given and isinstance(given[0], int | str) and not isinstance(given[0], bool) else None
