"""`ce data`: look at image sets, pack them, and write them as shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssl_ce.cli.groups import Group
from ssl_ce.cli.image_options import data_options, make_data_options
from ssl_ce.cli.sharding import shard
from ssl_ce.errors import UserError
from ssl_ce.files import check_folder

if TYPE_CHECKING:
    from ssl_ce.data import DataOptions
    from ssl_ce.data.imageset import ImageSet
    from ssl_ce.data.inspecting import SplitInfo
    from ssl_ce.data.packfile import Metadata

_CLASSES_SHOWN = 40
_FILES_SHOWN = 20


@click.group(cls=Group)
def data() -> None:
    """Look at image sets, pack them, and write them as shards.

    REF is a registered dataset (ce list datasets), a packed file, shards, or a folder: train/ and test/ (or val/) of
    class folders, one level of class folders, or images only. What has no splits is split by seed.

    \b
    Examples:
      ce data info photos/
      ce data pack photos/ --size 128 --out photos-train.pack
      ce data shard photos/ --size 128 --out shards/
    """


data.add_command(shard)


@data.command()
@click.argument("reference", metavar="REF")
@click.option(
    "--duplicates/--no-duplicates",
    default=True,
    show_default=True,
    help="Count test images that are among the train images.",
)
@partial(data_options, seed_flag="--seed")
def info(reference: str, duplicates: bool, **options: Any) -> None:
    """Show the splits, classes, image sizes and unreadable files of REF, and which test images are in train too.

    All but the last is read from the headers. To look for duplicates, the images are packed at --size, once;
    --no-duplicates leaves that out.

    \b
    Examples:
      ce data info photos/
      ce data info photos/ --no-duplicates
      ce data info digits
      ce data info cifar10 --data-root ~/data --download
      ce data info photos-train.pack
    """
    from ssl_ce.data.opening import packed_file, sharded
    from ssl_ce.data.packfile import verify

    if sharded(reference):
        _show_sharded(reference, make_data_options(options), duplicates)
    elif (path := packed_file(reference)) is not None:
        _show_packed(path, verify(path))
    else:
        data_options = make_data_options(options)
        found = _inspect(reference, data_options)
        _show_splits(reference, found)
        if duplicates:
            splits = [split.split for split in found]
            _show_duplicates(reference, splits, replace(data_options, default_size=_side(reference, found)))


@data.command()
@click.argument("reference", metavar="REF")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--split", default="train", show_default=True, help="Which split: train, test, val, all, ...")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@partial(data_options, seed_flag="--seed")
def pack(reference: str, out: Path, split: str, force: bool, **options: Any) -> None:
    """Decode one split of REF into one file, once and for all.

    The file is checked when it is opened, and read without decoding.

    \b
    Examples:
      ce data pack photos/ --size 128 --out photos-train.pack
      ce data pack photos/ --size 128 --split test --out photos-test.pack
      ce data pack stl10 --data-root ~/data --download --split unlabeled --out stl10.pack
      ce data pack scans/ --size 256 --fit pad --allow-unreadable --out scans.pack
    """
    from ssl_ce.data.opening import pack_to

    check_folder(out.parent)
    metadata = pack_to(reference, split, out, make_data_options(options), overwrite=force)
    skipped = f", {metadata.unreadable_count:,} unreadable ones left out" if metadata.unreadable_count else ""
    click.echo(
        f"{out}: {metadata.n:,} images of {metadata.size} x {metadata.size}{skipped} "
        f"({metadata.geometry}); fingerprint {metadata.fingerprint}"
    )


def _inspect(reference: str, options: DataOptions) -> list[SplitInfo]:
    """Each split that is there; "all" only where nothing else is. Raises `UserError` if none is."""
    from ssl_ce.data.inspecting import inspect_split
    from ssl_ce.data.opening import find_splits

    found: list[SplitInfo] = []
    errors: list[UserError] = []
    for split in find_splits(reference, options):
        if split == "all" and found:
            continue
        try:
            found.append(inspect_split(reference, split, options))
        except UserError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    if found[-1].split != "all":
        for left_out in errors:
            click.echo(f"Left out: {left_out}", err=True)
    return found


def _show_splits(reference: str, found: list[SplitInfo]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(reference, style="bold", markup=False, highlight=False)
    table = Table("", *(split.split for split in found), box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("images", *(f"{split.n:,}" for split in found))
    table.add_row("task", *(split.task for split in found))
    table.add_row("classes", *(str(len(split.classes)) for split in found))
    for place, name in enumerate(("smallest (width x height)", "median", "largest")):
        sizes = (split.sizes[place] if split.sizes else None for split in found)
        table.add_row(name, *(f"{size[1]} x {size[0]}" if size else "" for size in sizes))
    table.add_row("unreadable", *(_count_unreadable(split) for split in found))
    table.add_row("files of other kinds", *(f"{split.ignored:,}" for split in found))
    console.print(table)
    _show_classes(console, found)
    broken = [text for split in found for text in split.unreadable]
    for text in broken[:_FILES_SHOWN]:
        console.print(f"Unreadable: {text}", markup=False, highlight=False, soft_wrap=True)
    if len(broken) > _FILES_SHOWN:
        console.print(f"... and {len(broken) - _FILES_SHOWN:,} more unreadable files")


def _count_unreadable(split: SplitInfo) -> str:
    some = f" of {split.examined:,} looked at" if split.examined < split.n else ""
    return f"{len(split.unreadable):,}{some}"


def _show_classes(console: Any, found: list[SplitInfo]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    classes = max((split.classes for split in found), key=len)
    if not classes:
        console.print("There are no classes: this serves pretraining and inpainting.")
        return
    table = Table("class", *(split.split for split in found), box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for number, name in enumerate(classes[:_CLASSES_SHOWN]):
        counts = (f"{split.class_counts[number]:,}" if split.class_counts else "" for split in found)
        table.add_row(Text(name), *counts)
    console.print(table)
    if len(classes) > _CLASSES_SHOWN:
        console.print(f"... and {len(classes) - _CLASSES_SHOWN:,} more classes")
    if len(classes) == 1:
        console.print("There is one class only: evaluators that need classes will refuse this set.")


def _show_duplicates(reference: str, splits: Sequence[str], options: DataOptions) -> None:
    """Of each other split, how many images are among the train images, and the first of them."""
    others = [split for split in splits if split != "train"]
    if "train" not in splits or not others:
        return
    from ssl_ce.cli.progress import status_line
    from ssl_ce.data import open_set
    from ssl_ce.data.duplicates import find_duplicates

    try:
        train = open_set(reference, "train", options)
        for split in others:
            images = open_set(reference, split, options)
            with status_line("duplicates") as say:
                say(f"comparing {len(images):,} {split} images with {len(train):,} train images")
                same = find_duplicates(train, images)
            click.echo(
                f"Of {len(images):,} {split} images {same.exact:,} are train images too, and {same.near:,} look almost "
                f"like one (at {_shape(images)}; perceptual hash, at most {same.threshold} of 64 bits apart)."
            )
            for place, other, bits in same.pairs:
                how = "is" if bits < 0 else "is almost"
                click.echo(f"  {_called(images, place)} {how} {_called(train, other)}")
            if same.exact + same.near > len(same.pairs):
                click.echo(f"  ... and {same.exact + same.near - len(same.pairs):,} more")
    except UserError as error:
        click.echo(f"Duplicates were not looked for: {error}", err=True)


def _side(reference: str, found: list[SplitInfo]) -> int | None:
    """The side at which a folder's images are compared: its own, but no more than half of them have themselves."""
    from ssl_ce.data import datasets
    from ssl_ce.data.filters import split_filters
    from ssl_ce.data.opening import find_dataset

    sides = [min(split.sizes[1]) for split in found if split.sizes]
    if split_filters(reference)[0] in datasets or not sides:
        return None
    return min(find_dataset(reference).size, *sides)


