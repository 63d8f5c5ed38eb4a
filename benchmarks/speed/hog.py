"""HOG side by side: ours against scikit-image, on the same images in one process.

    python benchmarks/speed/hog.py [--size 96] [--cell 8] [--images 200] [--rounds 5]

Prints images a second of both and the ratio (median, least and most over the rounds), and the largest difference.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from skimage.feature import hog as skimage_hog

from ssl_ce.descriptors.hog import Hog
from ssl_ce.manifest import device_name


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="side of the images, pixels")
    parser.add_argument("--cell", type=int, default=8, help="side of a cell, pixels")
    parser.add_argument("--images", type=int, default=200, help="images a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (options.images, options.size, options.size, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    ours = Hog(cell=options.cell)

    def peer() -> np.ndarray:
        cells = (options.cell, options.cell)
        described = [skimage_hog(image, 9, cells, (2, 2), block_norm="L2-Hys", channel_axis=-1) for image in pixels]
        return np.stack(described)

    difference = float(np.abs(ours.describe(images).numpy() - peer()).max())
    rounds = [(seconds(peer), seconds(lambda: ours.describe(images))) for _ in range(options.rounds)]
    ratios = sorted(theirs / own for theirs, own in rounds)
    theirs, own = (float(np.median([round_[place] for round_ in rounds])) for place in (0, 1))
    print(f"{device_name('cpu')}; {options.images} images of {options.size} px, cells of {options.cell} px")
    print(f"scikit-image {options.images / theirs:,.0f} images/s, ours {options.images / own:,.0f} images/s")
    print(f"ratio {np.median(ratios):.1f} (least {ratios[0]:.1f}, most {ratios[-1]:.1f})")
    print(f"largest difference {difference:.1e}")


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes, once."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
