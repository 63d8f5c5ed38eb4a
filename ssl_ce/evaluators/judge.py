"""Judging several subjects with one evaluator: all are checked first, and each must come out unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ssl_ce.descriptors import descriptors
from ssl_ce.errors import DiskFullError, MachineError
from ssl_ce.evaluators.base import Env, EvaluationData, Evaluator
from ssl_ce.inpainters import inpainters
from ssl_ce.records.record import Record
from ssl_ce.references import parse_reference, with_target

INIT = "{init}"


def judge(
    evaluator: Evaluator,
    references: Iterable[str],
    data: EvaluationData,
    env: Env,
    store_append: Callable[[Record], None],
) -> list[Record]:
    """Judge the subjects that `references` name, one by one, and store each record as soon as it comes.

    Raises
    ------
    UserError
        If a subject cannot be resolved or does not fit; then none was judged.
    MachineError
        If the hash of a subject's parameters and buffers changed while it was judged, or the disk is full; that
        result is not stored, those before it are.
    """
    subjects = [evaluator.resolve(evaluator.reference(reference), data, env.device) for reference in references]
    for subject in subjects:
        evaluator.check(subject, data)
    records: list[Record] = []
    for subject in subjects:
        env.say(f"{evaluator.name}: {subject.name}")
        before = subject.state_hash()
        for record in evaluator.run(subject, data, env):
            if subject.state_hash() != before:
                raise MachineError(
                    f"{subject.name} was changed by its evaluation: its weights are not what they were. "
                    f"This result was not stored; {len(records)} records before it were."
                )
            try:
                store_append(record)
            except DiskFullError as error:
                raise MachineError(f"{error} Results stored before it: {len(records)}.") from error
            records.append(record)
    return records


def with_floors(evaluator: Evaluator, references: Iterable[str]) -> list[str]:
    """`references` as the evaluator reads them, then its floors, each once.

    "{init}" among the floors is the untrained twin of each subject that has one.
    """
    subjects = [evaluator.reference(reference) for reference in references]
    twins = [twin for subject in subjects if (twin := untrained_twin(subject)) is not None]
    floors = [
        found for floor in evaluator.floors for found in (twins if floor == INIT else [evaluator.reference(floor)])
    ]
    return list(dict.fromkeys([*subjects, *floors]))


def untrained_twin(reference: str) -> str | None:
    """The same network before training; None for what was never trained.

    `runs/x@conv4` -> `init:runs/x@conv4`; `nearest:runs/x` -> `nearest:init:runs/x`;
    `torchvision:resnet18` -> `random:torchvision:resnet18`; `file:x.pt` -> `random:file:x.pt`.
    """
    parsed = parse_reference(reference)
    if parsed.scheme == "nearest":
        inner = untrained_twin(parsed.target)
        return None if inner is None else with_target(parsed, inner)
    if parsed.scheme in ("torchvision", "timm", "file"):
        return f"random:{reference}"
    if parsed.scheme is not None or parsed.target in descriptors or parsed.target in inpainters:
        return None
    return f"init:{reference}"
