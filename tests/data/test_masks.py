from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_ce.data.masks import list_masks, masks_by_name, read_mask, read_masks
from ssl_ce.errors import UserError


def save(path: Path, values: object, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(path)
    return path


def square(side: int = 8, missing: slice = slice(2, 5)) -> np.ndarray:
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[missing, missing] = 255
    return mask


def test_grey_from_128_on_is_missing_whatever_the_file(tmp_path: Path) -> None:
    values = np.array([[0, 127, 128, 255]])
    for name, mode in (("grey.png", None), ("rgb.png", "RGB"), ("rgb.bmp", "RGB"), ("palette.png", "P")):
        assert read_mask(save(tmp_path / name, values, mode)).tolist() == [[False, False, True, True]]
    assert read_mask(save(tmp_path / "bits.png", [[0, 255]], "1")).tolist() == [[False, True]]
    deep = np.array([[0, 32767, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_mask(tmp_path / "deep.png").tolist() == [[False, False, True, True]]


def test_masks_of_any_size_become_squares_and_what_is_added_is_known(tmp_path: Path) -> None:
    wide = np.full((10, 20), 255, dtype=np.uint8)
    wide[:, :7] = 0
    paths = [save(tmp_path / "wide.png", wide), save(tmp_path / "same.png", square())]
    crop, same = read_masks(paths, 10, "crop")
    assert np.array_equal(crop, wide[:, 5:15] > 0)
    assert same.sum() == pytest.approx(9 * (10 / 8) ** 2, abs=3)
    padded = next(iter(read_masks(paths[:1], 20, "pad")))
    assert np.array_equal(padded[5:15], wide > 0)
    assert not padded[:5].any()
    assert not padded[15:].any()
    squashed = next(iter(read_masks(paths[:1], 10, "squash")))
    assert np.array_equal(squashed, wide[:, 1::2] > 0)


def test_a_mask_of_an_image_has_its_size(tmp_path: Path) -> None:
    image, mask = save(tmp_path / "image.png", np.zeros((12, 8, 3))), save(tmp_path / "mask.png", square())
    assert len(list(read_masks([mask], 8, "crop", [image]))) == 1
    with pytest.raises(
        UserError, match=r"mask\.png is 8 x 8 pixels, and its image .*image\.png is 8 x 12, packed at 6"
    ):
        list(read_masks([mask], 6, "crop", [image]))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((8, 8)), r"bad\.png leaves nothing missing\. White"),
        (np.full((8, 8), 200), r"bad\.png leaves everything missing\. White"),
        (
            np.hstack([square(8, slice(1, 3)), np.zeros((8, 24))]),
            r"nothing missing once it is 8 x 8 \(crop, from 32 x 8",
        ),
    ],
)
def test_a_mask_without_a_hole_or_a_context_is_refused(tmp_path: Path, values: np.ndarray, words: str) -> None:
    paths = [save(tmp_path / "good.png", square()), save(tmp_path / "bad.png", values)]
    with pytest.raises(UserError, match=words):
        list(read_masks(paths, 8, "crop"))


def test_an_unreadable_mask_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(UserError, match=r"The mask .*bad\.png cannot be read: not an image"):
        list(read_masks([tmp_path / "bad.png"], 8, "crop"))


def test_masks_are_listed_at_any_depth_and_matched_by_name(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.png", "3.png"):
        save(tmp_path / name, square())
    (tmp_path / "notes.txt").write_text("no mask")
    masks = list_masks(tmp_path)
    assert list(masks.names) == ["3.png", "a/1.png", "b/2.png"]
    assert masks_by_name(masks, ["x/a/1.jpg", "x/b/4.jpg", "y/3.jpg"]) == [
        tmp_path / "a/1.png",
        None,
        tmp_path / "3.png",
    ]
    with pytest.raises(
        UserError, match=r"cannot be told apart by name: 3\.png has the name of both a/3\.jpg and b/3\.jpg"
    ):
        masks_by_name(masks, ["a/3.jpg", "b/3.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"No mask images in .*empty"):
        list_masks(tmp_path / "empty")


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    photograph = np.clip(np.random.default_rng(0).normal(128, 40, (40, 40)), 0, 255).astype(np.uint8)
    with pytest.raises(UserError, match=r"is no mask: .* of it is neither black nor white"):
        read_mask(save(tmp_path / "photo.png", photograph, None))
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "red.png")
    with pytest.raises(UserError, match="is no mask: 100% of it"):
        read_mask(tmp_path / "red.png")