def _called(images: ImageSet, place: int) -> str:
    """An image by its file, or by its number where it was none."""
    from ssl_ce.data.packing import files_of

    files = files_of(images)
    return f"{images.split} image {place:,}" if files is None else str(files[place])


def _shape(images: ImageSet) -> str:
    return "their own sizes" if images.size is None else f"{images.size[1]} x {images.size[0]}"


def _show_sharded(reference: str, options: DataOptions, duplicates: bool) -> None:
    from ssl_ce.data import open_set, splits_of

    splits = splits_of(reference, options)
    for split in splits:
        images = open_set(reference, split, options)
        rows = {
            "dataset": f"{images.name}, {split}",
            "task": images.task,
            "images": f"{len(images):,}, read at {_shape(images)}",
            "classes": ", ".join(images.classes[:_CLASSES_SHOWN]) or "none",
            "fingerprint": images.fingerprint,
        }
        _show_rows(reference, rows)
    if duplicates:
        _show_duplicates(reference, splits, options)


def _show_packed(path: Path, metadata: Metadata) -> None:
    rows = {
        "dataset": f"{metadata.name}, {metadata.split}",
        "task": metadata.task,
        "images": f"{metadata.n:,} of {metadata.size} x {metadata.size}",
        "geometry": metadata.geometry,
        "classes": ", ".join(metadata.classes[:_CLASSES_SHOWN]) or "none",
        "unreadable": f"{metadata.unreadable_count:,} of {metadata.total:,}",
        "packed from": ", ".join(f"{key} {value}" for key, value in metadata.source.items()),
        "fingerprint": metadata.fingerprint,
    }
    _show_rows(str(path), rows)


def _show_rows(title: str, rows: Mapping[str, str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(title, style="bold", markup=False, highlight=False)
    table = Table(show_header=False, box=SIMPLE_HEAD, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, Text(value))
    console.print(table)
