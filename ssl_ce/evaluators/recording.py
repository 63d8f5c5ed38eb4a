"""The one place where an evaluator's numbers become a record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssl_ce import manifest
from ssl_ce.data.duplicates import find_duplicates
from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import Subset
from ssl_ce.evaluators.base import Env, EvaluationData, Evaluator, Subject
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo, cell_hash, record_id
from ssl_ce.settings import Settings

DUPLICATES = "duplicates"
"""The note of how many test images are among the train images."""
LEFT_OUT = "images left out because they equal the query"
"""The note of how many searched images were passed over, summed over the queries."""


def make_record(
    evaluator: Evaluator,
    subject: Subject,
    data: EvaluationData,
    env: Env,
    *,
    variant: Mapping[str, str],
    metrics: Mapping[str, Metric],
    outcomes: Mapping[str, ArrayLike],
    chosen: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    used: Sequence[str] = (),
    started: float,
) -> Record:
    """The record of one result.

    Parameters
    ----------
    variant
        What sets this row apart from others of the protocol.
    metrics
        {name: Metric}, the headline first.
    outcomes
        {name: one number for each test image}, or for each draw under names that end in "_draws".
    chosen
        What was selected, and on which split.
    notes
        What else is to be said about how the result came about. Beside them stand the subject's own `notes`, and how
        many test images are among the train images (`duplicates`).
    used
        Hashes of what decided the result beside the subject and the images, such as the masks of its holes.
    started
        `time.perf_counter()` when the work on this result began.
    """
    seconds = time.perf_counter() - started
    cell = cell_of(evaluator, subject.name, data, env.seed)
    fingerprints = [images.fingerprint for images in (data.test, data.train) if images is not None]
    known = {**getattr(subject, "notes", {}), **_duplicates(data, env)}
    return Record(
        id=record_id(cell, variant, subject.identity, *fingerprints, *used),
        cell=cell,
        protocol=evaluator.protocol,
        variant=dict(variant),
        subject=SubjectInfo(name=subject.name, identity=subject.identity),
        dataset=dataset_info(data.test),
        train=None if data.train is None else dataset_info(data.train),
        seed=env.seed,
        metrics=dict(metrics),
        config=evaluator.config.model_dump(mode="json"),
        chosen=dict(chosen or {}),
        notes={**known, **(notes or {})},
        seconds=round(seconds, 3),
        peak_memory_mb=round(manifest.peak_memory_mb(), 1),
        machine=manifest.describe_machine(str(env.device)),
        outcomes={name: np.asarray(values, dtype=np.float64).tolist() for name, values in outcomes.items()},
    )


def made_of_part(
    record: Record,
    evaluator: Evaluator,
    subject: Subject,
    data: EvaluationData,
    env: Env,
    chosen: Mapping[str, Any],
) -> Record:
    """The record of a subject that one of its parts stands for: the part's `record`, and how it was `chosen`."""
    cell = cell_of(evaluator, subject.name, data, env.seed)
    fingerprints = [images.fingerprint for images in (data.test, data.train) if images is not None]
    return record.model_copy(
        update={
            "id": record_id(cell, record.variant, subject.identity, *fingerprints),
            "cell": cell,
            "subject": SubjectInfo(name=subject.name, identity=subject.identity),
            "chosen": {**record.chosen, **chosen},
        }
    )


def cell_of(evaluator: Evaluator, subject: str, data: EvaluationData, seed: int) -> str:
    """Hash of what is declared: protocol, settings, subject reference, how the data were asked for, seed."""
    sets = {"test": data.test, "train": data.train}
    declared = {
        role: {"name": images.name, "split": images.split, **images.source}
        for role, images in sets.items()
        if images is not None
    }
    return cell_hash(evaluator.protocol, evaluator.config.model_dump(mode="json"), subject, declared, seed)


def dataset_info(images: ImageSet) -> DatasetInfo:
    """What a record says of an image set."""
    return DatasetInfo(
        name=images.name,
        split=images.split,
        fingerprint=images.fingerprint,
        n=len(images),
        size=images.size,
        source=dict(images.source),
    )


def _duplicates(data: EvaluationData, env: Env) -> dict[str, Any]:
    """The note on test images that are among the train images; none without train images, or unless both are packed.

    Nor for two parts of one set: what chooses a tap or a head is no result that anybody reads.
    """
    train, test = data.train, data.test
    if train is None or train.size is None or test.size is None:
        return {}
    if isinstance(train, Subset) and isinstance(test, Subset) and train.parent is test.parent:
        return {}
    env.say("looking for test images among the train images")
    return {DUPLICATES: find_duplicates(train, test).counts()}


def departures(config: Settings, *told_otherwise: str) -> dict[str, str]:
    """Settings that are not the preset's own, for a row's `variant`: a changed constant is never hidden.

    `told_otherwise` names the settings that the variant states in its own words.
    """
    preset = type(config)().model_dump(mode="json")
    return {
        name: _written(value)
        for name, value in config.model_dump(mode="json").items()
        if name not in told_otherwise and value != preset.get(name)
    }


def _written(value: Any) -> str:
    """A setting as people write it: side=0.25; lpips, fid; none for an empty list."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_written(one)}" for name, one in value.items())
    return (", ".join(map(_written, value)) or "none") if isinstance(value, list) else str(value)
