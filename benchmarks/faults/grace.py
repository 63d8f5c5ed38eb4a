"""Sends SIGTERM to trainings at random moments: seconds until they have saved and ended, and the exit code.

    python benchmarks/faults/grace.py

A scheduler gives 30 seconds or more between this signal and SIGKILL. Writes `grace.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jobs

# Recipe, its images, and what else is set: a small network, and the public code's at its own size and batch.
TRAININGS = {
    "quickstart, batch 32": "quickstart --data digits --set optim.steps=100000 --set optim.epochs=null",
    "ce-center-adv, batch 64": "ce-center-adv --data photos --set data.split=all --set log.samples_every=0",
}


def main() -> None:
    """Measure each training `--times` times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/faults"))
    options = parser.parse_args()
    chance = random.Random(options.seed)
    rows = []
    with tempfile.TemporaryDirectory(prefix="ce-grace-") as name:
        place = Path(name)
        jobs.make_photos(place / "photos")
        for number, (what, line) in enumerate(TRAININGS.items()):
            found = [_terminate(line, place, f"{number}-{time}", chance) for time in range(options.times)]
            seconds = [one[0] for one in found]
            assert all(code == 75 for _, code, _, _ in found), found
            rows.append(
                f"| {what} | {statistics.median(one[2] for one in found):.2f} s | "
                f"{statistics.median(one[3] for one in found):.1f} MB | {options.times} | "
                f"{min(seconds):.2f}, {statistics.median(seconds):.2f}, {max(seconds):.2f} s | 75 |"
            )
            print(rows[-1], flush=True)
    head = [
        "# From SIGTERM to the end of a training",
        "",
        f"`python benchmarks/faults/grace.py --times {options.times}`: one thread, load average "
        f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores.",
        "",
        "| training | a step | checkpoint | times | least, median, most | exit code |",
        "|---|---|---|---|---|---|",
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "grace.md").write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


def _terminate(line: str, place: Path, name: str, chance: random.Random) -> tuple[float, int, float, float]:
    """Seconds until the end, exit code, seconds of a step, and MB of the checkpoint."""
    run = place / name
    command = [sys.executable, "-m", "ssl_ce", "pretrain", *line.split(), "--out", str(run), "--set", "log.every=1"]
    environment = {**jobs.ONE_THREAD, "SSL_CE_CACHE": str(place / "cache")}
    process = subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (run / "log.csv").exists():
        time.sleep(0.05)
    time.sleep(chance.uniform(0, 5))
    process.send_signal(signal.SIGTERM)
    started = time.perf_counter()
    said = process.communicate()[1]
    seconds = time.perf_counter() - started
    assert "Stopped by SIGTERM" in said, said
    manifest = json.loads((run / "manifest.json").read_text())
    size = (run / "checkpoint.pt").stat().st_size / 1e6
    return seconds, process.returncode, manifest["seconds"] / manifest["step"], size


if __name__ == "__main__":
    main()
