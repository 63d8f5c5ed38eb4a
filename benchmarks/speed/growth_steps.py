"""One step of `growth.py`, in a process of its own: python growth_steps.py STEP COUNT FOLDER. Prints JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from memory import anonymous_mib
from numpy.typing import NDArray
from PIL import Image

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.packer import pack
from ssl_ce.data.packing import PackedImages
from ssl_ce.data.source import Source
from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import load_recipe
from ssl_ce.search import nearest

SIZE, STEPS, BATCH, QUERIES = 32, 30, 32, 100
_TILES = 256
_OPTIONS = DataOptions(size=SIZE)


class Tiles(Sequence[NDArray[np.uint8]]):
    """`count` images made of few: uint8 (32, 32, 3), each a tile of noise with its number added."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.tiles = np.random.default_rng(0).integers(0, 256, (_TILES, SIZE, SIZE, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return self.count

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> Tiles: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | Tiles:
        if isinstance(index, slice):
            raise TypeError("packing takes one at a time")
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.tiles[index % _TILES] + np.frombuffer(index.to_bytes(3, "little"), np.uint8)


def make_files(folder: Path, count: int) -> None:
    """The same images as PNG files, a thousand to a folder."""
    for number, pixels in enumerate(Tiles(count)):
        path = folder / f"{number // 1000:04d}" / f"{number:07d}.png"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path, compress_level=1)


def pack_array(count: int, folder: Path) -> int:
    """Pack made images."""
    pack(Source("made", "train", Tiles(count)), SIZE, folder / "train.pack", _OPTIONS, {"ref": "made"})
    return count


def open_packed(count: int, folder: Path) -> int:
    """The first time a packed set is opened, it is hashed."""
    return len(PackedImages.open(folder / "train.pack"))


def train(count: int, folder: Path) -> int:
    """A fixed number of steps, of random images of the set."""
    off = [f"log.{what}_every=0" for what in ("online", "samples", "checkpoint", "held_out")]
    recipe = load_recipe("quickstart", ["optim.epochs=null", f"optim.steps={STEPS}", f"optim.batch_size={BATCH}", *off])
    pretrain(recipe, PackedImages.open(folder / "train.pack"), folder / "run")
    return STEPS * BATCH


def extract(count: int, folder: Path) -> int:
    """Describe all images, into the feature cache."""
    FeatureCache(folder / "features").features(
        load_descriptor("pixels?side=4"), PackedImages.open(folder / "train.pack")
    )
    return count


def search(count: int, folder: Path) -> int:
    """The nearest to a few, among the features that `extract` left."""
    images = PackedImages.open(folder / "train.pack")
    features = FeatureCache(folder / "features").features(load_descriptor("pixels?side=4"), images)
    nearest(np.asarray(features[:QUERIES]), features, 10)
    return count


def open_files(count: int, folder: Path) -> int:
    """Open a folder of files: the first time it is packed."""
    return len(open_set(str(folder / "files"), "train", _OPTIONS))


_STEPS: dict[str, Callable[[int, Path], int]] = {
    "pack": pack_array,
    "open": open_packed,
    "pretrain": train,
    "extract": extract,
    "search": search,
    "pack-files": open_files,
    "list": open_files,
}


if __name__ == "__main__":
    step, number, place = sys.argv[1:]
    if step == "open":
        time.sleep(2.5)  # what is younger than two seconds is hashed again by the next step
    before, started = anonymous_mib(), time.perf_counter()
    done = _STEPS[step](int(number), Path(place))
    print(json.dumps({"seconds": time.perf_counter() - started, "images": done, "before": before}))
