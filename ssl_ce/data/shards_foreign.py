"""Archives without an index of `ce data shard`: one pass over each, remembered, makes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from rich.console import Console

from ssl_ce.data.options import DataOptions
from ssl_ce.data.packer import progress_bar
from ssl_ce.data.packfile import once_for_each_version
from ssl_ce.data.shards_fetching import fetch, fetched
from ssl_ce.data.shards_index import Label, Scan, Shard, ShardIndex, content_hash, numbered, scan
from ssl_ce.data.shards_naming import expand, is_url, name_of, split_of
from ssl_ce.errors import UserError
from ssl_ce.files import cache_dir, digest, expanded, write_text

_VERSION = 1  # of the scans in the cache; a change of what is found raises it


def read_foreign(pattern: str, options: DataOptions) -> tuple[ShardIndex, NDArray[np.int64], list[str]]:
    """The index of the archives that `pattern` names, its members as `content_hash` takes them, and their places.

    Raises
    ------
    UserError
        If one is missing, or no archive, or its labels cannot be numbered.
    """
    if not is_url(pattern):
        pattern = str(expanded(pattern))
    places = [pattern] if Path(pattern).is_file() else expand(pattern)
    if len(set(places)) < len(places):
        raise UserError(f"{pattern} names a shard twice.")
    console = Console(stderr=True, quiet=not options.progress)
    with progress_bar(console) as bar:
        scans = [_scanned(place, options) for place in bar.track(places, description="Looking through shards")]
    shards = tuple(
        Shard(name=place, images=len(found.members), bytes=found.bytes, hash=found.hash)
        for place, found in zip(places, scans, strict=True)
    )
    labels: list[Label] = [member.label for found in scans for member in found.members]
    classes, targets = numbered(labels)
    if targets is None and (given := len(labels) - labels.count(None)):
        without = f"{len(labels) - given:,} of {len(labels):,} images have no label (.cls, or label in .json)"
        console.print(f"{pattern}: {without}, so the set has none.", style="yellow", markup=False, soft_wrap=True)
    places_in_shards = np.array(
        [(member.offset, member.length) for found in scans for member in found.members], dtype=np.int64
    ).reshape(-1, 2)
    members = places_in_shards if targets is None else np.column_stack([places_in_shards, targets])
    unreadable = [text for found in scans for text in found.unreadable]
    count = sum(found.unreadable_count for found in scans)
    index = ShardIndex(
        name=name_of(pattern),
        split=split_of(pattern),
        task="none" if targets is None else "classes",
        classes=classes,
        n=len(members),
        columns=0 if targets is None else None,
        size=None,
        fit=None,
        encoding="original",
        fingerprint=content_hash(shards, members, classes, "none" if targets is None else "classes", None, None),
        source={"ref": pattern},
        total=len(members) + count,
        unreadable=tuple(unreadable),
        unreadable_count=count,
        shards=shards,
    )
    return index, members, places


def _scanned(place: str, options: DataOptions) -> Scan:
    """What an archive holds, from the cache if it was scanned before and, where it is local, has not changed since."""
    path = Path(place)
    if is_url(place):
        stamps = [place]
        path = fetched(place)
    else:
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"The shard {place} cannot be read: {error.strerror}. Check the path.") from error
        stamps = [
            str(path.resolve()),
            *map(str, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)),
        ]
    memory = cache_dir() / "shards" / f"{digest(str(_VERSION), *stamps)}.json"
    try:
        return Scan.model_validate_json(memory.read_bytes())
    except (OSError, ValidationError):
        pass  # not scanned yet, or the note is damaged
    if is_url(place):
        fetch(place, path, is_whole=Path.exists)
    found = scan(path, decoding=True, workers=options.workers)
    write_text(memory, found.model_dump_json())
    once_for_each_version(path, lambda: None)  # what was just hashed need not be hashed again
    return found
