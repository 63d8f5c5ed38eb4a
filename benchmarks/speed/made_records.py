"""Made records for benchmarks: a grid of subjects, image sets and seeds, with numbers drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ssl_ce.files import digest
from ssl_ce.manifest import versions
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo, cell_hash

_SUBJECTS = ("pixels", "hog", *(f"runs/made-{run}@conv{tap}" for run in range(6) for tap in range(1, 6)))
_IMAGES = 200  # of each test split


def made_records(count: int, folder: Path) -> None:
    """`count` records of a linear probe, with outcomes of 200 test images each, as a store in `folder`.

    Tables hold 32 subjects each: two floors, and five layers of six runs. With more records there are more tables.
    """
    (folder / "outcomes").mkdir(parents=True)
    generator = np.random.default_rng(0)
    with (folder / "records.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count):
            right = (generator.random((2, _IMAGES)) < 0.5 + 0.01 * (number % len(_SUBJECTS))).astype(np.float64)
            record = _record(number, {"accuracy": right[0], "top5": right[1]})
            file.write(record.model_dump_json() + "\n")
            np.savez(folder / "outcomes" / f"{record.id}.npz", accuracy=right[0], top5=right[1])


def _record(number: int, outcomes: dict[str, np.ndarray]) -> Record:
    place, subject = divmod(number, len(_SUBJECTS))
    name, data = _SUBJECTS[subject], f"made-{place}"
    train, test = (
        DatasetInfo(name=data, split=split, fingerprint=digest(data, split), n=n, size=(96, 96), source={"ref": data})
        for split, n in (("train", 5000), ("test", _IMAGES))
    )
    config = {"labels": "all", "standardise": True, "costs": {"low": 1e-6, "high": 1e5, "count": 45}, "folds": 5}
    cell = cell_hash("linear-probe@1", config, name, {"ref": data}, 0)
    metrics = {
        metric: Metric(value=(value := float(values.mean())), low=value - 0.03, high=value + 0.03,
                       spread="bootstrap over test images")
        for metric, values in outcomes.items()
    }  # fmt: skip
    return Record(
        id=digest(cell, str(number))[:16], cell=cell, protocol="linear-probe@1", variant={"labels": "all"},
        subject=SubjectInfo(name=name, identity=digest(name)), dataset=test, train=train, seed=0, metrics=metrics,
        config=config, chosen={"C": 0.1, "on": "10 % of train, held out by seed 0"}, seconds=12.5, peak_memory_mb=812.0,
        notes={"features": "1,536 dimensions, standardised on train"},
        machine={"command": f"ce evaluate linear-probe {name} --data {data}", "versions": versions(), "device": "cpu"},
        created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
