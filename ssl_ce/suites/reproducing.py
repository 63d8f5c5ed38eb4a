"""Running the cell of a record again, from nothing but what the record says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.devices import choose_device
from ssl_ce.errors import UserError
from ssl_ce.evaluators import evaluators
from ssl_ce.evaluators.base import Env, EvaluationData, Evaluator
from ssl_ce.records.record import DatasetInfo, Record
from ssl_ce.settings import parse


def reproduce(
    record: Record, options: DataOptions, device: str = "auto", say: Callable[[str], None] = lambda message: None
) -> Record:
    """The record that the cell of `record` leaves now. It is kept nowhere, and no cached feature is used.

    Parameters
    ----------
    options
        Where images lie and whether they may be fetched; how they were asked for stands in the record.
    device
        Where networks run: "cpu", "cuda", or "auto" for the GPU if there is one.

    Raises
    ------
    UserError
        If the protocol is not there in that version, the images or the subject are not there, the images are others
        than those that were judged, or the subject now leaves no such record.
    """
    evaluator = evaluator_of(record)
    data = EvaluationData(
        test=_opened(record.dataset, options),
        train=None if record.train is None else _opened(record.train, options),
    )
    chosen = choose_device(device)
    subject = evaluator.resolve(record.subject.name, data, chosen)
    evaluator.check(subject, data)
    with TemporaryDirectory(prefix="ce-reproduce-") as folder:
        env = Env(seed=record.seed, device=chosen, cache=FeatureCache(Path(folder)), say=say)
        alike = []
        for again in evaluator.run(subject, data, env):
            if again.subject.name == record.subject.name and again.variant.keys() == record.variant.keys():
                if again.variant == record.variant:
                    return again
                alike.append(again)
    # Settings in a variant may have been written in other words.
    if len(alike) == 1:
        return alike[0]
    raise UserError(
        f"{record.protocol} of {record.subject.name} leaves no record with {_written(record.variant)} any more, "
        f"so {record.id} cannot be reproduced by this version."
    )


def evaluator_of(record: Record) -> Evaluator:
    """The evaluator that made `record`, with its settings.

    Raises
    ------
    UserError
        If none here runs that protocol in that version, or its settings have changed.
    """
    wanted = record.protocol.partition("@")[0]
    others: set[str] = set()
    problem: UserError | None = None
    for name in sorted(evaluators.names(), key=lambda name: name != wanted):
        try:
            evaluator_class = evaluators.get(name)
            evaluator = evaluator_class(parse(evaluator_class.Config, record.config, f"the record {record.id}"))
        except UserError as error:
            # Its settings are of another protocol, or of another version of this one.
            protocol = _own_protocol(name)
            if protocol == record.protocol:
                problem = error
        else:
            protocol = evaluator.protocol
            if protocol == record.protocol:
                return evaluator
        if protocol.partition("@")[0] == wanted and protocol != record.protocol:
            others.add(protocol)
    if others:
        made_by = record.machine.get("versions", {}).get("ssl-ce", "unknown")
        raise UserError(
            f"The record {record.id} was made by {record.protocol}, and this version has {', '.join(sorted(others))}: "
            f"another protocol. Install the version that made it (ssl-ce {made_by})."
        )
    raise problem or UserError(
        f"No evaluator here runs {record.protocol}, which made the record {record.id}. Is it a plug-in's?"
    )


def _own_protocol(name: str) -> str:
    """The protocol of an evaluator with its own settings; empty for one that cannot be loaded."""
    try:
        evaluator_class = evaluators.get(name)
        return evaluator_class(evaluator_class.Config()).protocol
    except (UserError, ValueError):
        return ""


def _opened(info: DatasetInfo, options: DataOptions) -> ImageSet:
    source: dict[str, Any] = info.source
    if "ref" not in source:
        raise UserError(
            f"The record does not say how {info.name}/{info.split} was asked for: it cannot be opened again."
        )
    asked = {name: source[name] for name in ("size", "fit", "test_share") if name in source}
    seeds = [source[name] for name in ("split_seed", "count_seed") if name in source]
    images = open_set(
        source["ref"],
        info.split,
        replace(options, **asked, seed=seeds[0] if seeds else 0, allow_unreadable="unreadable" in source),
    )
    if images.fingerprint != info.fingerprint:
        raise UserError(
            f"{source['ref']} ({info.split}) does not hold the images that were judged: their fingerprint is "
            f"{info.fingerprint[:12]}, and here it is {images.fingerprint[:12]}. Restore them, or evaluate anew."
        )
    return images


def _written(variant: dict[str, str]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in variant.items()) or "no variant"
