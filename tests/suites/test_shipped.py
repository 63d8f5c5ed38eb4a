"""The suites that ship, planned for small images that stand in for the data sets they name."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ssl_ce.errors import UserError
from ssl_ce.suites.benchmark import finish
from ssl_ce.suites.cells import Plan
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.shipped import shipped_suites
from ssl_ce.suites.suite import load_suite
from ssl_ce.suites.worker import perform

# What each needs to be tried without its data set; None: it comes with its own.
STAND_INS: dict[str, list[str] | None] = {
    "quickstart": None,
    "methods-digits": None,
    "bottleneck-sweep": None,
    "discriminators": None,
    "pretext-tasks": None,
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
    "paper-table1": [
        "data.train={photos}", "data.test={photos}?count=4", "parameters.size=32", "parameters.packed=40",
        "parameters.code=8", "parameters.width=0.05", "parameters.epochs=2", "parameters.batch=12",
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


def test_the_papers_table_is_refused_without_images(tmp_path: Path):
    with pytest.raises(UserError, match=r"Give --set data.source=FOLDER, or --set data.train=FOLDER"):
        make_plan(load_suite("paper-table1"), runs=tmp_path / "runs", results=tmp_path / "results")


def test_the_papers_table_takes_one_folder_too(plan_of: Callable[[str], Plan], photo_folder: Path, tmp_path: Path):
    given = [text for text in STAND_INS["paper-table1"] or [] if not text.startswith("data.")]
    suite = load_suite("paper-table1", [*given, f"data.source={photo_folder}"])
    plan = make_plan(suite, runs=tmp_path / "runs", results=tmp_path / "results")
    assert [cell.label for cell in plan.evaluations] == [cell.label for cell in plan_of("paper-table1").evaluations]
    assert {cell.n for cell in plan.evaluations} == {12}


def test_every_row_of_the_papers_table_has_the_same_holes(plan_of: Callable[[str], Plan]):
    plan = plan_of("paper-table1")
    asked = [(cell.config["holes"], cell.config["options"]) for cell in plan.evaluations]
    assert asked == [(["center"], {"side": 0.4375})] * len(plan.evaluations)
    trained = [cell.recipe.method["holes"] for cell in plan.pretrainings]
    assert trained == [{"strategy": "center", "options": {"side": 0.4375}}] * 2
    assert {cell.sets.split for cell in plan.evaluations} == {"test"}


def test_the_papers_table_from_start_to_end(plan_of: Callable[[str], Plan]):
    plan = plan_of("paper-table1")
    outcomes = {cell.key: perform(cell, lambda report: None) for cell in plan.cells}
    finished = finish(plan, outcomes)
    assert not finished.failed
    assert not finished.findings.missing()
    page = (plan.results / "suite.md").read_text()
    lines = [line.split(" | ") for line in page.partition("## Published")[2].splitlines() if line.startswith("| ")]
    assert [text.strip("| ") for text in lines[0]] == [
        "", "published l1 (%)", "measured l1 (%)", "published l2 (%)", "measured l2 (%)", "published psnr (dB)",
        "measured psnr (dB)", "spread",
    ]  # fmt: skip
    published = {line[0].removeprefix("| "): (line[1], line[3], line[5]) for line in lines[2:]}
    assert {label: numbers for label, numbers in published.items() if set(numbers) != {"–"}} == {
        "NN-inpainting (HOG)": ("19.92", "6.92", "12.79"),
        "NN-inpainting (Context Encoder)": ("15.10", "4.30", "14.70"),
        "Context Encoder (joint loss)": ("10.33 or 9.37", "2.35 or 1.96", "17.59 or 18.58"),
    }
    assert {"Telea", "Navier-Stokes", "mean colour", "biharmonic", "shift-map", "FSR"} < set(published)
    assert len(published) == len(plan.evaluations)
    for line in lines[2:]:
        for number in (line[2], line[4], line[6]):
            assert float(number.split()[0]) > 0
    best_first = "Context Encoder (joint loss) > NN-inpainting (Context Encoder) > NN-inpainting (HOG)"
    for metric in ("l1", "l2", "psnr"):
        assert f"Order ({metric}, best first): published {best_first}; measured " in page
