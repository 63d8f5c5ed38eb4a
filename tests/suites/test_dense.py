"""Segmentation and detection as cells of a suite, asked whether they can run before their subjects exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_ce.errors import UserError
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.suite import load_suite


@pytest.fixture
def plan(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(data, subjects):
        evaluate = [{"evaluator": name, "subjects": subjects} for name in ("segmentation", "detection")]
        suite = load_suite(str(write(data={"source": str(data), "size": 32}, evaluate=evaluate)), ())
        return make_plan(suite, runs=Path("runs"), results=Path("results"))

    return make


def test_they_are_planned_with_their_untrained_twins(plan, shapes_folder):
    found = plan(shapes_folder, ["{run}", "random:dcgan?size=32"])
    runs = [f"{kind}runs/tiny/{name}-s0" for name in ("plain", "faster") for kind in ("", "init:")]
    for evaluator in ("segmentation", "detection"):
        subjects = [cell.subject for cell in found.evaluations if cell.evaluator == evaluator]
        assert sorted(subjects) == sorted([*runs, "random:dcgan?size=32"])


def test_what_they_cannot_judge_is_refused_at_once(plan, shapes_folder, photo_folder):
    with pytest.raises(UserError, match="'hog' has no network to train"):
        plan(shapes_folder, ["hog"])
    with pytest.raises(UserError, match="has no label maps"):
        plan(photo_folder, ["{run}"])
