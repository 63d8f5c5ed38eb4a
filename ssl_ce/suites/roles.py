"""Which images of a suite's data play which role."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

from ssl_ce.data import DataOptions, splits_of
from ssl_ce.data.filters import split_filters
from ssl_ce.data.opening import packed_file
from ssl_ce.data.packfile import read_metadata
from ssl_ce.errors import UserError
from ssl_ce.suites.suite import DataSection


def used_whole(data: DataSection, options: DataOptions) -> bool:
    """Whether a folder without splits of its own plays its role with all of its images.

    It does where `train` and `test` are two places. One place in both roles is split by seed, and so is a folder
    beside a packed file that holds a part of such a split: the folder may be where it came from.

    Raises
    ------
    UserError
        If one lies within the other, so that the other's images would be train and test images at once.
    """
    if data.train is None or data.test is None:
        return False
    given = {"train": data.train, "test": data.test}
    places = {role: Path(split_filters(text)[0]).expanduser().resolve() for role, text in given.items()}
    if places["train"] == places["test"] or any(map(_is_part, given.values())):
        return False
    for outer, inner in permutations(given):
        if places[inner].is_relative_to(places[outer]) and "all" in splits_of(given[outer], options):
            raise UserError(
                f"data.{inner} ({given[inner]}) lies within data.{outer} ({given[outer]}), so its images "
                "would be trained on and judged. Give two folders apart, or one that holds train/ and test/ for both."
            )
    return True


def _is_part(reference: str) -> bool:
    path = packed_file(reference)
    return path is not None and "split_seed" in read_metadata(path).source
