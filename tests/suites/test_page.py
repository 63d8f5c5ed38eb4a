"""The page on suites: its example runs, and it names every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ssl_ce.suites.expansion import expand
from ssl_ce.suites.shipped import shipped_suites
from ssl_ce.suites.suite import DataSection, EvaluateEntry, PretrainEntry, Suite, load_suite
from ssl_ce.suites.tables import PublishedColumn, PublishedRow, PublishedTable

MODELS = (Suite, DataSection, PretrainEntry, EvaluateEntry, PublishedTable, PublishedColumn, PublishedRow)

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "suites.md").read_text(encoding="utf-8")


def test_the_example_of_another_executor_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    exec(compile(example, "docs/suites.md", "exec", dont_inherit=True), {"__name__": "example"})
    assert "| context-encoder@conv2 |" in capsys.readouterr().out


def test_the_example_of_a_suite_is_one(tmp_path):
    example = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "example.yaml").write_text(example)
    assert [one.name for one in expand(load_suite(str(tmp_path / "example.yaml")))] == [
        "completion", "code-64", "code-512",
    ]  # fmt: skip
    assert yaml.safe_load(example)["tables"]


@pytest.mark.parametrize("model", MODELS)
def test_every_key_is_explained(model):
    for name, field in model.model_fields.items():
        if not field.exclude:
            assert f"`{field.alias or name}`" in TEXT


def test_the_suites_of_the_repository_are_those_of_the_package():
    shown = {path.stem: path.resolve() for path in (ROOT / "benchmarks" / "suites").glob("*.yaml")}
    assert shown == {name: path.resolve() for name, path in shipped_suites().items()}
