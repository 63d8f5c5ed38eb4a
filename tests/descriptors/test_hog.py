from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from skimage.feature import hog

from ssl_ce.descriptors.hog import Hog
from ssl_ce.errors import UserError


def peer(image: torch.Tensor, cell: int = 8, block: int = 2, orientations: int = 9) -> np.ndarray:
    return hog(
        image.permute(1, 2, 0).numpy(),
        orientations=orientations,
        pixels_per_cell=(cell, cell),
        cells_per_block=(block, block),
        block_norm="L2-Hys",
        channel_axis=-1,
    )


def photo(top: int, left: int, height: int, width: int) -> torch.Tensor:
    crop = data.astronaut()[top : top + height, left : left + width]
    return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))[None]


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (40, 24), (64, 96)])
@pytest.mark.parametrize("cell", [4, 5, 8])
def test_it_equals_scikit_images_on_noise_and_on_photos(size: tuple[int, int], cell: int) -> None:
    noise = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(cell), dtype=torch.uint8)
    images = torch.cat([noise, noise // 64 * 80, photo(60, 170, *size), photo(300, 20, *size)])
    described = Hog(cell=cell).describe(images)
    assert described.shape[1] == Hog(cell=cell).dim(*size)
    for image, vector in zip(images, described, strict=True):
        np.testing.assert_allclose(vector, peer(image, cell), atol=1e-5)


@pytest.mark.parametrize("orientations", [4, 8, 12])
def test_angles_on_the_edge_of_two_bins_fall_to_the_same_side(orientations: int) -> None:
    # Few grey levels: most gradients are multiples of 45 degrees.
    images = torch.randint(0, 3, (4, 3, 40, 40), generator=torch.Generator().manual_seed(2), dtype=torch.uint8) * 90
    described = Hog(orientations=orientations, block=3).describe(images)
    for image, vector in zip(images, described, strict=True):
        np.testing.assert_allclose(vector, peer(image, 8, 3, orientations), atol=1e-5)


def test_a_32_pixel_image_has_324_dimensions_and_1764_with_cells_of_4() -> None:
    assert Hog().dim(32, 32) == 324
    assert Hog(cell=4).dim(32, 32) == 1764


def test_batches_of_any_length_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    together = Hog().describe(images)
    monkeypatch.setattr("ssl_ce.descriptors.hog._PIXELS_AT_ONCE", 2 * 32 * 32)
    torch.testing.assert_close(Hog().describe(images), together)


def test_gradients_that_touch_a_hole_are_left_out() -> None:
    """Against a plain loop over pixels, blocks of one cell."""
    images = torch.randint(0, 256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(8), dtype=torch.uint8)
    hole = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    hole[..., 5:9, 6:12] = True
    image, missing = images[0].double().numpy(), hole[0, 0].numpy()
    histograms = np.zeros((2, 2, 9))
    for y in range(16):
        for x in range(16):
            touched = missing[max(y - 1, 0) : y + 2, x].any() or missing[y, max(x - 1, 0) : x + 2].any()
            if touched:
                continue
            down = image[:, y + 1, x] - image[:, y - 1, x] if 0 < y < 15 else np.zeros(3)
            right = image[:, y, x + 1] - image[:, y, x - 1] if 0 < x < 15 else np.zeros(3)
            channel = np.hypot(down, right).argmax()
            angle = np.rad2deg(np.arctan2(down[channel], right[channel])) % 180
            histograms[y // 8, x // 8, int(angle // 20)] += np.hypot(down, right)[channel] / 64
    unit = histograms / np.sqrt((histograms**2).sum(-1, keepdims=True) + 1e-10)
    expected = np.minimum(unit, 0.2)
    expected /= np.sqrt((expected**2).sum(-1, keepdims=True) + 1e-10)
    np.testing.assert_allclose(Hog(block=1).describe(images, hole)[0], expected.ravel(), atol=1e-5)


def test_an_image_too_small_for_one_block_is_refused_with_advice() -> None:
    with pytest.raises(UserError, match=r"at least 16 x 16 pixels.*hog\?cell=3"):
        Hog().describe(torch.zeros(1, 3, 12, 40, dtype=torch.uint8))
