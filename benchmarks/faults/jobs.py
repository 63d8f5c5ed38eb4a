"""The commands that `kill.py` kills: what they do, what they leave, and whether a file is whole."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TINY = {
    "method.encoder.width": 0.1,
    "method.decoder.width": 0.1,
    "log.every": 2,
    "log.checkpoint_every": 4,
    "log.samples_every": 6,
    "log.online_every": 10,
    "log.tensorboard": False,
}
RECIPE = {
    "method": {
        "name": "context-encoder",
        "size": 32,
        "encoder": {"name": "dcgan", "width": 0.1},
        "decoder": {"kind": "dcgan", "width": 0.1},
        "holes": {"strategy": "random-region"},
        "adversarial": {"weight": 0.01, "width": 0.1},
    },
    "data": {"source": "digits", "held_out": 100},
    "optim": {"batch_size": 16, "steps": 40, "warmup_steps": 5, "clip_norm": 1.0},
    "log": {
        "every": 2,
        "checkpoint_every": 4,
        "samples_every": 6,
        "online_every": 10,
        "held_out_every": 10,
    },
}
SUITE = {
    "summary": "two pretrainings and what is judged of them",
    "data": {"source": "digits", "size": 32},
    "settings": {**TINY, "optim.steps": 24},
    "seeds": [0],
    "pretrain": {
        "plain": {"recipe": "quickstart", "tap": "conv1"},
        "faster": {"extends": "plain", "settings": {"optim.lr": 0.01}},
    },
    "evaluate": [
        {"evaluator": "knn", "subjects": ["{run}@{tap}"], "floors": False},
        {"evaluator": "inpainting", "subjects": ["{run}"], "settings": {"holes": ["center"]}, "floors": False},
    ],
}
_VARIES = frozenset(("images_per_second",))


@dataclass(frozen=True)
class Job:
    """A command that is killed.

    Attributes
    ----------
    line
        What is typed after `ce`; typed again, it goes on or begins anew.
    share
        Of the moments, relative to the others.
    left
        What it leaves in its folder that must be the same each time: {what: its hash}.
    """

    line: str
    share: int
    left: Callable[[Path], dict[str, str]]

    def prepare(self, folder: Path) -> None:
        """Make the folder with the recipe, the suite and the photographs in it, if it is not there."""
        if folder.exists():
            return
        folder.mkdir()
        (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
        (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE, sort_keys=False))
        (folder / "photos").symlink_to(folder.parent / "photos")


def make_photos(folder: Path) -> None:
    """400 small photographs of noise in two classes."""
    generator = np.random.default_rng(0)
    for number in range(400):
        place = folder / ("left", "right")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (90 + number % 7, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:03d}.png", compress_level=1)


def _of_run(folder: Path, run: str = "run") -> dict[str, str]:
    names = ("weights.safetensors", "encoder.safetensors", "encoder-initial.safetensors", "recipe.yaml")
    found = {f"{run}/{name}": _hash((folder / run / name).read_bytes()) for name in names}
    with (folder / run / "log.csv").open() as file:
        rows = [{key: value for key, value in row.items() if key not in _VARIES} for row in csv.DictReader(file)]
    pictures = {f"{run}/{path.name}": _hash(path.read_bytes()) for path in sorted((folder / run / "samples").glob("*"))}
    done = json.loads((folder / run / "manifest.json").read_text())["done"]
    return {**found, **pictures, f"{run}/log.csv": _hash(rows), f"{run} is done": str(done)}


def _of_pack(folder: Path) -> dict[str, str]:
    return {"photos.pack": _hash((folder / "photos.pack").read_bytes())}


def _of_features(folder: Path) -> dict[str, str]:
    arrays = sorted((folder / "cache" / "features").rglob("*.npy"))
    return {**{path.name: _hash(path.read_bytes()) for path in arrays}, **_of_records(folder / "results/local")}


def _of_records(results: Path) -> dict[str, str]:
    """The records as they are read, the outcomes of their images, and the number of lines: one twice is one more."""
    from ssl_ce.records.store import RecordStore

    records = RecordStore(results).records(with_outcomes=True)
    lines = (results / "records.jsonl").read_text().splitlines()
    found = {
        f"record {one.subject.name} {one.variant}": _hash(
            [one.id, one.cell, one.model_dump(mode="json")["metrics"], one.outcomes]
        )
        for one in records
    }
    assert len(found) == len(records), "two records of one name: they cannot be told apart here"
    return {**found, "lines of records": str(len(lines))}


def _of_suite(folder: Path) -> dict[str, str]:
    runs = {**_of_run(folder, "runs/suite/plain-s0"), **_of_run(folder, "runs/suite/faster-s0")}
    missing = "Missing" in (folder / "said.txt").read_text()
    return {**runs, **_of_records(folder / "results/suite"), "missing": str(missing)}


JOBS: Mapping[str, Job] = {
    "pretrain": Job("pretrain recipe.yaml --resume run", 15, _of_run),
    "pack": Job("data pack photos --size 96 --split all --force --out photos.pack", 8, _of_pack),
    "features": Job("evaluate knn gist?side=32 hog?cell=4 color-histogram --data digits --no-floors", 8, _of_features),
    "evaluation": Job(
        "evaluate inpainting telea mean-color navier-stokes --data digits --no-floors --holes center "
        "--holes random-block --failures 0",
        9,
        lambda folder: _of_records(folder / "results/local"),
    ),
    "suite": Job("benchmark suite.yaml", 10, _of_suite),
}


def look(folder: Path, undisturbed: Path) -> tuple[int, list[str]]:
    """Read every file that is not marked as temporary: how many there are, and which are not whole."""
    from ssl_ce.files import TEMPORARY

    files, torn = 0, []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file() or path.name.endswith(TEMPORARY) or name.parts[0] in ("photos", "said.txt"):
            continue
        files += 1
        try:
            _read_whole(path, undisturbed / name)
        except Exception as error:
            torn.append(f"{name}: {type(error).__name__} {error}")
    return files, torn


def _read_whole(path: Path, same: Path) -> None:
    """Raise where `path` is half a file. Packed files and features must equal the undisturbed ones."""
    content = path.read_bytes()
    if path.suffix in (".pack", ".npy"):
        assert content == same.read_bytes(), "not what it should be"
    elif path.suffix == ".pt":
        import torch

        torch.load(path, weights_only=True)
    elif path.suffix == ".safetensors":
        import safetensors.numpy

        assert safetensors.numpy.load(content), "empty"
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            assert [arrays[name] for name in arrays.files], "empty"
    elif path.suffix in (".png", ".jpg"):
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".json":
        json.loads(content)
    elif path.suffix == ".yaml":
        assert isinstance(yaml.safe_load(content), dict), "no mapping"
    elif path.suffix == ".jsonl":
        # An append may be torn; who reads the store leaves the torn line out.
        for line in content[: content.rfind(b"\n") + 1].splitlines():
            json.loads(line)


def leftovers(folder: Path) -> list[Path]:
    """Temporary files and locks that nobody will ever remove."""
    from ssl_ce.files import TEMPORARY

    return [path for path in folder.rglob("*") if path.name.endswith(TEMPORARY) or path.name == ".lock"]


def processes_in(folder: Path, seconds: float = 20.0) -> list[str]:
    """Processes that still work in `folder` after so long."""
    deadline = time.monotonic() + seconds
    while found := [place.name for place in Path("/proc").glob("[0-9]*") if _works_in(place, folder)]:
        if time.monotonic() > deadline:
            return [f"process {pid} is left over" for pid in found]
        time.sleep(0.1)
    return []


def workers_of(pid: int) -> list[int]:
    """The processes that a suite's command started to run cells, each from a thread of its own."""
    found = []
    for place in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended
            for child in place.read_text().split():
                with suppress(OSError):  # a process that has ended
                    if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                        found.append(int(child))
    return found


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except OSError:
        return False


