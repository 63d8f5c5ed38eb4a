"""Malformed inputs, made by hypothesis, always the same: each is refused in one line, or taken for valid.

`benchmarks/faults/fuzz.py` runs as many more as one likes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from fuzzing import Case, Kind, Workplace, campaign, misspoken
from kinds import make_kinds
from seeds import make_seeds

KINDS = (
    "images", "decompression bombs", "masks", "label maps and their classes", "boxes (XML)", "recipes (YAML)",
    "suites and published tables (YAML)", "--set", "references", "run directories", "weights files", "packed files",
    "records", "outcomes", "cached features", "registered datasets", "shards",
)  # fmt: skip
_QUICK, _MANY = 5, 70


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def seeds(place: Workplace) -> Mapping[str, bytes]:
    return make_seeds(place)


@pytest.fixture(scope="module")
def kinds(seeds: Mapping[str, bytes]) -> dict[str, Kind]:
    return {kind.name: kind for kind in make_kinds(seeds)}


def _check(kinds: dict[str, Kind], name: str, count: int, place: Workplace) -> None:
    tally = campaign(kinds[name], count, place)
    assert not tally.faults, "\n".join(f"{outcome.fault} :: {case.command}" for case, outcome in tally.faults[:9])
    assert tally.inputs >= count
    assert tally.refused > 0


def test_every_kind_is_tried(kinds):
    assert tuple(kinds) == KINDS


@pytest.mark.parametrize("name", KINDS)
def test_some_malformed_inputs_end_in_one_line(kinds, place, name):
    _check(kinds, name, _QUICK, place)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_thousand_malformed_inputs_end_in_one_line(kinds, place, name):
    _check(kinds, name, _MANY, place)


def test_the_command_itself_says_one_line(kinds, tmp_path):
    """In a process of its own, where nothing is caught but what `ce` catches."""
    case = kinds["recipes (YAML)"].whole
    for name, content in {**case.files, "recipe.yaml": b"a: " + b"[" * 20_000}.items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-m", "ssl_ce", *case.command]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert misspoken(ended.returncode, ended.stderr) is None, ended.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("-c", "open('/'.join(['..', 'beside', 'x']), 'w')"), "opened"),
        (("-c", "import os; os.system('true')"), "os.system"),
        (("-c", "bytearray(400 << 20)[-1]"), "MiB"),
        (("-c", "raise ValueError('x')"), "ValueError"),
        (("-c", "print('\\x1b[2J')"), "on stdout"),
        (("-c", "print('a\\tb')"), "on stdout"),
        (("-c", "open('/'.join(['..', '..', 'cache-of-another', 'x']), 'w')"), "opened"),
        (("-c", "print('Error: a'); print('Error: b')"), None),
    ],
)
def test_what_is_not_allowed_is_seen(place, monkeypatch, command, said):
    """The watch itself: a command that misbehaves is caught at it."""
    monkeypatch.setattr("fuzzing.main", lambda: exec(command[1], {}))
    (place.root / "cache-of-another").mkdir(exist_ok=True)
    fault = place.run(Case(command)).fault
    (place.root / "above/beside/x").unlink(missing_ok=True)
    shutil.rmtree(place.root / "cache-of-another")
    assert (fault is None) if said is None else (said in fault)
