"""How fast holes are filled: images a second of each inpainter, on the same images and holes in one process.

    python benchmarks/speed/inpainting.py [--data REF] [--size 128] [--images 1000] [--holes center]
    python benchmarks/speed/inpainting.py telea nearest:hog runs/mine --data photos/

Without subjects: the ten that need no training. Without data: made images, twice as many of them to search. The time of
those that search includes the description of the train images. Each one's share of the whole is printed, and the time
of the whole, metrics included.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from made import made_set
from side_by_side import Sheet, arguments

from ssl_ce.data import DataOptions, open_set
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.inpainting import Inpainting, InpaintingConfig

TEN = (
    "mean-color", "telea", "navier-stokes", "biharmonic", "shift-map", "fsr", "nearest?index=full:hog",
    "nearest?index=full:gist", "nearest?complete=telea&k=5&fill=poisson:hog", "scene-completion",
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=None)
    parser.add_argument("subjects", nargs="*", default=TEN)
    parser.add_argument("--data", help="a dataset's name or a folder; made images by default")
    parser.add_argument("--size", type=int, default=128, help="side of the images, pixels")
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--holes", default="center", help="a region strategy")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        env = Env(cache=FeatureCache(Path(folder)))
        data = read(options.data, options.size, options.images, Path(folder))
        evaluator = Inpainting(InpaintingConfig(holes=(options.holes,)))
        what = f"{len(data.test):,} images of {options.size} px, {options.holes} holes"
        sheet = Sheet("inpainting", f"Filling holes: {what}", options.out)
        whole = 0.0
        for reference in options.subjects:
            started = time.perf_counter()
            subject = evaluator.resolve(reference, data, env.device)
            record = next(iter(evaluator.run(subject, data, env)))
            seconds = time.perf_counter() - started
            whole += seconds
            rate, psnr = len(data.test) / seconds, record.metrics["psnr"].value
            sheet.row({"inpainter": reference, "images/s": rate, "seconds": seconds, "PSNR, dB": f"{psnr:.2f}"})
        sheet.note(f"All {len(options.subjects)}: {whole:.0f} s.")
        sheet.write()


def read(reference: str | None, size: int, count: int, folder: Path) -> EvaluationData:
    """The first `count` test images, and all train images."""
    if reference is None:
        return EvaluationData(
            test=made_set("test", 0, count, size, folder), train=made_set("train", 10**9, 2 * count, size, folder)
        )
    options = DataOptions(size=size, progress=True)
    test = open_set(reference, "test", options)
    return EvaluationData(
        test=test.subset(range(min(count, len(test))), "test"), train=open_set(reference, "train", options)
    )


if __name__ == "__main__":
    main()
