"""GIST side by side: ours against the explicit loop of LMgist.m, on the same images in one process.

    python benchmarks/speed/gist.py [--size 128] [--images 32] [--rounds 5] [--out results/speed]

The loop is the published one, in double precision: for each image and each of 32 filters the filter's gain, a whole
inverse transform, its magnitude, and the mean of each of 16 cells. A second row has it with gains that are made once.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from side_by_side import Sheet, arguments
from skimage import data

from ssl_ce.descriptors.gist import Gist

Doubles = NDArray[np.float64]

_EDGE, _BORDER, _GRID = 5, 32, 4


def main() -> None:
    """Measure, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=128, help="side of the images and of GIST, pixels; a multiple of 4")
    parser.add_argument("--images", type=int, default=32, help="images a round")
    options = parser.parse_args()

    pixels = photographs(options.images, options.size)
    images, ours = torch.from_numpy(pixels), Gist(side=options.size)
    kept = gabor_gains(options.size + 2 * _BORDER)

    def loop(gains: list[Doubles] | None = None) -> Doubles:
        return np.stack([by_loops(image.astype(np.float64).mean(0), gains) for image in pixels])

    def describe() -> torch.Tensor:
        return ours.describe(images)

    sheet = Sheet("gist", "GIST beside its explicit loop", options.out)
    what = f"{options.images} images of {options.size} px"
    sheet.compare(what, {"ours": describe, "loop": loop}, options.rounds, target=10, amount=options.images)
    sides = {"ours": describe, "loop, gains made once": lambda: loop(kept)}
    sheet.compare(what, sides, options.rounds, amount=options.images)
    theirs = loop(kept)
    difference = np.abs(ours.describe(images).numpy() - theirs).max() / np.abs(theirs).max()
    sheet.note(f"Largest difference, as a share of the largest value: {difference:.1e}.")
    sheet.write()


def photographs(count: int, size: int) -> NDArray[np.uint8]:
    """Crops of scikit-image's photographs: uint8 (count, 3, size, size)."""
    generator = np.random.default_rng(0)
    crops = []
    for number in range(count):
        photo = (data.astronaut(), data.chelsea(), data.coffee())[number % 3]
        top, left = (int(generator.integers(0, side - 299)) for side in photo.shape[:2])
        crops.append(cv2.resize(photo[top : top + 300, left : left + 300], (size, size), interpolation=cv2.INTER_AREA))
    return np.stack(crops).transpose(0, 3, 1, 2).copy()


def by_loops(plane: Doubles, gains: list[Doubles] | None) -> Doubles:
    """GIST of one grey image (side, side): filter by filter, cell by cell."""
    side = len(plane)
    low = low_pass(side + 2 * _EDGE)
    gains = gains or gabor_gains(side + 2 * _BORDER)
    stretched = 255 * (plane - plane.min()) / (plane.max() - plane.min())
    padded = np.pad(np.log(stretched + 1), _EDGE, mode="symmetric")
    details = padded - np.fft.ifft2(np.fft.fft2(padded) * low).real
    local = np.sqrt(np.abs(np.fft.ifft2(np.fft.fft2(details**2) * low)))
    contrast = (details / (0.2 + local))[_EDGE:-_EDGE, _EDGE:-_EDGE]
    spectrum = np.fft.fft2(np.pad(contrast, _BORDER, mode="symmetric"))
    result = []
    for gain in gains:
        response = np.abs(np.fft.ifft2(spectrum * gain))[_BORDER:-_BORDER, _BORDER:-_BORDER]
        cell = side // _GRID
        starts = range(0, side, cell)
        result += [response[row : row + cell, column : column + cell].mean() for row in starts for column in starts]
    return np.array(result)


def low_pass(size: int) -> Doubles:
    """Of the prefilter, (size, size)."""
    x, y = _frequencies(size)
    return np.fft.ifftshift(np.exp(-(x**2 + y**2) / (4 / np.sqrt(np.log(2))) ** 2))


def gabor_gains(size: int) -> list[Doubles]:
    """The 32 filters, (size, size) each."""
    x, y = _frequencies(size)
    radius, angle = np.hypot(x, y) / size, np.angle(x + 1j * y)
    gains = []
    for scale in range(4):
        for orientation in range(8):
            turned = angle + np.pi / 8 * orientation
            turned -= 2 * np.pi * (turned > np.pi)
            gain = np.exp(-10 * 0.35 * (radius / (0.3 / 1.85**scale) - 1) ** 2 - 2 * np.pi * turned**2)
            gains.append(np.fft.ifftshift(gain))
    return gains


def _frequencies(size: int) -> tuple[Doubles, Doubles]:
    x, y = np.meshgrid(np.arange(-size / 2, size / 2), np.arange(-size / 2, size / 2))
    return x, y


if __name__ == "__main__":
    main()
