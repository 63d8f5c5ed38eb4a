"""`ce list`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ssl_ce.cli.listing import REGISTRIES, list_, registry


def listed(*arguments: str) -> str:
    shown = CliRunner().invoke(list_, list(arguments))
    assert shown.exit_code == 0, shown.output
    return shown.output


@pytest.mark.parametrize("kind", REGISTRIES)
def test_everything_registered_is_listed(kind):
    names = registry(kind).names()
    assert names
    assert [row["name"] for row in json.loads(listed(kind, "--format", "json"))] == names
    table = listed(kind)
    assert all(name in table for name in names)


@pytest.mark.parametrize("kind", ["recipes", *REGISTRIES])
def test_each_entry_says_in_one_line_what_it_is_and_where(kind):
    for row in json.loads(listed(kind, "--format", "json")):
        assert row.keys() == {"name", "summary", "target"}
        assert all(row.values())
        assert "\n" not in row["summary"]


def test_the_packaged_recipes_are_listed_by_name():
    names = [row["name"] for row in json.loads(listed("recipes", "--format", "json"))]
    assert {"quickstart", "ce-alexnet", "ce-alexnet-128", "ce-alexnet-96"} <= set(names)
    assert names == sorted(names)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    shown = CliRunner().invoke(list_, ["recipe"])
    assert shown.exit_code == 2
    assert "'recipes'" in shown.output


def test_help_has_examples():
    assert "ce list evaluators --format json" in listed("--help")


def test_only_the_region_strategies_bring_torch_along():
    code = (
        "import sys; from ssl_ce.cli.listing import REGISTRIES, registry, recipe_entries\n"
        "[registry(kind).names() for kind in REGISTRIES if kind != 'holes'], list(recipe_entries())\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
