"""What follows '?' in a reference to an image set: which of the listed images are wanted.

    celeba?where=Mustache              images with that attribute
    celeba?where=Mustache,!Young       with all of several; "!" or "-" before a name: without it
    photos/?where=forest,river         images of any of several classes
    digits?count=100                   so many of them, chosen by the options' seed
    celeba?where=Mustache&count=240    so many of those

The images keep their order, and targets and classes their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_ce.data.source import Files, Source
from ssl_ce.errors import UserError, unknown
from ssl_ce.files import digest, expanded

_FORM = "REF?where=NAME&count=N"
_NOT = ("!", "-")


@dataclass(frozen=True)
class Filters:
    """Which of the images of a split are wanted.

    Attributes
    ----------
    where
        Names of attributes or classes joined by commas; "" takes all images.
    count
        How many of those; None takes all.
    """

    where: str = ""
    count: int | None = None

    def __bool__(self) -> bool:
        return bool(self.where) or self.count is not None

    def apply(self, source: Source, seed: int) -> Source:
        """The images of `source` that are wanted, in their order. Nothing is decoded.

        Which `count` images are taken is a function of `seed` and of the images' names (their numbers, where they
        are no files): a larger count takes those of a smaller one too.

        Raises
        ------
        UserError
            If the images have no labels to choose by, a name is not among them (with the closest), no image is
            left, or `count` is more than there are.
        """
        if self.where:
            kept = np.flatnonzero(_matching(source, self.where))
            if len(kept) == 0:
                raise UserError(
                    f"The {source.split} split of {source.name} has no image with where={self.where}. Ask for fewer "
                    "things at once."
                )
            source = source.part(kept, where=self.where)
        if self.count is not None:
            if self.count > len(source):
                such = f" with where={self.where}" if self.where else ""
                raise UserError(
                    f"The {source.split} split of {source.name} has {len(source):,} images{such}, fewer than "
                    f"count={self.count}. Ask for at most {len(source)}."
                )
            by_hash = sorted(range(len(source)), key=lambda i: digest("count", str(seed), _name(source, i)))
            source = source.part(sorted(by_hash[: self.count]), count=self.count, count_seed=seed)
        return source


def split_filters(reference: str) -> tuple[str, Filters]:
    """What `reference` names without its filters, and these. A path that exists is taken as it is, '?' and all.

    Raises
    ------
    UserError
        If what follows '?' is not of the form REF?where=NAME&count=N.
    """
    target, mark, query = reference.rpartition("?")
    if not mark or expanded(reference).exists():
        return reference, Filters()
    pairs = [option.partition("=") for option in query.split("&")]
    if not target or not all(equals and name for name, equals, _ in pairs):
        raise UserError(f"There is no image set '{reference}': write what follows '?' as in {_FORM}.")
    given: dict[str, str] = {}
    for option, _, value in pairs:
        if option not in ("where", "count"):
            raise unknown(f"option of '{target}'", option, ("where", "count"))
        if option in given:
            raise UserError(f"In '{reference}', {option} is given twice. Join names by commas: where=A,B.")
        if not value:
            raise UserError(f"In '{reference}', {option} is empty: write {_FORM}.")
        given[option] = value
    return target, Filters(
        given.get("where", ""), _whole_number(reference, given["count"]) if "count" in given else None
    )


def _whole_number(reference: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"In '{reference}', count is a number of images from 1; '{text}' is not.")
    return int(text)


def _matching(source: Source, where: str) -> NDArray[np.bool_]:
    """Which images `where` describes: bool (n,)."""
    targets = source.targets
    if targets is None or source.task not in ("classes", "multilabel"):
        raise UserError(
            f"{source.name} has no labels, so where={where} cannot choose among its images. Leave it out, or put the "
            "images into class folders."
        )
    several = source.task == "multilabel"
    wanted: list[NDArray[np.bool_]] = []
    kept = np.ones(len(source), dtype=bool)
    for name, without in _names(where, source):
        numbers = [number for number, known in enumerate(source.classes) if known == name]
        if not several:
            has = np.isin(targets, numbers)
        else:  # -1 is there, but marked as difficult: neither with nor without
            has = (targets[:, numbers] != 0).any(axis=1) if without else (targets[:, numbers] == 1).any(axis=1)
        if without:
            kept &= ~has
        else:
            wanted.append(has)
    if wanted:
        kept &= np.logical_and.reduce(wanted) if several else np.logical_or.reduce(wanted)
    return kept


def _names(where: str, source: Source) -> Iterator[tuple[str, bool]]:
    """Each name in `where`, and whether images without it are wanted. A name may itself hold commas."""
    pieces = where.split(",")
    while pieces:
        name, without, length = _longest(pieces, source)
        yield name, without
        del pieces[:length]


def _longest(pieces: Sequence[str], source: Source) -> tuple[str, bool, int]:
    """The name that the most of the first pieces make up, and how many they are."""
    for length in range(len(pieces), 0, -1):
        given = ",".join(pieces[:length]).strip()
        if given in source.classes:
            return given, False, length
        if given.startswith(_NOT) and given[1:] in source.classes:
            return given[1:], True, length
    kind = "attribute" if source.task == "multilabel" else "class"
    given = pieces[0].strip()
    raise unknown(f"{kind} of {source.name}", given[1:] if given.startswith(_NOT) else given, source.classes)


def _name(source: Source, index: int) -> str:
    """What an image is called wherever its data set lies."""
    if isinstance(source.images, Files):
        return source.images.names[index]
    image = source.images[index]
    return "/".join(Path(image).parts[-2:]) if isinstance(image, str | Path) else str(index)
