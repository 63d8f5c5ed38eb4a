"""Features of two real processes against those of one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.sharing import describe_images_together
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.linear_sgd import LinearSgdMae, MaeConfig
from ssl_ce.evaluators.together import describe_together
from ssl_ce.processes import Processes, single
from ssl_ce.records.store import RecordStore


@pytest.mark.slow
def test_two_processes_describe_bit_for_bit_what_one_does(tmp_path: Path, ce: Callable[[str], Any], monkeypatch: Any):
    line = "evaluate knn random:dcgan?width=0.1&pool=1 color-histogram --data digits --size 32 --no-floors"
    monkeypatch.setenv("SSL_CE_CACHE", str(tmp_path / "two-cache"))
    command = [sys.executable, "-m", "ssl_ce", *line.split(), "--devices", "2", "--results", "two"]
    finished = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    monkeypatch.setenv("SSL_CE_CACHE", str(tmp_path / "one-cache"))
    assert ce(f"{line} --results one").code == 0
    ours, theirs = (
        {path.name: np.load(path) for path in (tmp_path / f"{count}-cache" / "features").rglob("*.npy")}
        for count in ("one", "two")
    )
    assert len(ours) == 4
    assert ours.keys() == theirs.keys()  # and no piece is left
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    one, two = (RecordStore(tmp_path / count).records() for count in ("one", "two"))
    assert [record.metrics for record in one] == [record.metrics for record in two]


def test_an_evaluator_that_reads_no_features_of_whole_images_is_refused(digits_train: Any, digits_test: Any):
    data = EvaluationData(test=digits_test, train=digits_train)
    env = Env()
    with pytest.raises(UserError, match="Leave --devices out"):
        describe_together(LinearSgdMae(MaeConfig()), ["pixels"], data, env, single(env.device))


def test_pieces_that_lie_in_a_cache_of_another_machine_are_asked_for_and_not_described_again(
    digits_test: Any, tmp_path: Path, monkeypatch: Any
):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda *_, **__: None)  # rank 1 is well, and elsewhere
    descriptor, described = load_descriptor("color-histogram"), []
    describe = descriptor.describe
    monkeypatch.setattr(descriptor, "describe", lambda images, holes=None: described.append(images) or describe(images))
    rank_0 = Processes(None, rank=0, count=2)
    cache = FeatureCache(tmp_path, batch_size=64)
    with pytest.raises(UserError, match=f"not in {tmp_path}: the cache must lie where every machine reads it"):
        describe_images_together(rank_0, cache, descriptor, digits_test)
    half = -(-len(digits_test) // 64) // 2 * 64
    assert sum(map(len, described)) == half
