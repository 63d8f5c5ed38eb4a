"""Pages of failures: the test images that an inpainter fills worst, middling and best, with where it errs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.inpainting import Inpainting
from ssl_ce.files import slug
from ssl_ce.inpainters.base import Inpainter
from ssl_ce.records.record import Record
from ssl_ce.report.grids import Block, failures_grid
from ssl_ce.report.layout import heading_of
from ssl_ce.report.units import unit_of

_LONGEST_NAME = 110


def failure_pictures(
    evaluator: Inpainting,
    references: Sequence[str],
    records: Iterable[Record],
    data: EvaluationData,
    env: Env,
    folder: Path,
    count: int,
) -> list[Path]:
    """Draw `failures-HOLES-SUBJECT-ID.png` in `folder` for each of `records`; returns the paths.

    `ID` is the first six digits of the record's: other settings, seeds and images make other pictures.

    Parameters
    ----------
    references, records
        The subjects, and what the evaluation of them gave, outcomes and all.
    count
        Images of each kind: worst, median and best by PSNR. They are filled again, under the holes of the evaluation.

    Raises
    ------
    UserError
        If a picture cannot be written.
    """
    of_subject: dict[str, list[Record]] = {}
    for record in records:
        of_subject.setdefault(record.subject.name, []).append(record)
    paths: list[Path] = []
    for reference in references:
        subject = evaluator.resolve(reference, data, env.device)
        for record in of_subject.get(subject.name, ()):
            path = folder / _file_name(record)
            paths.append(_picture(path, evaluator, subject, record, data, env, count))
    return paths


def extremes(psnr: ArrayLike, count: int) -> dict[str, NDArray[np.int64]]:
    """The places of the `count` lowest, middle and highest of `psnr` (n,), each kind ascending.

    Of fewer than three times `count` images, a third are shown of each kind, so that three kinds are three images.
    """
    order = np.argsort(np.asarray(psnr, dtype=np.float64), kind="stable")
    shown = max(1, min(count, len(order) // 3))
    middle = (len(order) - shown) // 2
    return {"worst": order[:shown], "median": order[middle : middle + shown], "best": order[len(order) - shown :]}


def _picture(
    path: Path, evaluator: Inpainting, subject: Inpainter, record: Record, data: EvaluationData, env: Env, count: int
) -> Path:
    assert record.outcomes is not None
    psnr = record.outcomes["psnr"]
    blocks = {}
    for kind, places in extremes(psnr, count).items():
        indices = torch.from_numpy(places)
        truth = data.test.read(indices)
        holes = evaluator.holes(record.variant["holes"], indices, env.seed, data.test)
        filled = subject.fill(truth.masked_fill(holes, 0), holes)
        heads = [(f"{unit_of('psnr').show(psnr[place])} dB", f"no. {place:,}") for place in places]
        blocks[kind] = Block(truth, holes, filled, heads)
    title = f"{subject.name} · {heading_of(record)} · seed {record.seed} · PSNR over the hole"
    return failures_grid(path, title, blocks)


def _file_name(record: Record) -> str:
    """A name of its own for each record, however long its subject's is and whatever is in it."""
    asked = slug(f"{record.variant['holes']}-{record.subject.name}")
    return f"failures-{asked[:_LONGEST_NAME]}-{record.id[:6]}.png"
