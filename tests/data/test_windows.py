from __future__ import annotations

import numpy as np
import pytest
import torch

from ssl_ce.data.windows import Windows, boxes_through_window, random_windows, through_windows
from ssl_ce.randomness import sample_keys

SIZE = 40


def windows(*rows: tuple[float, float, float, bool]) -> Windows:
    left, top, side, mirrored = zip(*rows, strict=True)
    return Windows(*(torch.tensor(values) for values in (left, top, side)), torch.tensor(mirrored))


def test_whole_and_half_windows_are_slices_of_the_image() -> None:
    images = torch.rand(4, 3, SIZE, SIZE)
    shown = through_windows(
        images,
        windows((0.0, 0.0, 1.0, False), (0.0, 0.0, 1.0, True), (0.25, 0.5, 0.5, False), (0.25, 0.5, 0.5, True)),
        "nearest",
    )
    assert torch.equal(shown[0], images[0])
    assert torch.equal(shown[1], images[1].flip(-1))
    enlarged = images[:, :, 20:40, 10:30].repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(shown[2], enlarged[2])
    assert torch.equal(shown[3], enlarged[3].flip(-1))


def test_a_smooth_image_is_shown_smoothly() -> None:
    """A plane ramp stays one, with the window's slope: what bilinear interpolation promises."""
    ramp = torch.arange(SIZE).float().expand(1, 1, SIZE, SIZE) + 0.5
    shown = through_windows(ramp, windows((0.3, 0.1, 0.6, False)))[0, 0, 0]
    expected = SIZE * 0.3 + 0.6 * (torch.arange(SIZE) + 0.5)
    assert torch.allclose(shown, expected, atol=1e-4)


def test_boxes_stay_on_what_they_frame() -> None:
    keys = sample_keys(0, 0, torch.arange(30), "window")
    drawn = random_windows(keys, 0.6)
    generator = np.random.default_rng(0)
    for place in range(30):
        x1, y1 = generator.integers(8, 16, 2)
        x2, y2 = generator.integers(20, 32, 2)
        image = torch.zeros(30, 1, SIZE, SIZE)
        image[place, 0, y1:y2, x1:x2] = 1.0
        shown = through_windows(image, drawn)[place, 0]
        (box,) = boxes_through_window(torch.tensor([[x1, y1, x2, y2]]).float(), drawn, place, SIZE).clamp(0, SIZE)
        rows, columns = torch.nonzero(shown.amax(1) > 0.5).flatten(), torch.nonzero(shown.amax(0) > 0.5).flatten()
        found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert box.tolist() == pytest.approx([float(edge) for edge in found], abs=1.01)


def test_windows_lie_within_the_image_and_follow_the_key() -> None:
    keys = sample_keys(3, 1, torch.arange(2000), "window")
    drawn = random_windows(keys, 0.5)
    assert ((drawn.left >= 0) & (drawn.left + drawn.side <= 1 + 1e-6)).all()
    assert ((drawn.top >= 0) & (drawn.top + drawn.side <= 1 + 1e-6)).all()
    assert drawn.side.min() > 0.5
    assert drawn.side.mean() == pytest.approx(0.75, abs=0.02)
    assert drawn.mirrored.float().mean() == pytest.approx(0.5, abs=0.05)
    part = random_windows(keys[[7, 3]], 0.5)
    assert all(torch.equal(a, b[[7, 3]]) for a, b in zip(part, drawn, strict=True))
