from __future__ import annotations

import numpy as np
import torch
from skimage.restoration import inpaint_biharmonic

from ssl_ce.holes import draw
from ssl_ce.inpainters import load_inpainter
from ssl_ce.randomness import sample_keys


def test_it_is_scikit_images_rounded() -> None:
    images = torch.randint(0, 256, (2, 3, 33, 40), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    holes = draw("random-region", sample_keys(0, 0, torch.arange(2), "test"), 33, 40)
    filled = load_inpainter("biharmonic").fill(images, holes)
    for image, hole, result in zip(images.numpy(), holes[:, 0].numpy(), filled.numpy(), strict=True):
        values = np.where(hole, 0, image) / 255.0
        expected = inpaint_biharmonic(values, hole, channel_axis=0)
        np.testing.assert_array_equal(result, np.round(255 * expected).astype(np.uint8))


def test_a_cubic_surface_comes_back() -> None:
    """What solves the biharmonic equation is not changed by it: x³ − 3xy², to a grey level."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    surface = 128 + 50 * (x**3 - 3 * x * y**2)
    images = torch.from_numpy(np.repeat(np.round(surface).astype(np.uint8)[None, None], 3, axis=1))
    holes = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
    holes[..., 14:30, 16:34] = True
    filled = load_inpainter("biharmonic").fill(images, holes)
    assert (filled.int() - images.int()).abs().max() <= 2
