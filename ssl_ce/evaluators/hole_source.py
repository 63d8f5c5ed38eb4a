"""Where an evaluator's holes come from: a region strategy, or mask images, by name or drawn by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.masks import list_masks, masks_by_name, read_masks
from ssl_ce.data.options import Fit
from ssl_ce.data.packing import files_of
from ssl_ce.data.source import Files, Source
from ssl_ce.errors import UserError, unknown
from ssl_ce.files import digest, expanded
from ssl_ce.holes import bank_of, draw, strategies
from ssl_ce.randomness import integers, sample_keys, sample_order

_MATCHES = ("name", "seed")


class HoleSource(Protocol):
    """Holes of the images of one image set.

    Attributes
    ----------
    name
        What was asked for: a strategy, or a path.
    variant
        What a record's `variant` says of it.
    identity
        Hash of the masks; "" for a strategy, which is its name and its options.
    """

    name: str
    variant: Mapping[str, str]
    identity: str

    def each(self, indices: Tensor, seed: int) -> Tensor:
        """The holes of the images `indices`, a function of (seed, image number): bool (n, 1, h, w), True = missing."""
        ...

    def banked(self, indices: Tensor, seed: int, count: int, *, whole: bool) -> Tensor:
        """The same with at most `count` different holes, under each of which training images are described.

        Are they described as whole images (`whole`), then masks matched by name are given as they are: one for each
        image. If not, these raise `UserError`.
        """
        ...


def check_holes(names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise `UserError` for a name that is neither a region strategy nor a folder or file, or an option for none."""
    for name in names:
        _check_name(name)
    drawn = [name for name in names if name in strategies]
    if "match" in options and len(drawn) == len(names):
        raise UserError(
            f"options.match says how mask images are matched, and {', '.join(names)} has none. Leave it out."
        )
    if not drawn:
        for option in options:
            if option != "match":
                raise unknown(f"option of the masks {', '.join(names)}", option, ("match",))


def _check_name(name: str) -> None:
    if not name.strip():
        raise UserError("--holes is empty. Name a region strategy (ce list holes), a folder of masks, or a mask image.")
    if name not in strategies and not _path(name).exists():
        if "/" in name or _path(name).suffix:
            raise UserError(f"There is no folder of masks or mask image {name}. Check the path.")
        neither = unknown("region strategy", name, strategies.names())
        raise UserError(f"{neither} There is no folder of masks of that name either.")


def open_holes(name: str, options: Mapping[str, Any], test: ImageSet) -> HoleSource:
    """The holes that `name` stands for, on the packed set `test`. A strategy's name wins over a path.

    Parameters
    ----------
    name
        A region strategy; a mask image, the same for all images; or a folder of mask images, white = missing. A folder
        is matched by name if every image has a mask of its own name in it, and else gives each image one by seed.
    options
        The strategy's; for a folder `match`: "name" or "seed". What is the others' is passed over.

    Raises
    ------
    UserError
        If there is no such thing, an option is unknown, some images have a mask of their name and some have not
        (unless `match` is "seed"), or a mask does not fit (`ssl_ce.data.masks.read_masks`): none is left to be found
        while holes are filled.
    """
    _check_name(name)
    assert test.size is not None
    if name in strategies:
        return _Strategy(name, {option: options[option] for option in options if option != "match"}, test.size)
    masks = list_masks(_path(name))
    matched = _matched(name, options.get("match"), masks, test)
    images = None if matched is None else files_of(test)
    listing = Source("masks", "all", masks if matched is None else matched)
    height, width = test.size
    if height != width:
        raise UserError(f"Masks become squares, and the images of {test.name} are none ({width} x {height} pixels).")
    identity = digest(listing.identity(), "" if matched is None else test.fingerprint)
    wanted = _Wanted(identity, height, test.source.get("fit", "crop"), listing.images, images)
    try:
        return _Masks(name, _read(wanted), matched is not None)
    except UserError as error:
        if matched is None or "match" in options:
            raise
        raise UserError(f"{error} (It goes by the image's name; --set options.match=seed goes by none.)") from error


