"""Growth: time and anonymous memory against the number of images, and against the number of records.

    python benchmarks/speed/growth.py [--scratch DIR] [--out results/speed]
    python benchmarks/speed/growth.py --images 1000,10000 --files 1000 --records 10,100,1000

Each step runs in a process of its own, whose anonymous memory is looked at every 20 ms. Images are made, 32 px: for the
packed sets they come from an array in memory, which packs as CIFAR does; `list` and `pack files` are of a folder of PNG
files. Pretraining makes a fixed number of steps, whatever there is to read. A million images take 3.5 GB in --scratch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import growth_steps
from growth_plot import draw
from made_records import made_records
from memory import watched
from side_by_side import Sheet, arguments, seconds

_SHOWN = {
    "pack": "packing an array",
    "open": "opening it the first time (its hash)",
    "pretrain": "pretraining, 30 steps of 32",
    "extract": "describing by `pixels`",
    "search": "10 nearest of 100 queries",
    "list": "opening a packed folder of files",
    "pack-files": "packing a folder of files",
}


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__, rounds=None)
    parser.add_argument("--images", type=_counts, default=(1000, 10_000, 100_000, 1_000_000))
    parser.add_argument("--files", type=_counts, default=(1000, 10_000, 100_000), help="images that are files")
    parser.add_argument("--records", type=_counts, default=(10, 100, 1000, 10_000))
    parser.add_argument("--scratch", type=Path, help="where a temporary folder is made")
    options = parser.parse_args()

    sheet = Sheet("growth", "Growth", options.out)
    for count in options.images:
        _measure(sheet, "Images", count, ("pack", "open", "pretrain", "extract", "search"), options.scratch)
    for count in options.files:
        _measure(sheet, "Images", count, ("pack-files", "list"), options.scratch)
    for count in options.records:
        _records(sheet, count, options.scratch)
    if options.out is not None:
        draw(sheet.tables, options.out / "growth.svg")
        sheet.pictures.append("growth.svg")
    sheet.write()


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _measure(sheet: Sheet, table: str, count: int, steps: tuple[str, ...], scratch: Path | None) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        if "pack-files" in steps:
            growth_steps.make_files(Path(name) / "files", count)
        for step in steps:
            command = [sys.executable, growth_steps.__file__, step, str(count), name]
            found, mib = _run(command, Path(name))
            row = {"images": count, "step": _SHOWN[step], "seconds": found["seconds"]}
            row |= {"images a second": found["images"] / found["seconds"], "anonymous MiB": mib}
            sheet.row(row | {"above its start, MiB": mib - found["before"]}, table)


def _records(sheet: Sheet, count: int, scratch: Path | None) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        made_records(count, Path(name) / "records")
        records, page = str(Path(name) / "records"), str(Path(name) / "page.html")
        for what in (["show", records], ["compare", records], ["report", records, "-o", page]):
            command = [sys.executable, "-m", "ssl_ce", "results", *what]
            mib = 0.0

            def work(command: list[str] = command) -> None:
                nonlocal mib
                mib = _run(command, Path(name))[1]

            row = {"records": count, "command": f"ce results {what[0]}", "seconds": seconds(work), "anonymous MiB": mib}
            sheet.row(row, "Records")
            Path(page).unlink(missing_ok=True)


def _run(command: list[str], folder: Path) -> tuple[Any, float]:
    """What a process printed last, if that is JSON, and the most anonymous memory it took."""
    env = {**os.environ, "SSL_CE_CACHE": str(folder / "cache")}
    with (folder / "printed").open("w+") as printed:
        with subprocess.Popen(command, stdout=printed, env=env) as process, watched(process.pid) as most:
            code = process.wait()
        if code:
            raise SystemExit(f"{' '.join(command)} ended with {code}")
        printed.seek(0)
        last = printed.read().rstrip().rpartition("\n")[2]
    return (json.loads(last) if last.startswith("{") else None), most.mib


if __name__ == "__main__":
    if not Path("/proc/self/status").exists():
        sys.exit("Anonymous memory is read from /proc: this benchmark needs Linux.")
    main()
