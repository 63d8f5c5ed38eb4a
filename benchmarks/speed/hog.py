"""HOG side by side: ours against scikit-image, on the same images in one process.

python benchmarks/speed/hog.py [--size 96] [--cell 8] [--images 200] [--rounds 5] [--out results/speed]
"""

from __future__ import annotations

import numpy as np
import torch
from side_by_side import Sheet, arguments
from skimage.feature import hog as skimage_hog

from ssl_ce.descriptors.hog import Hog


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=96, help="side of the images, pixels")
    parser.add_argument("--cell", type=int, default=8, help="side of a cell, pixels")
    parser.add_argument("--images", type=int, default=200, help="images a round")
    options = parser.parse_args()

    pixels = np.random.default_rng(0).integers(0, 256, (options.images, options.size, options.size, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    ours = Hog(cell=options.cell)

    def peer() -> np.ndarray:
        cells = (options.cell, options.cell)
        described = [skimage_hog(image, 9, cells, (2, 2), block_norm="L2-Hys", channel_axis=-1) for image in pixels]
        return np.stack(described)

    sheet = Sheet("hog", "HOG beside scikit-image", options.out)
    what = f"{options.images} images of {options.size} px, cells of {options.cell} px"
    sides = {"ours": lambda: ours.describe(images), "scikit-image": peer}
    sheet.compare(what, sides, options.rounds, target=10, amount=options.images)
    sheet.note(f"Largest difference: {np.abs(ours.describe(images).numpy() - peer()).max():.1e}.")
    sheet.write()


if __name__ == "__main__":
    main()
