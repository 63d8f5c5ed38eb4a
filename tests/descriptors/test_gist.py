from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from ssl_ce.descriptors.gist import Gist

SIDE = 32


def gist_by_loops(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(channels, side, side) in [0, 255] -> the descriptor: filter by filter, cell by cell, with full
    transforms."""
    side = planes.shape[-1]
    padded = np.pad(np.log(planes + 1), ((0, 0), (5, 5), (5, 5)), mode="symmetric")
    x, y = centred_frequencies(side + 10)
    low = np.fft.ifftshift(np.exp(-(x**2 + y**2) / (4 / np.sqrt(np.log(2))) ** 2))
    details = np.stack([plane - np.fft.ifft2(np.fft.fft2(plane) * low).real for plane in padded])
    local = np.sqrt(np.abs(np.fft.ifft2(np.fft.fft2(details.mean(0) ** 2) * low)))
    contrast = (details / (0.2 + local))[:, 5:-5, 5:-5]

    size = side + 64
    x, y = centred_frequencies(size)
    radius, angle = np.sqrt(x**2 + y**2) / size, np.angle(x + 1j * y)
    result = []
    for plane in contrast:
        spectrum = np.fft.fft2(np.pad(plane, 32, mode="symmetric"))
        for scale in range(4):
            for orientation in range(8):
                turned = angle + np.pi / 8 * orientation
                turned = turned + 2 * np.pi * (turned < -np.pi) - 2 * np.pi * (turned > np.pi)
                gain = np.exp(-10 * 0.35 * (radius / (0.3 / 1.85**scale) - 1) ** 2 - 2 * 1.0 * np.pi * turned**2)
                response = np.abs(np.fft.ifft2(spectrum * np.fft.ifftshift(gain)))[32:-32, 32:-32]
                cells = range(0, side, side // 4)
                result += [response[r : r + side // 4, c : c + side // 4].mean() for r in cells for c in cells]
    return np.array(result)


def centred_frequencies(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.meshgrid(np.arange(-size / 2, size / 2), np.arange(-size / 2, size / 2))
    return x, y


def stretched(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    return 255 * (planes - planes.min()) / (planes.max() - planes.min())


@pytest.fixture
def images() -> torch.Tensor:
    photo = data.astronaut()[40 : 40 + SIDE * 4 : 4, 170 : 170 + SIDE * 4 : 4].transpose(2, 0, 1)
    noise = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8)
    return torch.from_numpy(np.stack([photo, noise]))


def test_it_equals_an_explicit_loop_over_filters_and_cells(images: torch.Tensor) -> None:
    described = Gist(side=SIDE).describe(images)
    assert described.shape == (2, 512)
    for image, vector in zip(images.double().numpy(), described, strict=True):
        np.testing.assert_allclose(vector, gist_by_loops(stretched(image.mean(0, keepdims=True))), atol=1e-5)


def test_in_colour_each_channel_is_described(images: torch.Tensor) -> None:
    described = Gist(side=SIDE, color=True).describe(images)
    assert described.shape == (2, 1536)
    for image, vector in zip(images.double().numpy(), described, strict=True):
        np.testing.assert_allclose(vector, gist_by_loops(stretched(image)), atol=1e-5)


def test_it_is_the_same_in_any_batch(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Gist(side=SIDE).describe(images.repeat(3, 1, 1, 1))
    monkeypatch.setattr("ssl_ce.descriptors.gist._IMAGES_AT_ONCE", 1)
    torch.testing.assert_close(Gist(side=SIDE).describe(images), together[:2])


def test_stripes_answer_most_to_the_filter_along_their_frequency() -> None:
    stripes = (127 * (1 + np.sin(2 * np.pi * 0.3 * np.arange(64)))).astype(np.uint8)
    across = torch.from_numpy(np.broadcast_to(stripes, (1, 3, 64, 64)).copy())
    for image, orientation in ((across, 0), (across.transpose(2, 3), 4)):
        energy = Gist(side=64).describe(image).view(4, 8, 16).mean(2)
        assert divmod(int(energy.argmax()), 8) == (0, orientation)


def test_a_hole_changes_a_descriptor_far_less_than_a_black_square_does() -> None:
    photo = torch.from_numpy(data.astronaut()[:256:4, 130:386:4].transpose(2, 0, 1).copy())[None]
    hole = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    hole[..., 20:44, 20:44] = True
    gist = Gist(side=64)
    whole = gist.describe(photo)
    assert (gist.describe(photo, hole) - whole).norm() < 0.6 * (
        gist.describe(photo.masked_fill(hole, 0)) - whole
    ).norm()


def test_a_cell_wholly_missing_takes_the_mean_over_the_context() -> None:
    images = torch.randint(0, 256, (1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(6), dtype=torch.uint8)
    hole = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    hole[..., 8:16, 8:16] = True
    grids = Gist(side=SIDE).describe(images, hole).view(32, 16)
    others = [cell for cell in range(16) if cell != 5]
    torch.testing.assert_close(grids[:, 5], grids[:, others].mean(1))
