"""A folder of records, pictures and runs that has something for every section of a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_ce.files import digest
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.records.store import RecordStore

EVIL = "<script>alert('x')</script>&\"<img src=x onerror=alert(1)>"
SHARES = {  # of 200 test images that are right
    "runs/suite/a-s0@conv1": 0.7, "runs/suite/a-s0@pool1": 0.74, "runs/suite/a-s0@conv2": 0.95,
    "runs/suite/b-s0@conv1": 0.68, "runs/suite/b-s0@conv2": 0.72, "init:runs/suite/a-s0@conv2": 0.5,
    "hog": 0.6, "pixels": 0.4, EVIL: 0.55,
}  # fmt: skip
MACHINE = {"command": f"ce evaluate knn {EVIL}", "versions": {"python": "3.11.7", "torch": "2.15.0"},
           "git_commit": "0123abc", "device_name": "a CPU", "platform": "Linux"}  # fmt: skip


@dataclass(frozen=True)
class Filled:
    """`root` holds `records` and the runs that they name; `records` is the DIR of `ce results`."""

    root: Path

    @property
    def records(self) -> Path:
        return self.root / "measured & <b>kept"


def make_record(subject: str, metrics: dict[str, Metric], protocol: str = "knn-dino@1", **fields: Any) -> Record:
    values: dict[str, Any] = {
        "id": digest(protocol, subject)[:16],
        "cell": "c" * 16,
        "protocol": protocol,
        "subject": SubjectInfo(name=subject, identity="i" * 32),
        "dataset": DatasetInfo(name="digits", split="test", fingerprint="f" * 32, n=200, size=(32, 32)),
        "seed": 0,
        "metrics": metrics,
        "config": {"headline": 20},
        "notes": {"said": EVIL},
        "seconds": 12.5,
        "machine": MACHINE,
        "created": "2026-11-21T08:42:15+00:00",
    }
    return Record(**values | fields)


def share(value: float) -> Metric:
    return Metric(value=value, low=value - 0.05, high=value + 0.05, spread="bootstrap over test images")


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    return fill(tmp_path)


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """For those who change nothing in it."""
    return fill(tmp_path_factory.mktemp("filled"))


def fill(root: Path) -> Filled:
    folder = Filled(root)
    store = RecordStore(folder.records)
    for subject, value in SHARES.items():
        right = np.arange(200) < 200 * value
        metrics = {"accuracy": share(value), "log_loss": Metric(value=1 - value, higher_is_better=False)}
        store.append(make_record(subject, metrics, outcomes={"accuracy": right.astype(float).tolist()}))
    chosen = {"tap": "conv2", "tap chosen on": "20 % of train"}
    store.append(make_record("runs/suite/a-s0@all", {"accuracy": share(0.95)}, chosen=chosen))
    store.append(make_record("runs/gone@conv1", {"accuracy": share(0.3)}))
    for subject, psnr in (("telea", 15.5), ("runs/suite/b-s0", 16.25), ("exact", float("inf")), ("odd", float("nan"))):
        metrics = {"psnr": Metric(value=psnr, low=psnr - 1, high=psnr + 1, spread="bootstrap over test images")}
        metrics |= {name: Metric(value=0.1, higher_is_better=False) for name in ("l1", "l2", "seam")}
        metrics |= {name: Metric(value=0.25) for name in ("ssim", "psnr_of_mean_l2", "image_psnr", "image_ssim")}
        store.append(make_record(subject, metrics, "inpainting@1", variant={"holes": "center"}))
    for name, seconds in (("a-s0", 100.0), ("b-s0", 1000.0)):
        run = root / "runs" / "suite" / name
        (run / "samples").mkdir(parents=True)
        manifest = {"step": 1000, "total_steps": 1000, "done": True, "images_seen": 64000, "seconds": seconds}
        (run / "manifest.json").write_text(json.dumps(manifest | {"data": {"name": "digits", "split": "train"}}))
        rows = "".join(f"{step},{2.0 / step},\n" for step in range(1, 1001))
        (run / "log.csv").write_text(f"step,generator_loss,online_knn\n{rows}1000,,0.5\n")
        for step in (500, 1000):
            picture(run / "samples" / f"step-{step:07d}.png", step)
    picture(folder.records / "failures-center-telea-000000.png", 3)
    picture(folder.records / "retrieval-center.png", 4)
    return folder


def picture(path: Path, seed: int, side: int = 40) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, 2 * side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path
