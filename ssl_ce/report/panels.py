"""Pages of retrieval: a context, and what each descriptor finds for it (Pathak et al., CVPR 2016, figure 8)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ssl_ce.descriptors.base import Descriptor
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.retrieval import Retrieval
from ssl_ce.files import slug
from ssl_ce.report.grids import retrieval_grid

_NEIGHBOURS = 5


def retrieval_panels(
    evaluator: Retrieval, references: Sequence[str], data: EvaluationData, env: Env, folder: Path, count: int
) -> list[Path]:
    """Draw `retrieval-STRATEGY.png` in `folder` for each strategy; returns the paths.

    `count` test images, evenly spread, each with its five nearest training contexts by every descriptor, the hole
    outlined on them. They are found as in the evaluation.
    """
    assert data.train is not None
    indices = torch.linspace(0, len(data.test) - 1, min(count, len(data.test))).round().long()
    subjects = [evaluator.resolve(reference, data, env.device) for reference in references]
    paths = []
    for strategy in evaluator.config.holes:
        rows = {}
        for subject in subjects:
            assert isinstance(subject, Descriptor)
            found = evaluator.neighbours(subject, strategy, data, env, indices, _NEIGHBOURS)
            rows[subject.name] = torch.stack([data.train.read(list(places)) for places in found])
        holes = evaluator.holes(strategy, indices, env.seed, data.test)
        path = folder / f"retrieval-{slug(strategy)}.png"
        paths.append(retrieval_grid(path, data.test.read(indices), holes, rows))
    return paths
