"""What every test shares: one thread, a cache of its own, and small made image sets."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_ce.cli import main
from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.packing import PackedImages
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import load_recipe

# Commands that tests start read this: tests run side by side, and threads that wait for a busy core are slow.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing a test packs or describes lands in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CE_CACHE", str(folder))
        yield folder  # type: ignore[misc]


@pytest.fixture(scope="session")
def digits_train() -> PackedImages:
    return open_set("digits", "train", DataOptions(size=32))


@pytest.fixture(scope="session")
def digits_test() -> PackedImages:
    return open_set("digits", "test", DataOptions(size=32))


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and test/ of two classes, 12 and 6 images of 40 x 48 pixels each: blobs left or right, with noise."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        for number, name in enumerate(("left", "right")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for place in range(count):
                pixels = generator.integers(0, 80, (40, 48, 3), dtype=np.uint8)
                pixels[10:30, 24 * number + 4 : 24 * number + 20] += np.uint8(150)
                Image.fromarray(pixels).save(folder / f"{place:02d}.png")
    return root


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and test/ of 40 and 12 images of 32 x 32 pixels: a red and a green rectangle on dark noise.

    Beside them label maps (masks/: 0 background, 1 red, 2 green; the outermost pixels 255) and boxes (annotations/).
    """
    root = tmp_path_factory.mktemp("made") / "shapes"
    generator = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 12)):
        for folder in ("images", "masks", "annotations"):
            (root / split / folder).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            labels = np.zeros((32, 32), dtype=np.uint8)
            objects = ""
            for channel, name in enumerate(("red", "green")):
                (x1, y1), (w, h) = generator.integers(1, 4, 2), generator.integers(9, 14, 2)
                x1 += 15 * channel
                y1 += generator.integers(0, 14)
                pixels[y1 : y1 + h, x1 : x1 + w, channel] += np.uint8(180)
                labels[y1 : y1 + h, x1 : x1 + w] = channel + 1
                sides = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x1 + w, "ymax": y1 + h}
                corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides.items())
                objects += f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
            labels[[0, -1]] = 255
            labels[:, [0, -1]] = 255
            Image.fromarray(pixels).save(root / split / "images" / f"{number}.png")
            Image.fromarray(labels).save(root / split / "masks" / f"{number}.png")
            (root / split / "annotations" / f"{number}.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, digits_train: PackedImages) -> Path:
    """A run of three steps on digits at 32 x 32: a DCGAN-like encoder of a tenth of the width, and its decoder."""
    settings = ("method.encoder.width=0.1", "method.decoder.width=0.1", "optim.steps=3", "optim.epochs=null")
    recipe = load_recipe("quickstart", [*settings, "log.tensorboard=false", "data.source=digits"])
    return pretrain(recipe, digits_train, tmp_path_factory.mktemp("runs") / "tiny")


@dataclass(frozen=True)
class Answer:
    """What a command left at the prompt."""

    code: int
    out: str
    err: str


@pytest.fixture
def ce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Answer]:
    """`ce("evaluate knn hog --data digits")`, typed in an empty folder; run in this process, so that it is fast."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(line: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["ce", *shlex.split(line)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Answer(code, *capsys.readouterr())

    return run
