from __future__ import annotations

import numpy as np
import torch

from ssl_ce.descriptors.color import ColorHistogram


def test_it_equals_numpys_histogram_of_the_context() -> None:
    images = torch.randint(0, 256, (3, 3, 9, 11), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    holes = torch.rand(3, 1, 9, 11, generator=torch.Generator().manual_seed(4)) < 0.3
    for bins in (5, 8):
        described = ColorHistogram(bins=bins).describe(images, holes)
        for image, hole, vector in zip(images.numpy(), holes.numpy(), described, strict=True):
            colours = image[:, ~hole[0]].T
            edges = [np.linspace(0, 256, bins + 1)] * 3
            counts, _ = np.histogramdd(colours, edges)
            np.testing.assert_allclose(vector, np.sqrt(counts / counts.sum()).ravel(), atol=1e-6)


def test_it_has_512_dimensions_and_length_1() -> None:
    images = torch.randint(0, 256, (2, 3, 30, 20), dtype=torch.uint8)
    described = ColorHistogram().describe(images)
    assert described.shape == (2, 512)
    torch.testing.assert_close(described.norm(dim=1), torch.ones(2))


def test_where_colours_stand_does_not_matter() -> None:
    images = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(ColorHistogram().describe(images), ColorHistogram().describe(images.flip(2)))
