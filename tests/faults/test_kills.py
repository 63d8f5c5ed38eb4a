"""A few kills at random moments; `python benchmarks/faults/kill.py --moments 50` is the long form, of all commands."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/faults/kill.py"
JOBS = ("pretrain", "pack", "suite")
# With this seed the training and the suite are hit at a time in their middle, the suite most likely in its worker.
SEED = 38


@pytest.mark.slow
def test_whatever_is_killed_and_run_again_leaves_what_an_undisturbed_command_leaves(tmp_path: Path):
    options = ["--jobs", *JOBS, "--moments", str(len(JOBS)), "--seed", str(SEED), "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "kills.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["job"] for row in rows) == sorted(JOBS)
    assert [(row["torn"], row["outcome"]) for row in rows] == [("", "same")] * len(JOBS)
