"""A large index of contexts: time, and memory that does not grow with it, for `nearest:DESCRIPTOR`.

    python benchmarks/speed/context_index.py [--contexts 100000] [--size 128] [--queries 100] [hog pixels]

Packs made images, describes them under a centre hole of half the side, and fills that hole in other images from the
nearest. Prints seconds, and how much anonymous memory (what is not a page of a file) each step took at most. The packed
set and the features go to a temporary folder: at 100,000 images of 128 pixels 5 GB, and 3 GB for HOG.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from made import made_set

from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.holes import draw_bank
from ssl_ce.inpainters.nearest import Nearest
from ssl_ce.manifest import device_name


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("descriptors", nargs="*", default=["hog", "pixels"])
    parser.add_argument("--contexts", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=128, help="side of the images, pixels; the hole's is half of it")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--folder", help="where the temporary folder is made")
    options = parser.parse_args()

    print(f"{device_name('cpu')}; {options.contexts:,} contexts of {options.size} px, {options.queries} queries")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with measured("pack"):
            searched = made_set("train", 10**9, options.contexts, options.size, folder)
        images = made_set("test", 0, options.queries, options.size, folder).read(range(options.queries))
        holes = draw_bank("center", 1, 0, options.size, options.size).expand(options.queries, -1, -1, -1)
        for reference in options.descriptors:
            inpainter = Nearest(load_descriptor(reference), searched, FeatureCache(folder))
            with measured(f"{reference}: describe and answer"):
                first = inpainter.fill(images.masked_fill(holes, 0), holes)
            with measured(f"{reference}: answer again"):
                again = inpainter.fill(images.masked_fill(holes, 0), holes)
            assert torch.equal(first, again)


@contextmanager
def measured(step: str) -> Iterator[None]:
    """Print what `step` took: seconds, and the most anonymous memory above what there was before, looked at every
    20 ms."""
    before, most, done = anonymous_mib(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, anonymous_mib() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - started
        done.set()
        watcher.join()
    print(f"{step:30} {seconds:8.1f} s   at most {most:6.0f} MiB more of anonymous memory", flush=True)


def anonymous_mib() -> float:
    """Anonymous resident memory of this process (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


if __name__ == "__main__":
    main()
