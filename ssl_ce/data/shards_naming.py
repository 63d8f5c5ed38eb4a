"""How sharded sets are called: which references mean one, what braces stand for, which split a name tells."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from ssl_ce.errors import UserError
from ssl_ce.files import expanded

INDEX, MEMBERS = ".shards.json", ".shards.npy"
_MOST_SHARDS = 1_000_000
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def is_url(place: str) -> bool:
    """Whether `place` is on a server."""
    return place.startswith(("http://", "https://"))


def is_sharded(reference: str) -> bool:
    """Whether `reference` has the form of one to a sharded set. Asks no server.

    Raises
    ------
    UserError
        If it is an address of a kind that is not read: `pipe:` would run a command.
    """
    scheme = re.match(r"(pipe:|[A-Za-z][A-Za-z0-9+.-]*://)", reference)
    if scheme and not is_url(reference):
        raise UserError(f"Shards are read from files, http:// and https://; '{reference}' is none of them.")
    if scheme:
        if not reference.endswith((".tar", INDEX)) or not _is_plain(reference):
            raise UserError(
                "An address of shards names a host, ends in .tar or .shards.json and holds no password and no '?': it "
                "is written into every record."
            )
        return True
    path = expanded(reference)
    return reference.endswith((".tar", INDEX)) or (path.is_dir() and any(path.glob(f"*{INDEX}")))


def _is_plain(address: str) -> bool:
    """Whether an address is one, without a query, a name or a password."""
    try:
        parts = urlsplit(address)
    except ValueError:  # of "http://[x", for one
        return False
    return not (parts.query or parts.username or parts.password) and bool(parts.hostname)


def expand(pattern: str) -> list[str]:
    """The names that braces stand for, the first brace slowest: a{08..10}.tar, {train,val}-{0..3}.tar."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    head, rest = pattern[: found.start()], expand(pattern[found.end() :])
    if numbers := re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", found[1]):
        first, last = int(numbers[1]), int(numbers[2])
        padded = any(len(text) > 1 and text.startswith("0") for text in numbers.groups())
        width = max(map(len, numbers.groups())) if padded else 0
        count = (last - first + 1) * len(rest)
        items: Iterable[str] = (f"{number:0{width}d}" for number in range(first, last + 1))
    else:
        items = found[1].split(",")
        count = (found[1].count(",") + 1) * len(rest)
    if not 0 < count <= _MOST_SHARDS:
        raise UserError(
            f"{{{found[1]}}} stands for {max(count, 0):,} shards; write {{first..last}}, as in {{000..099}}."
        )
    return [head + item + tail for item in items for tail in rest]


def name_of(pattern: str) -> str:
    """What the archives are called without their numbers and their split."""
    stem = re.split(r"\{|\.tar$", Path(pattern).name)[0]
    bare = re.sub(r"(^|[-_.])(train|test|val|valid|validation)(?=[-_.]|$)", "", re.sub(r"[-_.]?\d*$", "", stem))
    return bare.strip("-_.") or "shards"


def split_of(pattern: str) -> str:
    """The split that the archives' name tells; "train" where it tells none."""
    words = re.split(r"[-_.{},]+", Path(pattern).name)
    return next((_SPLITS[word] for word in words if word in _SPLITS), "train")
