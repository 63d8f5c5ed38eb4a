"""From a suite to its cells, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_ce.errors import UserError
from ssl_ce.evaluators import evaluators
from ssl_ce.evaluators.recording import cell_of
from ssl_ce.settings import parse
from ssl_ce.suites.evaluations import open_sets
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.suite import load_suite


@pytest.fixture
def plan(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(*assignments, **changes):
        return make_plan(load_suite(str(write(**changes)), assignments), runs=Path("runs"), results=Path("results"))

    return make


def test_each_pretraining_is_one_cell_a_seed_and_shared_by_its_evaluations(plan):
    found = plan(
        seeds=[0, 5],
        evaluate=[
            {"evaluator": "knn", "subjects": ["{run}@{tap}", "gist"]},
            {"evaluator": "inpainting", "subjects": "{run}", "runs": "pl*", "settings": {"holes": ["center"]}},
        ],
    )
    assert [cell.key for cell in found.pretrainings] == ["plain-s0", "plain-s5", "faster-s0", "faster-s5"]
    assert str(found.pretrainings[1].path) == "runs/tiny/plain-s5"
    assert found.pretrainings[1].recipe.seed == 5
    assert found.pretrainings[2].recipe.optim.lr == 0.01
    assert [cell.subject for cell in found.evaluations if cell.evaluator == "inpainting"] == [
        "runs/tiny/plain-s0", "mean-color", "telea", "runs/tiny/plain-s5",
    ]  # fmt: skip
    knn = [cell for cell in found.evaluations if cell.evaluator == "knn"]
    assert [cell.subject for cell in knn if not cell.needs] == ["pixels", "hog", "gist"]
    assert {cell.needs for cell in knn if cell.subject.startswith("init:runs/tiny/faster-s5")} == {("faster-s5",)}


def test_a_cell_has_the_hash_that_its_records_will_have(plan, digits_train, digits_test):
    found = plan(evaluate=[{"evaluator": "nn-inpainting", "subjects": ["hog?cell=8", "{run}"], "seed": 3}])
    for cell in found.evaluations:
        made = evaluators.get(cell.evaluator)
        evaluator = made(parse(made.Config, cell.config, "here"))
        assert cell.hash == cell_of(evaluator, cell.subject, open_sets(evaluator, cell.sets), 3)
    assert found.evaluations[0].subject == "nearest:hog"


def test_the_name_of_a_hand_crafted_subject_is_its_own(plan):
    found = plan(pretrain={}, evaluate=[{"evaluator": "knn", "subjects": "hog?cell=4", "floors": False}])
    assert [cell.subject for cell in found.evaluations] == ["hog?cell=4"]


def test_train_images_can_be_judged(plan):
    entry = {"evaluator": "inpainting", "subjects": "telea", "floors": False, "settings": {"holes": ["center"]}}
    found = plan(pretrain={}, evaluate=[entry, {**entry, "split": "train"}])
    test, train = found.evaluations
    assert (test.n, train.n) == (500, 1297)
    assert test.hash != train.hash


def test_steps_take_the_place_of_epochs_and_the_data_section_reaches_the_recipe(plan):
    (cell,) = plan(
        pretrain={"one": {"recipe": "quickstart", "settings": {"optim.epochs": 3}}},
        settings={"optim.steps": 5},
        data={"source": "digits", "size": 40, "fit": "pad"},
        evaluate=[],
    ).pretrainings
    assert (cell.recipe.optim.epochs, cell.recipe.optim.steps) == (3, None)
    assert (cell.recipe.data.source, cell.recipe.data.size, cell.recipe.data.fit) == ("digits", 40, "pad")


def test_what_a_method_leaves_to_its_images_is_filled_in(plan):
    (cell,) = plan(settings={}, pretrain={"ceiling": {"recipe": "quickstart-supervised"}}, evaluate=[]).pretrainings
    assert cell.recipe.method["classes"] == 10


KNN = {"evaluator": "knn", "subjects": ["{run}@{tap}"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluate": [{"evaluator": "knm", "subjects": "hog"}]}, "Did you mean knn"),
        ({"evaluate": [{"evaluator": "knn", "subjects": "hug"}]}, "Did you mean hog"),
        ({"evaluate": [{"evaluator": "knn", "subjects": "hog?cel=4"}]}, "Did you mean cell"),
        ({"evaluate": [{"evaluator": "knn", "subjects": "{run}@conv9"}]}, "There is no tap"),
        ({"evaluate": [{"evaluator": "knn", "subjects": "{rum}"}]}, "nothing is called '{rum}'"),
        ({"evaluate": [{"evaluator": "knn", "subjects": "runs/elsewhere"}]}, "no subject named 'runs/elsewhere'"),
        ({"evaluate": [{"evaluator": "inpainting", "subjects": "hog"}]}, "fills no holes"),
        ({"evaluate": [{"evaluator": "inpainting", "subjects": "{run}@conv1"}]}, "with its whole network"),
        ({"evaluate": [{**KNN, "runs": "vae-*"}]}, "'runs' chooses no pretraining. Their names: plain, faster"),
        ({"evaluate": [{**KNN, "settings": {"neighbors": [3]}}]}, "Did you mean 'neighbours'"),
        ({"evaluate": [{**KNN, "settings": {"headline": "{k}"}}]}, "nothing is called '{k}'"),
        ({"evaluate": [KNN, KNN]}, "duplicate cell: knn plain-s0@conv1 is asked for twice"),
        ({"evaluate": [{**KNN, "data": {"test": "digits"}}]}, "it needs train images"),
        ({"pretrain": {}, "evaluate": [KNN]}, "this suite has none"),
        (
            {"pretrain": {"a": {"recipe": "quickstart"}, "b": {"recipe": "quickstart"}}, "evaluate": []},
            "pretrainings 'a-s0' and 'b-s0'",
        ),
        ({"pretrain": {"a": {"recipe": "quickstrt"}}}, "Did you mean quickstart"),
        ({"pretrain": {"a": {"recipe": "quickstart", "settings": {"optim.lrr": 1}}}}, "Did you mean 'optim.lr'"),
        ({"pretrain": {"a": {"recipe": "quickstart", "settings": {"method.size": 8}}}}, "8"),
        ({"data": {"test": "digits"}}, "names no images to pretrain on"),
        ({"data": {"source": "digitz"}}, "Did you mean digits"),
        ({"data": {"source": "digits", "size": 16}}, "smaller than the 32"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_written(plan, tmp_path, changes, words):
    with pytest.raises(UserError) as error:
        plan(**changes)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.yaml"}


def test_a_pretraining_that_fills_no_holes_is_not_judged_by_its_fills(plan):
    with pytest.raises(UserError, match="fills no holes, so inpainting cannot judge it"):
        plan(
            settings={},
            pretrain={"ceiling": {"recipe": "quickstart-supervised"}},
            evaluate=[{"evaluator": "inpainting", "subjects": "{run}"}],
        )


def test_images_without_classes_cannot_be_classified(plan, tmp_path, photo_folder):
    flat = tmp_path.parent / f"{tmp_path.name}-flat"
    for split in ("train", "test"):
        (flat / split).mkdir(parents=True)
        for number, path in enumerate((photo_folder / split).rglob("*.png")):
            (flat / split / f"{number}.png").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="no class labels"):
        plan(f"data.source={flat}")


def test_results_that_cannot_be_written_are_refused(write, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="is a file"):
        make_plan(load_suite(str(write())), runs=tmp_path / "runs", results=tmp_path / "taken" / "results")
