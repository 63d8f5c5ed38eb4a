"""Picture grids show the right pixels in the right places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_ce.errors import UserError
from ssl_ce.report.grids import GAP, MARGIN, MISSING_COLOR, fills_grid, inpainting_grid, retrieval_grid

TRUTH = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
HOLES = torch.zeros(3, 1, 32, 32, dtype=torch.bool)
HOLES[..., 8:24, 8:24] = True
FILLED = torch.where(HOLES, 7, TRUTH)


def read(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def pictures(sheet: np.ndarray, columns: int, rows: int, top: int = MARGIN) -> np.ndarray:
    """The pictures at the right end of `sheet`, shrunk to 32 pixels again: (rows, columns, 32, 32, 3)."""
    left = sheet.shape[1] - MARGIN - columns * 64 - (columns - 1) * GAP
    step = 64 + GAP
    return np.stack(
        [
            [
                sheet[top + r * step : top + r * step + 64 : 2, left + c * step : left + c * step + 64 : 2]
                for c in range(columns)
            ]
            for r in range(rows)
        ]
    )


def as_pixels(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def test_an_inpainting_grid_has_rows_of_holes_fills_and_truth(tmp_path):
    path = inpainting_grid(tmp_path / "new" / "grid.png", TRUTH, HOLES, {"telea": FILLED, "mean-color": TRUTH})
    holes, telea, mean, truth = pictures(read(path), columns=3, rows=4)
    assert (holes[:, 8:24, 8:24] == MISSING_COLOR).all()
    np.testing.assert_array_equal(holes[:, :8], as_pixels(TRUTH)[:, :8])
    np.testing.assert_array_equal(telea, as_pixels(FILLED))
    np.testing.assert_array_equal(mean, as_pixels(TRUTH))
    np.testing.assert_array_equal(truth, as_pixels(TRUTH))


def test_labels_stand_left_of_the_pictures_on_white(tmp_path):
    sheet = read(inpainting_grid(tmp_path / "grid.png", TRUTH, HOLES, {"x" * 200: FILLED}))
    assert (sheet[:, :MARGIN] == 255).all()
    for row in range(3):
        top = MARGIN + row * (64 + GAP)
        assert (sheet[top : top + 64, MARGIN : -MARGIN - 3 * 64 - 2 * GAP] < 128).any()
    assert sheet.shape[1] < 700


def test_a_grid_of_one_method_names_its_fills(tmp_path):
    fills_grid(tmp_path / "a.png", TRUTH, HOLES, FILLED)
    inpainting_grid(tmp_path / "b.png", TRUTH, HOLES, {"fills": FILLED})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_large_images_are_shown_as_they_are_and_one_hole_serves_all(tmp_path):
    large = TRUTH.repeat_interleave(3, 2).repeat_interleave(3, 3)
    sheet = read(inpainting_grid(tmp_path / "grid.png", large, torch.ones(1, 1, 96, 96) > 0, {}))
    assert sheet.shape[0] == 2 * MARGIN + 2 * 96 + GAP
    np.testing.assert_array_equal(sheet[-MARGIN - 96 : -MARGIN, -MARGIN - 96 : -MARGIN], as_pixels(large)[2])


def test_a_retrieval_grid_outlines_the_hole_on_each_neighbour(tmp_path):
    neighbours = torch.stack([TRUTH[[1, 2]], TRUTH[[0, 2]], TRUTH[[0, 1]]])
    path = retrieval_grid(tmp_path / "grid.png", TRUTH, HOLES, {"hog": neighbours, "pixels": neighbours.flip(1)})
    sheet = read(path)
    query = (sheet[:, MARGIN : MARGIN + 64] == MISSING_COLOR).all(-1)
    assert query.sum() == 3 * 32 * 32
    outline = (sheet[:, MARGIN + 64 :] == MISSING_COLOR).all(-1)
    assert outline.sum() == 3 * 2 * 2 * (4 * 31)


def test_a_grid_refuses_what_are_no_images(tmp_path):
    with pytest.raises(UserError, match="uint8 RGB"):
        inpainting_grid(tmp_path / "grid.png", TRUTH.float(), HOLES, {})
    with pytest.raises(UserError, match="do not fit"):
        inpainting_grid(tmp_path / "grid.png", TRUTH, HOLES[:2], {})
    assert list(tmp_path.iterdir()) == []
