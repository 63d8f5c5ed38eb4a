"""A few kills at random moments; `python benchmarks/faults/kill.py --moments 50` is the long form."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/faults/kill.py"


@pytest.mark.slow
def test_whatever_is_killed_and_run_again_leaves_what_an_undisturbed_command_leaves(tmp_path: Path):
    command = [sys.executable, str(SCRIPT), "--moments", "5", "--seed", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "kills.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["job"] for row in rows} == {"pretrain", "pack", "features", "evaluation", "suite"}
    assert [(row["torn"], row["outcome"]) for row in rows] == [("", "same")] * 5
