"""What a worker does: one pretraining, or one subject under one protocol."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

from ssl_ce.devices import choose_device
from ssl_ce.evaluators import evaluators
from ssl_ce.evaluators.base import Env
from ssl_ce.evaluators.judge import judge
from ssl_ce.locks import LONG_PATIENCE
from ssl_ce.methods.saved import WEIGHTS
from ssl_ce.pretraining.hooks import Progress
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.run import RunDirectory
from ssl_ce.records.record import Record
from ssl_ce.records.store import RecordStore
from ssl_ce.references import made_of
from ssl_ce.settings import parse
from ssl_ce.suites.cells import Cell, EvaluationCell, PretrainCell
from ssl_ce.suites.evaluations import open_sets
from ssl_ce.suites.executor import Report
from ssl_ce.suites.running import hooks_for, open_train_images
from ssl_ce.suites.status import WEIGHTS_NOTE, hashes_of

# Seconds between two reports: a terminal shows no more, and a pipe is not a log.
_PAUSE = 0.2


def run_cell(cell: Cell, report: Callable[[Report], None]) -> None:
    """Run `cell` here and now, leaving its run directory or its records. Raises what its work raises."""
    calm = _calmly(report)
    if isinstance(cell, PretrainCell):
        _pretrain(cell, calm)
    else:
        _evaluate(cell, calm)


def _pretrain(cell: PretrainCell, report: Callable[[Report], None]) -> None:
    images = open_train_images(cell.recipe, cell.options)
    losses = ""

    def show(state: Progress) -> None:
        nonlocal losses
        losses = state.losses or losses
        text = f"{state.images_per_second:,.0f} images/s, {losses}".rstrip(", ")
        report(Report(text, state.step, state.total))

    def warn(message: str) -> None:
        warnings.warn(f"{cell.label}: {message}", stacklevel=2)

    run = RunDirectory(cell.path)
    # Whoever holds it while this suite runs outlived its worker, and saves.
    with run.alone(LONG_PATIENCE):
        run.forget()
    hooks = hooks_for(cell.recipe, images, show, warn)
    pretrain(cell.recipe, images, cell.path, resume=run.exists(), hooks=hooks)


def _evaluate(cell: EvaluationCell, report: Callable[[Report], None]) -> None:
    evaluator_class = evaluators.get(cell.evaluator)
    evaluator = evaluator_class(parse(evaluator_class.Config, cell.config, cell.label))
    data = open_sets(evaluator, cell.sets)
    env = Env(seed=cell.seed, device=choose_device(cell.device), say=lambda message: report(Report(message)))
    store, judged = RecordStore(cell.results), hashes_of(_weights_of(cell.reference))

    def append(record: Record) -> None:
        store.append(record.model_copy(update={"notes": {**record.notes, WEIGHTS_NOTE: judged}}))

    judge(evaluator, [cell.reference], data, env, append)


def _weights_of(reference: str) -> list[Path]:
    """The weights of the runs that a subject is made of."""
    files = {Path(part.target) / WEIGHTS for part in made_of(reference)}
    return [path for path in files if path.is_file()]


def _calmly(report: Callable[[Report], None]) -> Callable[[Report], None]:
    """The same, now and then; the last step is always told."""
    last = -_PAUSE

    def pass_on(message: Report) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PAUSE or (message.step is not None and message.step == message.total):
            last = now
            report(message)

    return pass_on