def _hash(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def table(references: Mapping[str, Any], moments: Sequence[Any], seed: int) -> str:
    """The page of all this in Markdown."""
    import torch

    lines = [
        f"# {len(moments)} kills",
        "",
        f"`python benchmarks/faults/kill.py --moments {len(moments)} --seed {seed}`: Python "
        f"{platform.python_version()}, torch {torch.__version__}, {platform.system()}, one thread.",
        "",
        "| command | undisturbed | kills | at a time / at a file operation | of a worker | files looked at, torn | "
        "cases, same in the end |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, reference in references.items():
        ours = [moment for moment in moments if moment.job == name]
        timed = sum(moment.moment.startswith("after") for moment in ours)
        cases = {moment.case: moment.outcome for moment in ours}
        lines.append(
            f"| {name} | {reference.seconds:.1f} s, {reference.operations} operations | {len(ours)} | "
            f"{timed} / {len(ours) - timed} | {sum(moment.victim == 'worker' for moment in ours)} | "
            f"{sum(moment.files for moment in ours)}, {sum(bool(moment.torn) for moment in ours)} | "
            f"{len(cases)}, {sum(outcome == 'same' for outcome in cases.values())} |"
        )
    columns = ("command", "case", "killed", "when", "files looked at", "torn", "in the end")
    lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [
        f"| {one.job} | {one.case} | {one.victim} | {one.moment} | {one.files} | {one.torn or 'none'} | {one.outcome} |"
        for one in moments
    ]
    return "\n".join(lines) + "\n"