class _Strategy:
    """Holes drawn by a region strategy."""

    identity = ""

    def __init__(self, name: str, options: Mapping[str, Any], size: tuple[int, int]) -> None:
        self.name = name
        self.variant: Mapping[str, str] = {"holes": name}
        self._options = options
        self._size = size

    def each(self, indices: Tensor, seed: int) -> Tensor:
        return draw(self.name, sample_keys(seed, 0, indices, "evaluation hole"), *self._size, self._options)

    def banked(self, indices: Tensor, seed: int, count: int, *, whole: bool) -> Tensor:
        return bank_of(self.name, indices, count, seed, *self._size, self._options)


class _Masks:
    """Holes from mask images: one for each image, in order (`own`), or drawn."""

    def __init__(self, name: str, masks: _Packed, own: bool) -> None:
        self.name = name
        self.own = own
        self.identity = digest("masks", str(own), masks.bits.tobytes())
        how = "by name" if own else f"drawn from {len(masks.bits):,}" if len(masks.bits) > 1 else "one for all"
        # The hash sets records under other masks of this path apart: they never stand in one table.
        self.variant: Mapping[str, str] = {"holes": name, "masks": f"{how} ({self.identity[:6]})"}
        self._masks = masks

    def each(self, indices: Tensor, seed: int) -> Tensor:
        if self.own:
            return self._masks.read(indices)
        keys = sample_keys(seed, 0, indices, "mask image")
        return self._masks.read(integers(keys, 0, len(self._masks.bits), 1)[:, 0])

    def banked(self, indices: Tensor, seed: int, count: int, *, whole: bool) -> Tensor:
        if self.own and whole:
            return self.each(indices, seed)
        if self.own:
            raise UserError(
                f"The masks {self.name} give every image its own hole, and here training images are described under "
                "each. Describe them once, as whole images: --set index=full; or take a few masks for all: "
                "--set options.match=seed."
            )
        bank = sample_order(seed, 0, len(self._masks.bits))[:count]
        places = integers(sample_keys(seed, 0, indices, "bank mask"), 0, len(bank), 1)[:, 0]
        return self._masks.read(bank[places])


@dataclass(frozen=True)
class _Wanted:
    """Masks to read; `identity` changes when a file does."""

    identity: str
    size: int
    fit: Fit
    masks: Sequence[Any] = field(compare=False)
    images: Sequence[Path | str] | None = field(compare=False)


@dataclass(frozen=True)
class _Packed:
    """Masks of size x size pixels, eight pixels to a byte: uint8 (m, bytes)."""

    bits: NDArray[np.uint8]
    size: int

    def read(self, places: Tensor) -> Tensor:
        """bool (n, 1, size, size)."""
        pixels = np.unpackbits(self.bits[places.numpy()], axis=1, count=self.size * self.size)
        return torch.from_numpy(pixels.reshape(-1, 1, self.size, self.size).astype(bool))


@lru_cache(maxsize=4)
def _read(wanted: _Wanted) -> _Packed:
    masks = read_masks(wanted.masks, wanted.size, wanted.fit, wanted.images)
    return _Packed(np.stack([np.packbits(mask) for mask in masks]), wanted.size)


def _matched(name: str, match: Any, masks: Files, test: ImageSet) -> list[Path] | None:
    """The mask of each image, or None where masks are drawn."""
    if match not in (None, *_MATCHES):
        raise unknown(f"match of the masks {name}", str(match), _MATCHES)
    if not _path(name).is_dir():
        if match == "name":
            raise UserError(f"{name} is one mask for all images. Leave out options.match, or give a folder of masks.")
        return None
    files = files_of(test)
    if match == "seed" or (files is None and match is None):
        return None
    if files is None:
        raise UserError(
            f"The masks in {name} cannot be matched by name: the names of {test.name}'s images are not known here. "
            "Give the folder of images itself, or --set options.match=seed."
        )
    try:
        found = masks_by_name(masks, files)
    except UserError as error:
        raise UserError(f"{error} To give each image any of them by seed: --set options.match=seed.") from error
    missing = [str(file) for file, mask in zip(files, found, strict=True) if mask is None]
    if not missing:
        return [mask for mask in found if mask is not None]
    if match is None and len(missing) == len(files):
        return None
    raise UserError(
        f"{len(files) - len(missing)} of {len(files):,} test images have a mask of their name in {name}; {missing[0]} "
        "has none. Add what is missing, or give each image any of them by seed: --set options.match=seed."
    )


def _path(name: str) -> Path:
    return expanded(name)
