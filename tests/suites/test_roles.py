"""Which images of a folder without splits play which role in a suite."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.opening import pack_to
from ssl_ce.errors import UserError
from ssl_ce.evaluators import evaluators
from ssl_ce.settings import parse
from ssl_ce.suites.cells import Plan
from ssl_ce.suites.evaluations import open_sets
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.suite import load_suite

ENTRY = {"evaluator": "nn-inpainting", "subjects": "hog", "settings": {"holes": ["center"]}, "floors": False}


@pytest.fixture
def folders(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the working directory, `mine/` of 24 images and `yours/` of 12, no splits; `split/` with train/ and test/."""
    monkeypatch.chdir(tmp_path)
    for name, split in (("mine", "train"), ("yours", "test")):
        Path(name).mkdir()
        for number, path in enumerate(sorted((photo_folder / split).rglob("*.png"))):
            shutil.copy(path, f"{name}/{number:02d}.png")
    shutil.copytree(photo_folder, "split")
    return tmp_path


@pytest.fixture
def plan(write, folders):
    def make(train: str, test: str) -> Plan:
        data = {"train": train, "test": test, "size": 32}
        suite = load_suite(str(write(data=data, pretrain={"plain": {"recipe": "quickstart"}}, evaluate=[ENTRY])))
        return make_plan(suite, runs=Path("runs"), results=Path("results"))

    return make


def whole(folder: str) -> str:
    return open_set(folder, "all", DataOptions(size=32)).fingerprint


def searched(plan: Plan) -> str | None:
    (cell,) = plan.evaluations
    made = evaluators.get(cell.evaluator)
    train = open_sets(made(parse(made.Config, cell.config, "here")), cell.sets).train
    return None if train is None else train.fingerprint


def test_two_folders_are_used_whole(plan):
    found = plan("mine", "yours")
    assert found.pretrainings[0].recipe.data.split == "all"
    assert found.pretrainings[0].fingerprint == whole("mine") == searched(found)
    assert found.evaluations[0].n == 12


def test_one_folder_in_both_roles_is_split_by_seed(plan):
    found = plan("mine", "./mine/")
    assert found.pretrainings[0].recipe.data.split == "train"
    assert found.pretrainings[0].fingerprint == searched(found) != whole("mine")
    assert found.evaluations[0].n == 5  # a fifth of 24


def test_splits_of_its_own_are_kept(plan):
    assert plan("split", "split").evaluations[0].n == 12
    assert plan("split", "yours").pretrainings[0].recipe.data.split == "train"
    assert plan("mine", "split/test").evaluations[0].n == 12


def test_the_rest_of_a_packed_split_is_not_mixed_with_what_was_trained_on(plan):
    pack_to("mine", "train", Path("mine.pack"), DataOptions(size=32))
    assert plan("mine.pack", "mine").evaluations[0].n == 5


def test_all_of_a_packed_folder_can_be_trained_on(plan):
    pack_to("mine", "all", Path("mine.pack"), DataOptions(size=32))
    found = plan("mine.pack", "yours")
    assert found.pretrainings[0].fingerprint == whole("mine")
    assert found.evaluations[0].n == 12


def test_a_folder_within_the_other_is_refused(plan):
    shutil.copytree("yours", "group/held-out")
    shutil.copytree("mine", "group/rest")
    with pytest.raises(UserError, match="test images in group/held-out lie within the train images in group,"):
        plan("group", "group/held-out")
    assert plan("group/rest", "group/held-out").evaluations[0].n == 12
    assert plan("split", "split/test").evaluations[0].n == 12
