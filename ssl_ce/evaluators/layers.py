"""The layer axis: `REF@all` is judged at every tap, and at the one that held-out train images choose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import Subset
from ssl_ce.descriptors.every_tap import EveryTap
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.recording import made_of_part
from ssl_ce.evaluators.sampling import Split, held_out_split
from ssl_ce.records.record import Record

if TYPE_CHECKING:
    from ssl_ce.evaluators.frozen import FrozenEvaluator

HELD_OUT = 0.2
"""The share of train that chooses the tap, of each class."""


def check_layers(evaluator: FrozenEvaluator, name: str, data: EvaluationData) -> None:
    """Raises `UserError` if the tap of `name` cannot be chosen: no train images, or too few to hold some out."""
    if evaluator.chooses:
        evaluator.check_data(_parts(evaluator, name, data, seed=0))  # a seed says which are held out, not how many


def judge_layers(evaluator: FrozenEvaluator, subject: EveryTap, data: EvaluationData, env: Env) -> Iterator[Record]:
    """The record of each tap, then that of `subject`: the chosen tap's numbers, and how it was chosen.

    The choice is the protocol itself, on train alone: its headline on a fifth of train, held out by seed from each
    class, after seeing the rest. Ties go to the earlier tap. A protocol that does not choose (`chooses`) yields the
    taps only.
    """
    for images in (data.train, data.test):
        if images is not None and evaluator.cached and (images is data.test or evaluator.chooses):
            env.cache.features_of_taps(subject, images)
    records = {}
    for tap, record in evaluator.judge_taps(subject, data, env):
        records[tap] = record
        yield record
    if not evaluator.chooses:
        return
    headline = next(iter(next(iter(records.values())).metrics))
    scores = _scores(evaluator, subject, data, env, headline)
    sign = 1 if next(iter(records.values())).metrics[headline].higher_is_better else -1
    best = max(scores, key=lambda tap: sign * scores[tap])  # the first of equals
    chosen = {
        "tap": best,
        "tap chosen on": f"{HELD_OUT * 100:g} % of train, held out by seed {env.seed}",
        f"{headline} there": {tap: round(score, 6) for tap, score in scores.items()},
    }
    yield made_of_part(records[best], evaluator, subject, data, env, chosen)


def _scores(
    evaluator: FrozenEvaluator, subject: EveryTap, data: EvaluationData, env: Env, headline: str
) -> dict[str, float]:
    part = _parts(evaluator, subject.name, data, env.seed)
    env.say(f"{subject.name}: on held-out train images")
    return {tap: record.metrics[headline].value for tap, record in evaluator.judge_taps(subject, part, env)}


def _parts(evaluator: FrozenEvaluator, name: str, data: EvaluationData, seed: int) -> EvaluationData:
    """Train in two parts: what is judged on, and what is seen before, if the protocol sees any."""
    if data.train is None:
        raise UserError(f"'{name}' chooses its tap on held-out train images, and there are none: give --train.")
    split = _split(data.train, seed)
    fit = Subset(data.train, split.fit, "train without its held-out fifth")
    held_out = Subset(data.train, split.held_out, "held out")
    return EvaluationData(test=held_out, train=fit if evaluator.needs.train else None)


def _split(train: ImageSet, seed: int) -> Split:
    one_of_each = train.task == "classes"
    labels = train.targets() if one_of_each else np.zeros(len(train), dtype=np.int64)
    return held_out_split(labels, HELD_OUT, seed)
