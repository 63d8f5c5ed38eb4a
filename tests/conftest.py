"""What every test shares: one thread, a cache of its own, and small made image sets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.packing import PackedImages

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
