"""A clock that jumps: durations and rates do not notice, and nothing is taken for older or newer than it is."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from ssl_ce.data.packing import PackedImages
from ssl_ce.methods.saved import WEIGHTS, read_safetensors
from ssl_ce.pretraining.logs import read_log
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe
from ssl_ce.pretraining.run import RunDirectory
from ssl_ce.records.store import RecordStore
from ssl_ce.suites.measured import find
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.status import states
from ssl_ce.suites.suite import load_suite
from ssl_ce.suites.worker import perform

HOUR = 3600


def test_rates_and_durations_are_not_taken_from_the_clock(
    tmp_path: Path, digits_train: PackedImages, short_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
):
    jumps = itertools.cycle((0, -9 * HOUR, 5 * HOUR))
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + next(jumps))
    run = pretrain(short_recipe, digits_train, tmp_path / "run")
    rates = [row["images_per_second"] for row in read_log(run / "log.csv") if row["images_per_second"]]
    assert len(rates) == short_recipe.optim.steps
    assert all(float(rate) > 0 for rate in rates)
    assert 0 < RunDirectory(run).manifest()["seconds"] < HOUR


def test_a_packed_file_from_the_future_is_opened(tmp_path: Path, digits_test: PackedImages):
    path = tmp_path / "digits.pack"
    path.write_bytes(digits_test.path.read_bytes())
    os.utime(path, (right := time.time() + 100 * HOUR, right))
    assert torch.equal(PackedImages.open(path).read([3, 1]), digits_test.read([3, 1]))


def test_a_suites_records_belong_to_weights_and_not_to_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    small = {"method.encoder.width": 0.1, "method.decoder.width": 0.1, "optim.steps": 2, "log.online_every": 0}
    suite = {
        "summary": "tiny",
        "data": {"source": "digits", "size": 32},
        "pretrain": {"a": {"recipe": "quickstart", "tap": "conv1", "settings": small}},
        "evaluate": [{"evaluator": "knn", "subjects": ["{run}@{tap}"], "floors": False}],
    }
    Path("tiny.yaml").write_text(yaml.safe_dump(suite))
    plan = make_plan(load_suite("tiny.yaml"), runs=Path("runs"), results=Path("results"))
    for cell in plan.cells:
        assert perform(cell, lambda report: None).status == "done"
    records = RecordStore(plan.results).records()
    (judged,) = plan.evaluations
    weights = plan.pretrainings[0].path / WEIGHTS

    def is_done() -> bool:
        done = states(plan, records)[judged.key].kind == "done"
        assert done == (not find(plan, records).missing())
        return done

    for hours in (0, 9, -9):
        os.utime(weights, (when := time.time() + hours * HOUR, when))
        assert is_done()
    other = {key: value + 1 for key, value in read_safetensors(weights).items()}
    weights.write_bytes(safetensors.torch.save(other))
    for hours in (0, 9, -9):
        os.utime(weights, (when := time.time() + hours * HOUR, when))
        assert not is_done()
