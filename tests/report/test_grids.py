"""Picture grids show the right pixels in the right places."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from ssl_ce.errors import UserError
from ssl_ce.report.drawing import FRAME, FRAME_COLOR, GAP, MARGIN, MISSING_COLOR, text_width, wrapped
from ssl_ce.report.grids import Block, failures_grid, fills_grid, fills_strip, inpainting_grid, retrieval_grid

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


def test_a_retrieval_grid_frames_neighbours_of_the_querys_class_and_says_so_below(tmp_path):
    neighbours = torch.stack([TRUTH[[1, 2]], TRUTH[[0, 2]], TRUTH[[0, 1]]])
    relevant = np.array([[True, False], [False, False], [True, True]])
    plain = read(retrieval_grid(tmp_path / "plain.png", TRUTH, HOLES, {"hog": neighbours}))
    path = retrieval_grid(tmp_path / "grid.png", TRUTH, HOLES, {"hog": neighbours}, "a title", {"hog": relevant})
    sheet = read(path)
    green = (sheet == FRAME_COLOR).all(-1)
    assert green.sum() == relevant.sum() * ((64 + 2 * FRAME) ** 2 - 64**2)
    assert not (plain == FRAME_COLOR).all(-1).any()
    assert ((sheet == MISSING_COLOR).all(-1)).sum() == ((plain == MISSING_COLOR).all(-1)).sum()
    first = np.argwhere(green)[0] + FRAME
    inside = sheet[first[0] : first[0] + 64 : 2, first[1] : first[1] + 64 : 2]
    np.testing.assert_array_equal(inside[:8], as_pixels(neighbours[0])[0][:8])  # above the hole, none of it is covered
    last = np.nonzero(green.any(1))[0][-1] + 1
    assert (sheet[last:] < 200).any()  # the line below
    bare = read(retrieval_grid(tmp_path / "b.png", TRUTH, HOLES, {"hog": neighbours}, "", {"hog": relevant}))
    title = len(sheet) - len(bare)
    assert (sheet[:title] < 200).any()
    np.testing.assert_array_equal(sheet[title + MARGIN :], bare[MARGIN:])


def test_long_labels_of_a_strip_stand_in_lines_and_apart(tmp_path):
    picture = torch.full((3, 80, 200), 90, dtype=torch.uint8)
    names = [
        "nearest?complete=telea&k=20&fill=poisson&index=full:hog",
        "telea",
        "nearest?index=full:random:alexnet@conv3",
    ]
    sheet = read(fills_strip(tmp_path / "strip.png", dict.fromkeys(names, picture)))
    assert sheet.shape[1] == 2 * MARGIN + 3 * 200 + 2 * MARGIN  # no picture is moved by a label
    top = int(np.nonzero((sheet == 90).all(-1).sum(1) >= 200)[0][0])
    ink = (sheet[:top] < 200).any((0, 2))
    for left in (MARGIN + 200, MARGIN + 200 + MARGIN + 200):
        assert not ink[left : left + MARGIN].any()
    assert ink[MARGIN : MARGIN + 200].any()


def test_a_line_is_broken_after_marks_and_no_letter_is_lost():
    text = "nearest?k=20&fill=poisson&index=full:hog"
    lines = wrapped(text, 150)
    assert "".join(lines) == text
    assert len(lines) in (2, 3)
    assert all(line[-1] in "&?:" for line in lines[:-1])
    assert all(text_width(line) <= 150 for line in lines)
    assert wrapped(text, 1000) == [text]
    assert len(wrapped(text, 10)) == 3
    assert wrapped("a-word-of-its-own", 10) == ["a-word-of-its-own"]


def test_a_failures_grid_has_a_column_for_each_image_and_shows_the_error_under_the_hole(tmp_path):
    blocks = {"worst": Block(TRUTH, HOLES, FILLED, [("1 dB", "no. 5")] * 3)}
    sheet = read(failures_grid(tmp_path / "grid.png", "telea", blocks))
    missing = (sheet == MISSING_COLOR).all(-1)
    top, left = (int(np.nonzero(missing.any(axis))[0][0]) - 8 * 2 for axis in (1, 0))  # the holes begin at pixel 8
    sheet = sheet[:, : left + 3 * 64 + 2 * GAP + MARGIN]
    holes, fills, truth, errors = pictures(sheet, columns=3, rows=4, top=top)
    assert ((holes == MISSING_COLOR).all(-1) == HOLES[:, 0].numpy()).all()
    np.testing.assert_array_equal(fills, as_pixels(FILLED))
    np.testing.assert_array_equal(truth, as_pixels(TRUTH))
    for number, row, column in itertools.product(range(3), range(32), range(32)):
        if not HOLES[number, 0, row, column]:
            assert errors[number, row, column].tolist() == [235, 235, 235]
            continue
        given, true = (images[number, :, row, column].tolist() for images in (FILLED, TRUTH))
        error = sum(abs(a - b) for a, b in zip(given, true, strict=True)) / 3 / 255
        expected = [round(255 * part) for part in colormaps["inferno"](min(error / 0.5, 1.0))[:3]]
        assert np.abs(errors[number, row, column].astype(int) - expected).max() <= 1


def test_blocks_of_a_failures_grid_stand_apart_in_their_order(tmp_path):
    first, second = Block(TRUTH[:1], HOLES[:1], FILLED[:1], [("", "")]), Block(TRUTH, HOLES, TRUTH, [("", "")] * 3)
    one = read(failures_grid(tmp_path / "one.png", "", {"a": first}))
    both = read(failures_grid(tmp_path / "both.png", "", {"a": first, "b": second}))
    missing = (both == MISSING_COLOR).all(-1).any(0)
    starts = np.nonzero(missing[1:] & ~missing[:-1])[0]
    assert np.diff(starts).tolist() == [64 + 5 * GAP, 64 + GAP, 64 + GAP]
    assert one.shape[0] == both.shape[0]


def test_a_grid_refuses_what_are_no_images(tmp_path):
    with pytest.raises(UserError, match="uint8 RGB"):
        inpainting_grid(tmp_path / "grid.png", TRUTH.float(), HOLES, {})
    with pytest.raises(UserError, match="do not fit"):
        inpainting_grid(tmp_path / "grid.png", TRUTH, HOLES[:2], {})
    assert list(tmp_path.iterdir()) == []
