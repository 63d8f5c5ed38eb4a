"""Pages of retrieval: a context, and what each descriptor finds for it (Pathak et al., CVPR 2016, figure 8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from ssl_ce.descriptors.base import Descriptor
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.retrieval import Retrieval
from ssl_ce.files import slug
from ssl_ce.records.record import Record
from ssl_ce.report.grids import retrieval_grid
from ssl_ce.report.layout import heading_of

_NEIGHBOURS = 5


def retrieval_panels(
    evaluator: Retrieval,
    references: Sequence[str],
    records: Iterable[Record],
    data: EvaluationData,
    env: Env,
    folder: Path,
    count: int,
) -> list[Path]:
    """Draw `retrieval-STRATEGY.png` in `folder` for each strategy; returns the paths.

    `count` test images, evenly spread, each with its five nearest training contexts by every descriptor, the hole
    outlined on them, and those of the query's class framed. They are found as in the evaluation that gave `records`.
    """
    assert data.train is not None
    indices = torch.linspace(0, len(data.test) - 1, min(count, len(data.test))).round().long()
    subjects = [evaluator.resolve(reference, data, env.device) for reference in references]
    headings = {record.variant["holes"]: heading_of(record) for record in records}
    classes = data.test.task == data.train.task == "classes"
    paths = []
    for strategy in evaluator.config.holes:
        rows, relevant = {}, {}
        for subject in subjects:
            assert isinstance(subject, Descriptor)
            found = evaluator.neighbours(subject, strategy, data, env, indices, _NEIGHBOURS)
            rows[subject.name] = torch.stack([data.train.read(list(places)) for places in found])
            if classes:
                relevant[subject.name] = data.train.targets()[found] == data.test.targets(indices)[:, None]
        holes = evaluator.holes(strategy, indices, env.seed, data.test)
        path = folder / f"retrieval-{slug(strategy)}.png"
        title = f"{headings[strategy]} · seed {env.seed}"
        queries = data.test.read(indices)
        paths.append(retrieval_grid(path, queries, holes, rows, title, relevant if classes else None))
    return paths
