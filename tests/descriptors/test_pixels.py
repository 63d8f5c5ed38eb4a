from __future__ import annotations

import numpy as np
import pytest
import torch

from ssl_ce.descriptors.pixels import Pixels
from ssl_ce.descriptors.resizing import area_mean, smooth_fill


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 12, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_each_cell_is_the_mean_of_its_pixels(images: torch.Tensor) -> None:
    expected = images.numpy().reshape(2, 3, 4, 3, 4, 5).mean((3, 5)) / 255
    np.testing.assert_allclose(Pixels(side=4).describe(images), expected.reshape(2, -1), atol=1e-6)


def test_a_pixel_in_two_cells_counts_in_each_by_its_share() -> None:
    row = torch.tensor([10.0, 20.0, 30.0]).view(1, 1, 1, 3)
    # Two cells of a pixel and a half each.
    torch.testing.assert_close(
        area_mean(row, 1, 2).flatten(), torch.tensor([(10 + 0.5 * 20) / 1.5, (30 + 0.5 * 20) / 1.5])
    )


def test_grey_is_the_luma(images: torch.Tensor) -> None:
    red, green, blue = images.double().unbind(1)
    luma = (0.299 * red + 0.587 * green + 0.114 * blue) / 255
    described = Pixels(side=4, color=False).describe(images)
    np.testing.assert_allclose(described, luma.numpy().reshape(2, 4, 3, 4, 5).mean((2, 4)).reshape(2, -1), atol=1e-6)


def test_under_a_hole_a_cell_is_the_mean_of_its_context(images: torch.Tensor) -> None:
    holes = torch.zeros(2, 1, 12, 20, dtype=torch.bool)
    holes[:, :, :4, :7] = True
    described = Pixels(side=4).describe(images, holes).view(2, 3, 4, 4)
    for image, grid in zip(images.double().numpy() / 255, described, strict=True):
        context = ~holes[0, 0].numpy()
        np.testing.assert_allclose(grid[:, 1, 0], image[:, 3:6, :5][:, context[3:6, :5]].mean(1), atol=1e-6)
        # The first cell is wholly missing: the mean colour of the context.
        np.testing.assert_allclose(grid[:, 0, 0], image[:, context].mean(1), atol=1e-6)


def test_small_images_are_described_too() -> None:
    described = Pixels().describe(torch.full((1, 3, 5, 7), 51, dtype=torch.uint8))
    torch.testing.assert_close(described, torch.full((1, 768), 0.2))


def test_a_smooth_fill_keeps_the_known_and_makes_no_new_extremes() -> None:
    values = torch.rand(3, 2, 23, 18, generator=torch.Generator().manual_seed(1))
    weights = torch.ones(3, 1, 23, 18)
    weights[:, :, 5:20, 3:15] = 0
    filled = smooth_fill(values * weights, weights)
    assert torch.equal(filled * weights, values * weights)
    for channel, original, mask in zip(
        filled.flatten(0, 1), values.flatten(0, 1), weights.repeat(1, 2, 1, 1).flatten(0, 1), strict=True
    ):
        known = original[mask > 0]
        assert known.min() - 1e-6 <= channel.min()
        assert channel.max() <= known.max() + 1e-6


def test_a_smooth_fill_continues_a_ramp_better_than_the_mean() -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32).contiguous()
    weights = torch.ones(1, 1, 32, 32)
    weights[:, :, 8:24, 8:24] = 0
    filled = smooth_fill(ramp * weights, weights)
    assert (filled - ramp).abs().max() < 0.5 * (ramp[weights == 0] - ramp[weights > 0].mean()).abs().max()
