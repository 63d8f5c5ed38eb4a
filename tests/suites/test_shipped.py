"""The suites that ship, planned for small images that stand in for the data sets they name."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ssl_ce.suites.cells import Plan
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.shipped import shipped_suites
from ssl_ce.suites.suite import load_suite

# What each needs to be tried without its data set; None: it comes with its own.
STAND_INS: dict[str, list[str] | None] = {
    "quickstart": None,
    "methods-digits": None,
    "bottleneck-sweep": None,
    "discriminators": None,
    "region-strategies": ["parameters.images={photos}", "parameters.size=32", "parameters.labels=5"],
    "faces-mustache": [
        "parameters.faces={photos}?where=left",
        "parameters.few={photos}?where=left&count=6",
        "parameters.size=32",
    ],
    "report-vae-gan": [
        "parameters.scenes={photos}", "parameters.train_images=20", "parameters.test_images=8", "parameters.size=32",
        "parameters.small=8", "parameters.medium=16", "parameters.large=32",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def plan_of(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Plan]:
    """`plan_of("report-vae-gan")`: its cells, planned once for all tests."""

    @cache
    def plan(name: str) -> Plan:
        folder = tmp_path_factory.mktemp("plan")
        suite = load_suite(name, [text.format(photos=photo_folder) for text in STAND_INS[name] or []])
        made = make_plan(suite, runs=folder / "runs", results=folder / "results")
        assert not list(folder.iterdir())  # planning writes nothing
        return made

    return plan


def test_every_shipped_suite_is_tried_here():
    assert set(STAND_INS) == set(shipped_suites())


@pytest.mark.parametrize("name", shipped_suites())
def test_a_shipped_suite_can_be_planned(name: str, plan_of: Callable[[str], Plan]):
    plan = plan_of(name)
    assert len(plan.pretrainings) >= len(plan.suite.pretrain) * len(plan.suite.seeds)
    assert {cell.entry for cell in plan.evaluations} == set(range(len(plan.suite.evaluate)))


def test_the_reports_cells_are_those_of_its_tables(plan_of: Callable[[str], Plan]):
    methods = [cell.recipe.method for cell in plan_of("report-vae-gan").pretrainings]
    made = {(m["name"], m["encoder"]["name"], m["bottleneck"]["dim"]) for m in methods}
    codes = (8, 16, 32)
    assert made == {
        ("vae", "alexnet", 32),
        *(("vae", encoder, dim) for encoder in ("vgg11", "resnet18") for dim in codes),
        *(("gan", encoder, dim) for encoder in ("alexnet", "resnet18") for dim in codes),
    }
    assert all(method["holes"] == {"strategy": "center", "options": {"side": 0.25}} for method in methods)


def test_few_faces_are_some_of_all_faces(plan_of: Callable[[str], Plan]):
    plan = plan_of("faces-mustache")
    sources = {cell.name: str(cell.recipe.data.source) for cell in plan.pretrainings}
    assert sources["few-hole"].endswith("?where=left&count=6")
    assert sources["all-completed"].endswith("?where=left")
    assert plan.evaluations[0].n == 6  # the test images with that attribute


def test_the_supervised_ceiling_gets_its_classes_from_the_images(plan_of: Callable[[str], Plan]):
    cells = plan_of("methods-digits").pretrainings
    assert {cell.recipe.method["classes"] for cell in cells if cell.name == "supervised"} == {10}


def test_no_suite_takes_the_place_of_ce_quickstart():
    assert "quickstart" not in {load_suite(name).name for name in shipped_suites()}
