from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_ce.inpainters.fitting import SCALES, band_around, best_fit, fitted

SIDE = 32


def picture(seed: int, side: int = SIDE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 9, 9, generator=generator) * 255
    smooth = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)[0]
    return smooth.round().clamp(0, 255).to(torch.uint8)


def box(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    hole = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    hole[:, top:bottom, left:right] = True
    return hole


HOLES = {"inside": box(10, 22, 8, 20), "at the border": box(0, 12, 20, 32)}


@pytest.fixture(params=HOLES)
def hole(request: pytest.FixtureRequest) -> torch.Tensor:
    return HOLES[request.param]


def test_the_band_is_the_context_within_two_pixels() -> None:
    band = band_around(HOLES["inside"])
    assert torch.equal(band, box(8, 24, 6, 22) & ~HOLES["inside"])


def test_unaligned_the_least_squared_difference_in_the_band_wins(hole: torch.Tensor) -> None:
    image, candidates = picture(0), torch.stack([picture(seed) for seed in range(1, 9)])
    band = band_around(hole).expand(3, -1, -1)
    errors = torch.tensor([float((c.double() - image.double())[band].square().mean()) for c in candidates])
    fit = best_fit(image.masked_fill(hole, 3), hole, candidates)
    assert fit.candidate == int(errors.argmin())
    assert fit[1:4] == (1.0, 0, 0)
    assert fit.error == pytest.approx(float(errors.min()))
    assert torch.equal(fitted(candidates, fit), candidates[fit.candidate])


def test_every_shift_and_scale_is_tried(hole: torch.Tensor) -> None:
    """Against a loop over candidates, scales and shifts, each drawn as `fitted` draws it."""
    image, candidates, align = picture(0), torch.stack([picture(11), picture(12)]), 2
    band = band_around(hole).expand(3, -1, -1)
    rows, columns = hole[0].any(1).nonzero()[:, 0], hole[0].any(0).nonzero()[:, 0]
    best = (math.inf,)
    for scale in SCALES:
        side = round(scale * SIDE)
        offset = (SIDE - side) // 2
        for number, candidate in enumerate(candidates):
            scaled = candidate
            if scale != 1.0:
                resized = F.interpolate(candidate[None].float(), (side, side), mode="bicubic", antialias=True)
                scaled = resized[0].round().clamp(0, 255).to(torch.uint8)
            for down in range(-align, align + 1):
                for right in range(-align, align + 1):
                    top, left = offset + down, offset + right
                    if top > rows[0] or left > columns[0] or top + side <= rows[-1] or left + side <= columns[-1]:
                        continue
                    moved = torch.stack([
                        torch.stack([scaled[:, min(max(y - top, 0), side - 1), min(max(x - left, 0), side - 1)]
                                     for x in range(SIDE)], -1) for y in range(SIDE)], 1)  # fmt: skip
                    error = float((moved.double() - image.double())[band].square().mean())
                    if error < best[0] - 1e-6:
                        best = (error, number, scale, down, right, moved)  # type: ignore[assignment]
    fit = best_fit(image.masked_fill(hole, 99), hole, candidates, align)
    assert fit.error == pytest.approx(best[0])
    assert (fit.candidate, fit.scale, fit.down, fit.right) == best[1:5]  # type: ignore[misc]
    assert torch.equal(fitted(candidates, fit), best[5])  # type: ignore[misc]


def test_of_equal_errors_the_first_candidate_unmoved_wins() -> None:
    """Saturated bands fit wherever they are put, and rounding must not choose among them."""
    image, hole = torch.full((3, SIDE, SIDE), 255, dtype=torch.uint8), HOLES["inside"]
    for seed in range(5):
        candidates = torch.stack([torch.where(hole, picture(10 * seed + number), image) for number in range(5)])
        candidates[:, :, 12:18, 11:17] = picture(seed)[:, :6, :6]
        candidates[:, :, :12] = candidates[:, :, 18:] = candidates[..., :11] = candidates[..., 17:] = 255
        assert best_fit(image, hole, candidates, align=2) == (0, 1.0, 0, 0, 0.0)


def test_a_moved_copy_is_moved_back() -> None:
    large = picture(7, SIDE + 8)
    image, hole = large[:, 4:-4, 4:-4], HOLES["inside"]
    moved = large[:, 1:-7, 6:-2]  # 3 pixels further up, 2 further right in the scene: its content comes 3 down, 2 left
    fit = best_fit(image, hole, torch.stack([picture(8), moved]), align=4)
    assert (fit.candidate, fit.scale, fit.down, fit.right) == (1, 1.0, -3, 2)
    assert fit.error == 0.0
    assert torch.equal(torch.where(hole, fitted(torch.stack([picture(8), moved]), fit), image), image)
