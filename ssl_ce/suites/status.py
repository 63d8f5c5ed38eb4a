"""How far a suite is: which cells are done, and which go on from where they were stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ssl_ce.errors import UserError
from ssl_ce.files import hash_of
from ssl_ce.methods.saved import WEIGHTS, is_run
from ssl_ce.pretraining.run import RunDirectory
from ssl_ce.records.record import Record
from ssl_ce.suites.cells import EvaluationCell, Plan, PretrainCell
from ssl_ce.suites.running import first_difference

WEIGHTS_NOTE = "weights"
"""The note of a suite's records that says which files of weights were judged, by their content."""


@dataclass(frozen=True)
class State:
    """Of one cell. `step` of `total` is where a begun pretraining was last saved."""

    kind: Literal["done", "begun", "to do"]
    step: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"goes on at step {self.step:,} of {self.total:,}" if self.kind == "begun" and self.total else self.kind


def states(plan: Plan, records: Iterable[Record]) -> dict[str, State]:
    """{key: state} of every cell of `plan`, from its run directories and the records that are there.

    Raises
    ------
    UserError
        If a run directory holds a run of another recipe or of other images, or something else.
    """
    runs = {cell.key: _of_pretraining(cell) for cell in plan.pretrainings}
    found = list(records)
    of_cell: dict[str, list[Record]] = {}
    for record in found:
        of_cell.setdefault(record.cell, []).append(record)
    made = {cell.key: cell for cell in plan.pretrainings}
    evaluations = {}
    for cell in plan.evaluations:
        sources = [made[key] for key in cell.needs]
        ready = all(runs[source.key].kind == "done" for source in sources)
        done = ready and bool(fresh_records(cell, of_cell.get(cell.hash, ()), sources))
        evaluations[cell.key] = State("done" if done else "to do")
    return runs | evaluations


def fresh_records(
    cell: EvaluationCell, records: Iterable[Record], sources: Iterable[PretrainCell]
) -> dict[tuple[tuple[str, str], ...], Record]:
    """{variant: record} of a finished cell, the latest of each; nothing if the cell must be run.

    It must be if a record is missing (an evaluator of fills leaves one for each hole strategy), or speaks of other
    weights than the run now holds: it was made again since, under the same name. Clocks are only asked of records from
    before these noted the weights.
    """
    weights = [source.path / WEIGHTS for source in sources if (source.path / WEIGHTS).exists()]
    newest = max((int(path.stat().st_mtime) for path in weights), default=0)
    hashes = set(hashes_of(weights))

    def is_fresh(record: Record) -> bool:
        if (judged := record.notes.get(WEIGHTS_NOTE)) is not None:
            return hashes <= set(judged)
        return datetime.fromisoformat(record.created).timestamp() >= newest

    fresh = {
        tuple(sorted(record.variant.items())): record
        for record in records
        if record.cell == cell.hash and is_fresh(record)
    }
    strategies = {record.variant.get("holes") for record in fresh.values()}
    return fresh if strategies >= set(cell.config.get("holes") or ()) else {}


def hashes_of(files: Iterable[Path]) -> list[str]:
    """Content hashes of `files`, sorted."""
    return sorted(_hash_at(path, path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@lru_cache
def _hash_at(path: Path, *version: int) -> str:
    """`hash_of`, computed once of each version of a file."""
    return hash_of(path)


def _of_pretraining(cell: PretrainCell) -> State:
    run = RunDirectory(cell.path)
    if not run.exists():
        run.check_free()
        return State("to do")
    if not run.saved():
        return State("to do")  # nothing was learnt yet: it is begun anew, under whatever the suite says now
    own = run.recipe()
    if (found := first_difference(own, cell.recipe)) is not None:
        key, ours, theirs = found
        raise UserError(
            f"{cell.path} was begun with {key} = {ours}, and the suite now says {theirs}. "
            "Take another --runs (and --results), or delete that folder."
        )
    manifest = run.manifest()
    if manifest.get("data", {}).get("fingerprint", cell.fingerprint) != cell.fingerprint:
        raise UserError(
            f"{cell.path} was trained on other images than {cell.recipe.data.source} holds now. "
            "Restore them, take another --runs (and --results), or delete that folder."
        )
    if manifest.get("done") and is_run(cell.path):
        return State("done")
    return State("begun", int(manifest.get("step", 0)), int(manifest.get("total_steps", 0)))
