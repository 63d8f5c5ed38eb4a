"""From a reference to an image set: a dataset, a folder, a packed file, and filters after '?'; or shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_ce.data import datasets
from ssl_ce.data.filters import split_filters
from ssl_ce.data.folders import folder_dataset
from ssl_ce.data.options import DataOptions, Fit
from ssl_ce.data.packfile import Metadata, is_packed, read_metadata
from ssl_ce.data.shards_naming import is_sharded, is_url
from ssl_ce.data.source import Dataset, Source
from ssl_ce.errors import UserError, unknown
from ssl_ce.files import digest, expanded

if TYPE_CHECKING:
    from ssl_ce.data.imageset import ImageSet
    from ssl_ce.data.packing import PackedImages


def open_images(reference: str, split: str, options: DataOptions) -> ImageSet:
    """See `ssl_ce.data.open_set`."""
    if sharded(reference):
        from ssl_ce.data.shards_opening import open_shards

        return open_shards(reference, split, options)
    return _open_packed(reference, split, options)


def _open_packed(reference: str, split: str, options: DataOptions) -> PackedImages:
    from ssl_ce.data.packer import check_unreadable, pack
    from ssl_ce.data.packing import PackedImages

    path = packed_file(reference)
    if path is not None:
        _check_packed(path, split, options)
        return PackedImages.open(path)
    dataset = find_dataset(reference)
    source = read_source(dataset, reference, split, options)
    size = options.size or options.default_size or dataset.size
    asked = _asked(reference, source, size, options.fit)
    key = digest(source.identity(), str(size), options.fit)
    path = options.cache_folder() / f"{source.name}-{split}-{size}-{key[:16]}.pack"
    if not path.exists():
        pack(source, size, path, options, asked)
    images = PackedImages.open(path, source)
    # It may have been packed under another reference to the same images: tell how they were asked for now.
    images.source = {**asked, **_unreadable(images.metadata)}
    found = images.metadata
    first = found.unreadable[0] if found.unreadable else ""
    check_unreadable(found.name, found.unreadable_count, found.total, options.allow_unreadable, first)
    return images


def pack_to(reference: str, split: str, out: Path, options: DataOptions, overwrite: bool = False) -> Metadata:
    """Pack one split of `reference` into the file `out`. Refuses one that exists, unless `overwrite`."""
    from ssl_ce.data.packer import pack

    if out.is_dir():
        raise UserError(f"{out} is a folder. Name the file to write, for example {out / 'train.pack'}.")
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already. Choose another --out, or replace it with --force.")
    if sharded(reference):
        raise UserError(f"{reference} holds shards. Pack the folder or the dataset that they were made of.")
    if packed_file(reference) is not None:
        raise UserError(f"{reference} is a packed file already. Pack the folder or the dataset that it came from.")
    dataset = find_dataset(reference)
    source = read_source(dataset, reference, split, options)
    size = options.size or options.default_size or dataset.size
    return pack(source, size, out, options, _asked(reference, source, size, options.fit))


def find_splits(reference: str, options: DataOptions) -> tuple[str, ...]:
    """See `ssl_ce.data.splits_of`."""
    if sharded(reference):
        from ssl_ce.data.shards_opening import shard_splits

        return shard_splits(reference)
    path = packed_file(reference)
    return (read_metadata(path).split,) if path is not None else find_dataset(reference).splits


def sharded(reference: str) -> bool:
    """Whether `reference` names a sharded set (`ssl_ce.data.shards_naming`). Asks no server.

    Raises
    ------
    UserError
        If it is an address that is not read, or has filters.
    """
    if reference in datasets:
        return False
    target, _, query = reference.partition("?")
    if query and not is_url(reference) and not expanded(reference).exists() and is_sharded(target):
        raise UserError(f"The shards {target} open as a whole. Leave out what follows '?'.")
    return is_sharded(reference)


def packed_file(reference: str) -> Path | None:
    """The path of the packed file that `reference` names, or None if it is something else.

    Raises
    ------
    UserError
        If it names a file of another kind, or a packed file with filters.
    """
    target, filters = split_filters(reference)
    path = expanded(target)
    if target in datasets or not path.is_file():
        return None
    if filters and is_packed(path):
        raise UserError(
            f"The packed file {target} opens as a whole. Leave out what follows '?', or pack no more than is wanted: "
            f"ce data pack 'REF?{reference.removeprefix(target + '?')}' --out FILE"
        )
    if not is_packed(path):
        raise UserError(
            f"{target} is neither a folder nor a packed image set. Give a dataset's name, a folder of "
            "images, or a file that ce data pack wrote."
        )
    return path


def find_dataset(reference: str) -> Dataset:
    """The registered dataset or the folder that `reference` names, filters or not.

    Raises
    ------
    UserError
        If there is no such thing, with the closest names.
    """
    target, _ = split_filters(reference)
    if target in datasets:
        return datasets.get(target)
    folder = expanded(target)
    if folder.is_dir():
        return folder_dataset(folder)
    if "/" in target or target.startswith((".", "~")) or folder.suffix:
        raise UserError(f"There is no folder or packed file {target}. Check the path.")
    raise UserError(f"{unknown('dataset', target, datasets.names())} There is no folder of that name either.")


def read_source(dataset: Dataset, reference: str, split: str, options: DataOptions) -> Source:
    """The images of one split, listed, that the reference's filters keep. `UserError` if there is no such split."""
    target, filters = split_filters(reference)
    if split not in dataset.splits:
        raise UserError(f"{target} has no split '{split}'; it has {', '.join(dataset.splits)}.")
    try:
        source = dataset.read(split, options)
    except UserError as error:
        if target in datasets and Path(target).is_dir():
            raise UserError(f"{error} (For the folder {target} here, write ./{target}.)") from error
        raise
    return filters.apply(source, options.seed)


def _check_packed(path: Path, split: str, options: DataOptions) -> None:
    metadata = read_metadata(path)
    if split != metadata.split:
        raise UserError(
            f"The packed file {path} holds the split '{metadata.split}', but '{split}' is needed. "
            f"Pack that one too: ce data pack REF --split {split} --size {metadata.size} --out FILE"
        )
    if options.size not in (None, metadata.size):
        raise UserError(
            f"The packed file {path} holds images of {metadata.size} x {metadata.size} pixels, not "
            f"{options.size}. Leave out --size, or pack again with --size {options.size}."
        )


def _asked(reference: str, source: Source, size: int, fit: Fit) -> dict[str, Any]:
    return {"ref": reference, "size": size, "fit": fit, **source.origin}


def _unreadable(metadata: Metadata) -> dict[str, int]:
    return {"unreadable": metadata.unreadable_count} if metadata.unreadable_count else {}
