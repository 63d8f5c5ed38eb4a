"""Start-up: how long `ce` takes before it does any work, and to show ten thousand records.

    python benchmarks/speed/startup.py [--records 10000] [--rounds 7] [--out results/speed]

Each command runs in a process of its own. The evaluation is a k-NN whose features are cached: from its whole time that
of the evaluator itself (`seconds` of its records) is subtracted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from made_records import made_records
from side_by_side import Sheet, Spread, arguments, judged, seconds


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--records", type=int, default=10_000)
    options = parser.parse_args()

    sheet = Sheet("startup", "Start-up", options.out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made_records(options.records, folder / "records")
        show = ["results", "show", str(folder / "records")]
        sheet.measure("python -c pass", lambda: run([sys.executable, "-c", "pass"], folder), options.rounds)
        sheet.measure("ce --help", lambda: ce(["--help"], folder), options.rounds, limit=0.3)
        sheet.measure(
            "ce results show --help", lambda: ce(["results", "show", "--help"], folder), options.rounds, limit=0.3
        )
        sheet.measure(
            f"ce results show, {options.records:,} records", lambda: ce(show, folder), options.rounds, limit=1.0
        )
        torch = [sys.executable, "-c", "import torch"]
        sheet.measure("python -c 'import torch'", lambda: run(torch, folder), options.rounds)
        overheads = [evaluation(folder, number) for number in range(options.rounds + 1)][
            1:
        ]  # the first fills the cache
    found = Spread.of(overheads)
    row = {"figure": "ce evaluate knn hog, cached features, less the evaluator's own time"}
    sheet.row(row | {"seconds (least to most)": str(found)} | judged(found.median, 2.0, least=False))
    sheet.write()


def evaluation(folder: Path, number: int) -> float:
    """Seconds that an evaluation of HOG on the bundled digits takes beyond the evaluator's own."""
    results = folder / f"results-{number}"
    command = ["evaluate", "knn", "hog?cell=4", "--data", "digits", "--results", str(results)]
    whole = seconds(lambda: ce(command, folder))
    records = [json.loads(line) for line in (results / "records.jsonl").read_text().splitlines()]
    return whole - sum(record["seconds"] for record in records)


def ce(arguments: list[str], folder: Path) -> None:
    """Run `ce` in a process of its own."""
    run([sys.executable, "-m", "ssl_ce", *arguments], folder)


def run(command: list[str], folder: Path) -> None:
    """Run a command whose cache lies in `folder`."""
    env = {**os.environ, "SSL_CE_CACHE": str(folder / "cache")}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, env=env)


if __name__ == "__main__":
    main()
