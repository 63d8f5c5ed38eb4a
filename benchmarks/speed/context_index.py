"""A large index of contexts: time, and memory that does not grow with it, for `nearest:DESCRIPTOR`.

    python benchmarks/speed/context_index.py [--contexts 100000] [--size 128] [--queries 100] [hog pixels]
    python benchmarks/speed/context_index.py --out results/speed

Packs made images, describes them under a centre hole of half the side, and fills that hole in other images from the
nearest. Prints seconds, and how much anonymous memory (what is not a page of a file) each step took at most. The packed
set and the features go to a temporary folder: at 100,000 images of 128 pixels 5 GB, and 3 GB for HOG.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from made import made_set
from memory import anonymous_mib, watched
from side_by_side import Sheet, arguments

from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.holes import draw_bank
from ssl_ce.inpainters.nearest import Nearest


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=None)
    parser.add_argument("descriptors", nargs="*", default=["hog", "pixels"])
    parser.add_argument("--contexts", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=128, help="side of the images, pixels; the hole's is half of it")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--folder", help="where the temporary folder is made")
    options = parser.parse_args()

    what = f"{options.contexts:,} contexts of {options.size} px, {options.queries} queries"
    sheet = Sheet("context-index", f"An index of {what}", options.out)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with measured(sheet, "pack"):
            searched = made_set("train", 10**9, options.contexts, options.size, folder)
        images = made_set("test", 0, options.queries, options.size, folder).read(range(options.queries))
        holes = draw_bank("center", 1, 0, options.size, options.size).expand(options.queries, -1, -1, -1)
        for reference in options.descriptors:
            inpainter = Nearest(load_descriptor(reference), searched, FeatureCache(folder))
            with measured(sheet, f"{reference}: describe and answer"):
                first = inpainter.fill(images.masked_fill(holes, 0), holes)
            with measured(sheet, f"{reference}: answer again"):
                again = inpainter.fill(images.masked_fill(holes, 0), holes)
            assert torch.equal(first, again)
    sheet.write()


@contextmanager
def measured(sheet: Sheet, step: str) -> Iterator[None]:
    """Keep what `step` took: seconds, and the most anonymous memory above what there was before."""
    before, started = anonymous_mib(), time.perf_counter()
    with watched() as most:
        yield
    row = {"step": step, "seconds": time.perf_counter() - started, "more anonymous memory, MiB": most.mib - before}
    sheet.row(row)


if __name__ == "__main__":
    main()
