"""The suite file: keys, overrides, matrices."""

from __future__ import annotations

import pytest
import yaml

from ssl_ce.errors import UserError
from ssl_ce.suites.expansion import expand
from ssl_ce.suites.filling import as_assignments, fill, flat_settings, nested
from ssl_ce.suites.shipped import shipped_suites
from ssl_ce.suites.suite import dump_suite, load_suite


def load(path, *assignments):
    return load_suite(str(path), assignments)


def test_a_matrix_has_a_cell_for_each_combination_and_keeps_types(write):
    path = write(
        pretrain={
            "vae-{encoder}-{dim}": {
                "recipe": "quickstart",
                "over": {"encoder": ["dcgan", "alexnet"], "dim": [500, 2000]},
                "settings": {"method.encoder.name": "{encoder}", "x": {"dim": "{dim}", "text": "d{dim}"}},
                "with": {"tap": "conv{dim}"},
            }
        }
    )
    found = expand(load(path))
    assert [one.name for one in found] == ["vae-dcgan-500", "vae-dcgan-2000", "vae-alexnet-500", "vae-alexnet-2000"]
    assert found[1].settings["x.dim"] == 2000
    assert found[1].settings["x.text"] == "d2000"
    assert found[2].settings["method.encoder.name"] == "alexnet"
    assert found[3].variables["tap"] == "conv2000"


def test_an_entry_that_extends_another_changes_only_what_it_says(write):
    path = write(
        pretrain={
            "a": {"recipe": "quickstart", "tap": "conv1", "settings": {"optim.lr": 0.1, "optim.batch_size": 8}},
            "b": {"extends": "a", "settings": {"optim.lr": 0.2}},
        }
    )
    second = expand(load(path))[1]
    assert second.recipe == "quickstart"
    assert (second.settings["optim.lr"], second.settings["optim.batch_size"]) == (0.2, 8)
    assert second.variables == {"tap": "conv1"}


@pytest.mark.parametrize("settings", [{"optim.epochs": 30}, {"optim": {"epochs": 30}}])
def test_an_assignment_replaces_a_setting_however_it_is_written(write, settings):
    path = write(settings={**settings, "method.size": 32})
    assert load(path, "settings.optim.epochs=2").settings == {"method.size": 32, "optim.epochs": 2}
    one = load(path, "pretrain.faster.settings.optim.lr=1e-4").pretrain["faster"]
    assert one.settings["optim.lr"] == 1e-4


def test_any_key_can_be_assigned(write):
    suite = load(write(), "seeds=[3, 4]", "data.source=photos/", "summary=mine")
    assert (suite.seeds, suite.data.source, suite.summary) == ((3, 4), "photos/", "mine")


def test_a_parameter_stands_for_its_value_everywhere(write):
    path = write(
        parameters={"size": 32, "source": "digits"},
        data={"source": "{source}?x={size}", "size": "{size}"},
        settings={"method.size": "{size}"},
    )
    suite = load(path, "parameters.size=64")
    assert suite.data.size == 64
    assert suite.data.source == "digits?x=64"
    assert suite.settings == {"method.size": 64}
    with pytest.raises(UserError, match="Did you mean size"):
        load(path, "parameters.siez=64")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sumary": "x"}, "'sumary' is not a setting. Did you mean 'summary'"),
        ({"pretrain": {"a": {"recpie": "x"}}}, "Did you mean 'recipe'"),
        ({"evaluate": [{"evaluator": "knn", "subjects": "hog", "splt": "test"}]}, "Did you mean 'split'"),
        ({"data": {"source": "digits", "test": "x"}}, "give either source, or train and test"),
        ({"seeds": [0, 0]}, "names one seed twice"),
        ({"pretrain": {}, "evaluate": []}, "nothing to do"),
        ({"settings": {"optim.lr": 1, "optim": {"lr": 2}}}, "'optim.lr' is set twice"),
        ({"pretrain": {"a": 3}}, "expected settings"),
        ({"tables": [{"title": "x"}]}, "tables[0]"),
    ],
)
def test_a_wrong_file_is_answered_in_one_line(write, changes, words):
    with pytest.raises(UserError) as error:
        load(write(**changes))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pretrain", "words"),
    [
        ({"a": {"extends": "b"}, "b": {"extends": "a"}}, "a cycle: a extends b extends a"),
        ({"a": {"extends": "a", "recipe": "x"}}, "a cycle: a extends a"),
        ({"plain": {"recipe": "x"}, "b": {"extends": "plane"}}, "Did you mean plain"),
        ({"a": {"tap": "conv1"}}, "'recipe' is missing"),
        ({"a": {"recipe": "x", "over": {"dim": [1, 2]}}}, "duplicate cell: two pretrainings are called 'a'"),
        ({"a-{dim}": {"recipe": "x"}}, "nothing is called '{dim}'"),
        ({"a-{dim}": {"recipe": "x", "over": {"dim": []}}}, "has no values"),
        ({"a": {"recipe": "x", "settings": {"y": "{z}"}}}, "nothing is called '{z}' here"),
        ({"a": {"recipe": "x", "settings": {"seed": 1}}}, "name the seeds under 'seeds'"),
        ({"a/b": {"recipe": "x"}}, "no name for a folder"),
        ({"a-{run}": {"recipe": "x", "over": {"run": [1]}}}, "has a meaning already"),
    ],
)
def test_a_wrong_matrix_is_refused(write, pretrain, words):
    with pytest.raises(UserError) as error:
        expand(load(write(pretrain=pretrain)))
    assert words in str(error.value)


def test_an_unknown_suite_is_answered_with_the_closest():
    with pytest.raises(UserError, match="Did you mean quickstart"):
        load("quickstrat")
    with pytest.raises(UserError, match=r"There is no suite file nowhere.yaml"):
        load("nowhere.yaml")


@pytest.mark.parametrize("name", shipped_suites())
def test_a_shipped_suite_is_well_formed_and_says_what_it_reproduces(name):
    suite = load(name)
    assert suite.name in (name, f"{name}-suite")
    assert suite.summary
    assert suite.reproduces
    assert expand(suite) or suite.evaluate


def test_the_dumped_suite_is_the_same_suite(write, tmp_path):
    suite = load(write(parameters={"size": 32}, data={"source": "digits", "size": "{size}"}, seeds=[0, 1]))
    (tmp_path / "again.yaml").write_text(dump_suite(suite))
    again = load(tmp_path / "again.yaml")
    assert again.model_dump(exclude={"folder"}) == suite.model_dump(exclude={"folder"})


def test_braces_can_be_written_and_unknown_ones_kept_for_later():
    assert fill("{{a}} {b}", {"b": 1}, "here") == "{a} 1"
    assert fill(["{a}", {"x": "{b}"}], {"b": 1.5}, "here", strict=False) == ["{a}", {"x": 1.5}]


def test_settings_go_between_dotted_and_nested_forms():
    assert flat_settings({"a": {"b": {"c": 1}, "d": {}}, "e.f": {"g": 2}}, "here") == {
        "a.b.c": 1,
        "a.d": {},
        "e.f": {"g": 2},
    }
    assert nested({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
    for value in (1e-5, "null", None, True, "a: b", [1, {"x": 1e-7}], {"a": [1]}, "", "1e-3"):
        (assignment,) = as_assignments({"key": value})
        assert yaml.safe_load(assignment.partition("=")[2]) == value
