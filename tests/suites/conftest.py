"""What the tests of suites share: tiny suites on digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

TINY = {
    "method.encoder.width": 0.1,
    "method.decoder.width": 0.1,
    "optim.steps": 2,
    "log.tensorboard": False,
    "log.online_every": 0,
    "log.samples_every": 0,
}


def tiny(**changes: Any) -> dict[str, Any]:
    """A suite of two pretrainings on digits and one cheap evaluation."""
    return {
        "summary": "tiny",
        "data": {"source": "digits", "size": 32},
        "settings": dict(TINY),
        "pretrain": {
            "plain": {"recipe": "quickstart", "tap": "conv1"},
            "faster": {"extends": "plain", "settings": {"optim.lr": 0.01}},
        },
        "evaluate": [{"evaluator": "knn", "subjects": ["{run}@{tap}"]}],
        **changes,
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(seeds=[0, 1])`: `tiny.yaml` in the test's folder with these keys changed."""

    def make(**changes: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(tiny(**changes), sort_keys=False))
        return path

    return make
