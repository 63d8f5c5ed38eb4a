from __future__ import annotations

import numpy as np
import pytest
import torch

from ssl_ce.holes import draw
from ssl_ce.inpainters.blending import BLENDS, Blend, paste, poisson
from ssl_ce.randomness import sample_keys

SIDE = 24


def picture(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 5, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")[0]
    return smooth.round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(params=["center", "random-region", "at the border"])
def hole(request: pytest.FixtureRequest) -> torch.Tensor:
    if request.param != "at the border":
        return draw(request.param, sample_keys(0, 0, torch.arange(1), "test"), SIDE, SIDE)[0]
    hole = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    hole[:, :7, 10:] = True
    hole[:, 20:, :3] = True
    return hole


def poisson_by_a_loop(image: np.ndarray, hole: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Equation 7 of the paper, pixel by pixel, as a dense system: (h, w) each."""
    places = list(zip(*np.nonzero(hole), strict=True))
    number = {place: row for row, place in enumerate(places)}
    matrix, wanted = np.zeros((len(places), len(places))), np.zeros(len(places))
    for (y, x), row in number.items():
        for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if not (0 <= other[0] < SIDE and 0 <= other[1] < SIDE):
                continue
            matrix[row, row] += 1
            wanted[row] += source[y, x] - source[other]
            if other in number:
                matrix[row, number[other]] -= 1
            else:
                wanted[row] += image[other]
    result = image.copy()
    result[hole] = np.linalg.solve(matrix, wanted)
    return result.clip(0, 255)


def test_poisson_solves_the_papers_equation(hole: torch.Tensor) -> None:
    image, source = picture(0), picture(1)
    filled = poisson(image.masked_fill(hole, 77), hole, source)
    for channel in range(3):
        expected = poisson_by_a_loop(*(x.double().numpy() if x.ndim == 2 and x.dtype != torch.bool else x.numpy()
                                       for x in (image[channel], hole[0], source[channel])))  # fmt: skip
        # Rounding of exact halves may go either way.
        assert np.abs(filled[channel].numpy() - expected).max() <= 0.5 + 1e-6


def test_poisson_of_the_image_itself_in_other_colours_is_the_image(hole: torch.Tensor) -> None:
    image = picture(2).clamp(40, 200)
    assert torch.equal(poisson(image.masked_fill(hole, 0), hole, image + 30), image)


@pytest.mark.parametrize("name", list(BLENDS))
def test_the_context_comes_back_and_what_is_under_the_hole_is_not_seen(name: str, hole: torch.Tensor) -> None:
    image, source, blend = picture(3), picture(4), BLENDS[name]
    filled = blend(image, hole, source)
    assert filled.dtype == torch.uint8
    assert torch.equal(filled.masked_fill(hole, 0), image.masked_fill(hole, 0))
    assert torch.equal(blend(image.masked_fill(hole, 200), hole, source), filled)
    assert not torch.equal(filled, image)


def test_paste_is_the_source() -> None:
    hole = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    hole[:, 0] = False
    assert torch.equal(paste(picture(0), hole, picture(1))[:, 1:], picture(1)[:, 1:])


@pytest.mark.parametrize("name", ["poisson", "seamless-clone"])
def test_blending_takes_a_difference_of_colour_out(name: str) -> None:
    hole = draw("center", sample_keys(0, 0, torch.arange(1), "test"), SIDE, SIDE)[0]
    image = picture(5).clamp(40, 200)
    blend: Blend = BLENDS[name]
    error = (blend(image, hole, image + 30).double() - image.double())[hole.expand(3, -1, -1)].abs().mean()
    assert error < 6  # of the 30 that a paste leaves
