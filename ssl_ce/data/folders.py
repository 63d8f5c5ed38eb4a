"""A folder of images as a dataset. Layouts, in the order they are tried:

    train/ with test/ and/or val/      splits; val/ stands in for a test/ that is missing
    photo|images/ with label|masks/    pairs of photographs and pixel maps or boxes: the photographs are read, and where
                                       the others have the photographs' names they are known too (ssl_ce.data.labels,
                                       ssl_ce.data.boxes)
    one level of class folders         classes, split by seed
    images only                        no targets, split by seed

A split folder may itself be a folder of class folders, of pairs, or of images only. Classes are numbered in
sorted order of their names. Hidden files are passed over; so are files that are not images, but counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl_ce.data.options import DataOptions
from ssl_ce.data.source import Dataset, Files, FilesBeside, Source
from ssl_ce.data.splitting import split_by_seed
from ssl_ce.errors import UserError
from ssl_ce.files import expanded

EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif",
    ".ppm", ".pgm", ".pnm",
))  # fmt: skip
_PHOTOS = frozenset(("photo", "photos", "image", "images", "img", "imgs", "jpegimages"))
# Those that hold pixel maps, the likeliest first, and others.
_MAPS = ("label", "labels", "segmentationclass", "annotation", "annotations", "mask", "masks")
_BESIDE_PHOTOS = frozenset((*_MAPS, "imagesets", "segmentationobject"))  # VOC's
# JPEG and WebP blur class numbers into others.
_LOSSLESS = frozenset((".png", ".tif", ".tiff", ".bmp"))
_XML = frozenset((".xml",))


def folder_dataset(folder: Path) -> Dataset:
    """The dataset in `folder`, which must exist. Images are looked for when a split is read."""
    folder = expanded(folder).resolve()
    if (folder / "train").is_dir():
        places = {"train": "train"}
        if (folder / "val").is_dir():
            places["val" if (folder / "test").is_dir() else "test"] = "val"
        if (folder / "test").is_dir():
            places["test"] = "test"
        return Dataset(tuple(places), lambda split, _: _read_split_folder(folder, split, places[split]))
    return Dataset(("train", "test", "all"), lambda split, options: _read_split_by_seed(folder, split, options))


def images_below(folder: Path) -> Files:
    """All images in `folder` at any depth, sorted, hidden ones left out. `UserError` if it cannot be read."""
    subfolders, names = _visible(folder)
    names += [name for subfolder in subfolders for name in _walk(folder, subfolder)]
    return Files(folder, sorted(name for name in names if _is_image(name)))


@dataclass(frozen=True)
class _Listing:
    """What lies in one folder: paths of images relative to it, the class of each, or None, and what is beside them."""

    names: list[str]
    classes: list[str] | None
    ignored: int
    maps: FilesBeside | None = None
    annotations: FilesBeside | None = None


def _read_split_folder(folder: Path, split: str, place: str) -> Source:
    listing = _list(folder / place)
    known = set(listing.classes or ())
    if split != "train" and listing.classes is not None:
        train = _list(folder / "train")
        if train.classes is not None:
            strange = sorted(known - set(train.classes))
            if strange:
                raise UserError(
                    f"{folder / place} has classes that {folder / 'train'} has not: {_some(strange)}. "
                    "Name the class folders alike in every split."
                )
            known = set(train.classes)
    return _source(folder, split, listing, sorted(known), place)


def _read_split_by_seed(folder: Path, split: str, options: DataOptions) -> Source:
    listing = _list(folder)
    whole = _source(folder, split, listing, sorted(set(listing.classes or ())), "")
    if split == "all":
        return whole
    labels = np.zeros(len(whole), dtype=np.int64) if whole.targets is None else whole.targets
    train, test = split_by_seed(listing.names, labels, round(options.test_share * len(whole)), options.seed)
    chosen = train if split == "train" else test
    if len(chosen) == 0:
        raise UserError(
            f"{folder} holds {len(whole)} images, too few for a {split} split of their own. "
            "Add images, or give a folder with train/ and test/."
        )
    return whole.part(chosen, split_seed=options.seed, test_share=options.test_share)


def _source(folder: Path, split: str, listing: _Listing, classes: list[str], place: str) -> Source:
    numbers = {name: number for number, name in enumerate(classes)}
    labelled = listing.classes is not None
    return Source(
        name=folder.name,
        split=split,
        images=Files(folder / place, listing.names),
        task="classes" if labelled else "none",
        classes=tuple(classes),
        targets=np.array([numbers[c] for c in listing.classes], dtype=np.int64) if listing.classes else None,
        maps=listing.maps,
        annotations=listing.annotations,
        origin={"folder": place} if place else {},
        ignored=listing.ignored,
    )


def _list(folder: Path) -> _Listing:
    """The images of one split. Class folders are searched to any depth; empty ones are no classes."""
    subfolders, files = _visible(folder)
    images = sorted(name for name in files if _is_image(name))
    ignored = len(files) - len(images)
    below = {name: sorted(_walk(folder, name)) for name in subfolders}
    ignored += sum(not _is_image(name) for names in below.values() for name in names)
    full = {name: found for name, names in below.items() if (found := [n for n in names if _is_image(n)])}
    photos = [name for name in subfolders if name.casefold() in _PHOTOS]
    if images and full and any(name.casefold() not in _BESIDE_PHOTOS for name in full):
        raise UserError(
            f"{folder} holds both images ({images[0]}) and folders of images ({next(iter(full))}/). "
            "Move the images into class folders, or all of them into one folder."
        )
    if images:
        return _Listing(images, None, ignored, *_beside(folder, images, below))
    if len(photos) == 1 and photos[0] in full and all(n.casefold() in _PHOTOS | _BESIDE_PHOTOS for n in subfolders):
        names, of_other_kinds = full[photos[0]], sum(not _is_image(name) for name in below[photos[0]])
        return _Listing(names, None, of_other_kinds, *_beside(folder, [n.partition("/")[2] for n in names], below))
    if not full:
        others = f" The {ignored} files there are of other kinds." if ignored else ""
        raise UserError(
            f"No images in {folder}: it should hold JPEG, PNG, WebP or BMP files, or folders of them.{others}"
        )
    return _Listing(
        [name for names in full.values() for name in names],
        [label for label, names in full.items() for _ in names],
        ignored,
    )


def _beside(
    folder: Path, images: list[str], below: dict[str, list[str]]
) -> tuple[FilesBeside | None, FilesBeside | None]:
    """The pixel maps of `images`, and their annotations."""
    return _find(folder, images, below, _LOSSLESS), _find(folder, images, below, _XML)


def _find(folder: Path, images: list[str], below: dict[str, list[str]], suffixes: frozenset[str]) -> FilesBeside | None:
    """What the first folder beside `images` that has any holds of them: files of their names but for the suffix."""
    for place in sorted((name for name in below if name.casefold() in _MAPS), key=lambda n: _MAPS.index(n.casefold())):
        inner = [name.partition("/")[2] for name in below[place]]
        there = {_stem(name): name for name in inner if os.path.splitext(name)[1].lower() in suffixes}  # noqa: PTH122
        found = [there.get(_stem(name)) for name in images]
        if any(name is not None for name in found):
            return FilesBeside(folder / place, found)
    return None


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122


def _visible(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in `folder`, sorted, hidden ones left out."""
    try:
        with os.scandir(folder) as entries:
            seen = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    return [name for name, is_dir in seen if is_dir], [name for name, is_dir in seen if not is_dir]


def _walk(folder: Path, below: str) -> Iterator[str]:
    """Files at any depth of `folder / below`, as paths relative to `folder`."""
    subfolders, files = _visible(folder / below)
    for name in files:
        yield f"{below}/{name}"
    for name in subfolders:
        yield from _walk(folder, f"{below}/{name}")


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - a million names, no Path objects


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
