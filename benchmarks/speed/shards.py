"""Shards by their encoding: bytes an image, images written and images decoded in a second of one core's work.

python benchmarks/speed/shards.py [--data photos/] [--images 2000] [--size 128] [--rounds 3] [--out results/speed]

Of a folder's or a dataset's train images, fitted and held in memory before, or of made ones. Written: what
`ce data shard` does to them. Decoded: the set that was written, in the order of an epoch, 64 images at a time. The
clock is the process's, which stands still while other work has the core, and of the rounds the quickest counts.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from made import MadeImages
from numpy.typing import NDArray
from side_by_side import Sheet, arguments, seconds, short

from ssl_ce.data import datasets, open_set
from ssl_ce.data.options import DataOptions
from ssl_ce.data.packing import epoch_order
from ssl_ce.data.shards_writing import ENCODINGS, Encoding, write_shards
from ssl_ce.data.source import Dataset, Source

_BATCH = 64
_CLOCK = time.process_time
_NAME = "benchmark-shards"


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--data", metavar="REF", help="a folder or a dataset; made images by default")
    parser.add_argument("--images", type=int, default=2000, help="how many of them")
    parser.add_argument("--size", type=int, default=128, help="side of the images, pixels")
    options = parser.parse_args()
    source = Source(_NAME, "train", _squares(options.data, options.images, options.size))
    datasets.add(_NAME, Dataset(("train",), lambda split, given: source, size=options.size), "squares in memory")

    sheet = Sheet("shards", f"{len(source):,} images of {options.size} px in shards, by their encoding", options.out)
    sheet.row({"encoding": "packed set", "bytes an image": 3 * options.size**2})
    for encoding in ENCODINGS:
        if encoding != "original":
            with tempfile.TemporaryDirectory(prefix="ssl-ce-shards-") as folder:
                _measure(sheet, encoding, options.rounds, Path(folder))
    sheet.write()


def _squares(reference: str | None, count: int, size: int) -> list[NDArray[np.uint8]]:
    """Images in memory, each uint8 (size, size, 3)."""
    if reference is None:
        return list(MadeImages(0, count, size))
    with tempfile.TemporaryDirectory(prefix="ssl-ce-shards-") as folder:
        options = DataOptions(size=size, cache=Path(folder), allow_unreadable=True)
        images = open_set(f"{reference}?count={count}", "train", options)
        return [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images.read(range(len(images)))]


def _measure(sheet: Sheet, encoding: Encoding, rounds: int, folder: Path) -> None:
    options = DataOptions(workers=1)
    written = [
        seconds(lambda: write_shards(_NAME, "train", folder, options, encoding=encoding, overwrite=True), _CLOCK)
        for _ in range(rounds)
    ]
    images = open_set(str(folder), "train", options)
    batches = epoch_order(images, 0, 0).split(_BATCH)
    images.read(batches[0])  # the shards are hashed before the first image is decoded
    decoded = [seconds(lambda: [images.read(batch) for batch in batches], _CLOCK) for _ in range(rounds)]
    taken = sum(path.stat().st_size for path in folder.glob("*.tar"))
    times = {"written": written, "decoded": decoded}
    sheet.raw.append({"figure": encoding, "images": len(images), "bytes": taken, "seconds": times})
    rates = {f"{name}, images/s": short(len(images) / min(spent)) for name, spent in times.items()}
    sheet.row({"encoding": encoding, "bytes an image": taken // len(images), **rates})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
