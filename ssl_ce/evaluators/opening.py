"""The image sets of an evaluation, from their references."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ssl_ce.data import DataOptions, open_set, splits_of
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import EvaluationData, Evaluator

if TYPE_CHECKING:
    from ssl_ce.data.packing import PackedImages

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
        References; `source` stands for whichever of the other two is None.
    options
        How they are asked for. Where neither they nor their `default_size` say a size, it is the test set's own.
    split
        Which of them is reported on. "train" puts the train images in the place of the test images, and gives
        them as train images too only to an evaluator that cannot do without.

    Raises
    ------
    UserError
        If a reference is missing, or names nothing that can be opened.
    """
    test_reference, train_reference = test or source, train or source
    if split == "train":
        if train_reference is None:
            raise UserError("Say which train images to judge on: --data REF, or --train REF.")
        judged = open_role(train_reference, "train", options)
        return EvaluationData(test=judged, train=judged if evaluator.needs.train else None)
    if test_reference is None:
        raise UserError("Say which images to judge on: --data REF, or --test REF (and --train REF).")
    test_set = open_role(test_reference, "test", options)
    train_set = None
    if train_reference is not None:
        train_set = open_role(train_reference, "train", replace(options, default_size=test_set.metadata.size))
    elif evaluator.needs.train:
        raise UserError(
            f"{evaluator.name} needs train images too: give --data REF, or --train REF (--index REF) beside --test."
        )
    return EvaluationData(test=test_set, train=train_set)


def open_role(reference: str, role: Role, options: DataOptions) -> PackedImages:
    """Open the split that plays `role`."""
    return open_set(reference, role_split(reference, role, options), options)


def role_split(reference: str, role: Role, options: DataOptions) -> str:
    """The split that plays `role`: the only one there is, "all" of what is split by seed if `whole`, or `role`."""
    splits = splits_of(reference, options)
    if len(splits) == 1:
        return splits[0]
    return "all" if options.whole and "all" in splits else role
