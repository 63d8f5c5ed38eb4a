"""The image sets of an evaluation, from their references."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Literal

from ssl_ce.data import DataOptions, open_set, splits_of
from ssl_ce.data.filters import split_filters
from ssl_ce.data.opening import packed_file, sharded
from ssl_ce.data.packfile import read_metadata
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import EvaluationData, Evaluator
from ssl_ce.files import expanded

if TYPE_CHECKING:
    from ssl_ce.data.imageset import ImageSet

Role = Literal["train", "test"]


def open_evaluation_sets(
    evaluator: Evaluator,
    *,
    source: str | None,
    train: str | None,
    test: str | None,
    options: DataOptions,
    split: Role = "test",
) -> EvaluationData:
    """The image sets of an evaluation, opened and packed at one size.

    Parameters
    ----------
    source, train, test
        References; `source` stands for whichever of the other two is None. What comes without splits of its own is
        split by seed as `source`; as `train` or `test` it is used whole where the other is another place
        (`used_whole`).
    options
        How they are asked for. Where neither they nor their `default_size` say a size, it is the test set's own.
    split
        Which of them is reported on. "train" puts the train images in the place of the test images, and gives
        them as train images too only to an evaluator that cannot do without.

    Raises
    ------
    UserError
        If a reference is missing, or names nothing that can be opened, or one lies within the other.
    """
    test_reference, train_reference = test or source, train or source
    apart = used_whole(train_reference, test_reference, options)
    train_whole, test_whole = apart and train is not None, apart and test is not None
    if split == "train":
        if train_reference is None:
            raise UserError("Say which train images to judge on: --data REF, or --train REF.")
        judged = open_role(train_reference, "train", options, whole=train_whole)
        return EvaluationData(test=judged, train=judged if evaluator.needs.train else None)
    if test_reference is None:
        raise UserError("Say which images to judge on: --data REF, or --test REF (and --train REF).")
    test_set = open_role(test_reference, "test", options, whole=test_whole)
    train_set = None
    if train_reference is not None:
        at_its_size = replace(options, default_size=test_set.size[0] if test_set.size else None)
        train_set = open_role(train_reference, "train", at_its_size, whole=train_whole)
    elif evaluator.needs.train:
        raise UserError(
            f"{evaluator.name} needs train images too: give --data REF, or --train REF (--index REF) beside --test."
        )
    return EvaluationData(test=test_set, train=train_set)


def open_role(reference: str, role: Role, options: DataOptions, *, whole: bool = False) -> ImageSet:
    """Open the split that plays `role`."""
    return open_set(reference, role_split(reference, role, options, whole=whole), options)


def role_split(reference: str, role: Role, options: DataOptions, *, whole: bool = False) -> str:
    """The split that plays `role`: the only one there is, "all" of what is split by seed if `whole`, or `role`."""
    splits = splits_of(reference, options)
    if len(splits) == 1:
        return splits[0]
    return "all" if whole and "all" in splits else role


def used_whole(train: str | None, test: str | None, options: DataOptions) -> bool:
    """Whether folders without splits of their own play these roles with all of their images.

    They do where `train` and `test` are two places. One place in both roles is split by seed, and so is a folder
    beside a packed file that holds a part of such a split: the folder may be where it came from.

    Raises
    ------
    UserError
        If one lies within the other, so that the other's images would be train and test images at once.
    """
    if train is None or test is None:
        return False
    given = {"train": train, "test": test}
    places = {role: expanded(split_filters(text)[0]).resolve() for role, text in given.items()}
    if places["train"] == places["test"] or any(map(_is_part, given.values())):
        return False
    for outer, inner in permutations(given):
        if places[inner].is_relative_to(places[outer]) and "all" in splits_of(given[outer], options):
            raise UserError(
                f"The {inner} images in {given[inner]} lie within the {outer} images in {given[outer]}, and would be "
                "both. Give two folders apart, or one that holds train/ and test/ for both."
            )
    return True


def _is_part(reference: str) -> bool:
    path = None if sharded(reference) else packed_file(reference)
    return path is not None and "split_seed" in read_metadata(path).source
