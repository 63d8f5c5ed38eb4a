"""From a reference to a sharded set: a folder that `ce data shard` wrote, or archives by a pattern or an address.

shards/                                a folder that ce data shard wrote, with its splits
shards/photos-train.shards.json        one split of it; here too: https://host/photos-train.shards.json
others/name-{000..099}.tar             anybody's archives; https://host/name-{000..099}.tar
"""

from __future__ import annotations

import math
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ssl_ce.data.options import DataOptions
from ssl_ce.data.packer import check_unreadable
from ssl_ce.data.shards import WINDOW, ShardedImages
from ssl_ce.data.shards_fetching import cache_limit, download, fetched
from ssl_ce.data.shards_files import ShardFiles, check_cache
from ssl_ce.data.shards_foreign import read_foreign
from ssl_ce.data.shards_index import OwnIndex, ShardIndex, content_hash
from ssl_ce.data.shards_naming import INDEX, MEMBERS, is_url, split_of
from ssl_ce.errors import UserError
from ssl_ce.files import expanded

_DEFAULT_SIZE = 128
_LARGEST_INDEX = 1 << 28
_NPY_HEAD = 1024  # bytes at most before the numbers; NumPy writes 128
_AGAIN = "Restore both, or write the shards again: ce data shard"


def shard_splits(reference: str) -> tuple[str, ...]:
    """The splits of a sharded set: "train" first, and one only unless it is a folder."""
    if reference.endswith(".tar"):
        return (split_of(reference),)
    return tuple(_own_indices(reference))


def open_shards(reference: str, split: str, options: DataOptions) -> ShardedImages:
    """One split of a sharded set. Archives without an index of `ce data shard` are read once to make one.

    Raises
    ------
    UserError
        If there is no such thing, or a shard is missing, cut off or of another size than is asked for.
    MachineError
        If a server cannot be reached.
    """
    if reference.endswith(".tar"):
        index, members, places = read_foreign(reference, options)
    else:
        index, members, places = _read_own(reference, split, options)
    if split != index.split:
        raise UserError(f"{reference} holds the split '{index.split}', but '{split}' is needed.")
    if index.n == 0:
        raise UserError(f"{reference} holds no images.")
    if index.size is not None and options.size not in (None, index.size):
        raise UserError(
            f"{reference} holds images of {index.size} x {index.size} pixels, not {options.size}. Leave out --size, "
            f"or write shards again with --size {options.size}."
        )
    files = ShardFiles(index.shards, places)
    files.check_there()
    if is_url(places[0]):
        check_cache(index.shards, 2 * WINDOW)
    size = index.size or options.size or options.default_size or _DEFAULT_SIZE
    fit = index.fit or options.fit
    source = {"ref": reference, "size": size, "fit": fit}
    if index.unreadable_count:
        source["unreadable"] = index.unreadable_count
        first = index.unreadable[0] if index.unreadable else ""
        check_unreadable(index.name, index.unreadable_count, index.total, options.allow_unreadable, first)
    return ShardedImages(index, members, files, size, fit, source, options.workers)


def read_index(path: Path) -> OwnIndex:
    """The index in a file. `UserError` if it is none."""
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            raise UserError(f"{path} is too large for an index of shards. {_AGAIN}")
        return OwnIndex.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"Cannot read the index of shards {path}: {error.strerror}.") from error
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]
        where = ".".join(map(str, reason["loc"]))
        raise UserError(
            f"{path} is no index of shards that this version reads ({f'{where}: ' if where else ''}{reason['msg']}). "
            "Write the shards again: ce data shard"
        ) from error


def _read_own(reference: str, split: str, options: DataOptions) -> tuple[ShardIndex, NDArray[np.int64], list[str]]:
    indices = _own_indices(reference)
    if split not in indices:
        raise UserError(f"{reference} has no split '{split}'; it has {', '.join(indices)}.")
    index, place = indices[split]
    beside = place.removesuffix(INDEX) + MEMBERS
    path = Path(beside)
    if is_url(beside):
        path = fetched(beside)
        if _members(path, index) is None:
            most = min(cache_limit(), _NPY_HEAD + 8 * math.prod(index.members_shape))
            download(beside, path, most=most, hint=_AGAIN)
    members = _members(path, index)
    if members is None:
        raise UserError(f"{beside} is missing, or does not belong to {place}. {_AGAIN}")
    names = [shard.name for shard in index.shards]
    if is_url(place):
        return index, members, [urljoin(place, name) for name in names]
    return index, members, [str(Path(place).parent / name) for name in names]


def _own_indices(reference: str) -> dict[str, tuple[OwnIndex, str]]:
    """The index of each split and where it lies."""
    if is_url(reference):
        path = fetched(reference)
        download(reference, path, most=_LARGEST_INDEX)  # each time: it is small, and tells whether the data changed
        index = read_index(path)
        return {index.split: (index, reference)}
    path = expanded(reference)
    found: dict[str, tuple[OwnIndex, str]] = {}
    for file in sorted(path.glob(f"*{INDEX}")) if path.is_dir() else [path]:
        index = read_index(file)
        if index.split in found:
            raise UserError(f"{path} holds several sets with the split '{index.split}'. Name one: {file}.")
        found[index.split] = (index, str(file))
    return dict(sorted(found.items(), key=lambda item: (item[0] != "train", item[0])))


def _members(path: Path, index: ShardIndex) -> NDArray[np.int64] | None:
    """The members of the index that `path` holds, int64 (n, 2 + columns); None if those are not what it holds."""
    try:
        if not 0 < path.stat().st_size - 8 * math.prod(index.members_shape) <= _NPY_HEAD:
            return None
        found = np.lib.format.open_memmap(path, mode="r")
    except Exception:  # a damaged file can raise nearly anything inside NumPy
        return None
    if found.dtype != np.int64 or found.shape != index.members_shape:
        return None
    members: NDArray[np.int64] = np.array(found, order="C")  # to read a mapped file that is cut off kills the process
    whole = content_hash(index.shards, members, index.classes, index.task, index.size, index.fit) == index.fingerprint
    return members if whole and _are_possible(members, index) else None


def _are_possible(members: NDArray[np.int64], index: ShardIndex) -> bool:
    """Whether the images lie within their shards, and the targets are some of the task."""
    offsets, lengths, targets = members[:, 0], members[:, 1], members[:, 2:]
    ends = np.repeat([shard.bytes for shard in index.shards], [shard.images for shard in index.shards])
    least, most = (0, len(index.classes) - 1) if index.columns is None else (-1, 1)
    return bool(
        (offsets >= 0).all()
        and (lengths >= 0).all()
        and (offsets <= ends - lengths).all()
        and (targets >= least).all()
        and (targets <= most).all()
    )
