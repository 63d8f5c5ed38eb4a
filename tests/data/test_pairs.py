from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_ce.data.pairs import as_packed, match_by_name
from ssl_ce.errors import UserError


def test_names_match_but_for_their_suffix_at_whatever_depth() -> None:
    images = [Path("x/photo/0001.jpg"), "x/photo/0002.jpg", "x/photo/v1.2.png"]
    assert match_by_name(images, ["0002.png", "0001.png", "other.png"]) == ["0001.png", "0002.png", None]
    assert match_by_name(images, ["photo/v1.2.tif", "0001.bmp"]) == ["0001.bmp", None, "photo/v1.2.tif"]
    assert match_by_name(images, []) == [None, None, None]
    assert match_by_name(["10001.jpg"], ["0001.png"]) == [None]
    assert match_by_name(["0001.jpg"], ["deep/er/0001.png"]) == ["deep/er/0001.png"]


def test_of_several_the_one_with_the_most_folders_in_common_is_taken() -> None:
    images = ["train/left/00.png", "train/right/00.png"]
    assert match_by_name(images, ["left/00.png", "right/00.png"]) == ["left/00.png", "right/00.png"]
    assert match_by_name(images[:1], ["right/00.png", "other/left/00.png"]) == ["other/left/00.png"]


def test_names_that_are_not_unique_are_refused() -> None:
    with pytest.raises(UserError, match=r"00\.png has the name of both left/00\.png and right/00\.png"):
        match_by_name(["left/00.png", "right/00.png"], ["00.png"])
    with pytest.raises(UserError, match=r"both 1\.bmp and 1\.png have the name of a/1\.jpg"):
        match_by_name(["a/1.jpg"], ["1.bmp", "1.png"])


def test_an_image_that_is_there_twice_takes_its_mask_twice() -> None:
    assert match_by_name(["a/1.jpg", "a/1.jpg"], ["1.png"]) == ["1.png", "1.png"]


def test_what_belongs_to_an_image_has_its_size_or_the_squares(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    Image.new("RGB", (24, 16)).save(image)
    path = tmp_path / "mask.png"
    values = np.random.default_rng(0).integers(0, 255, (16, 24)).astype(np.uint8)
    assert np.array_equal(as_packed(values, path, image, 16, "crop"), values[:, 4:20])
    assert np.array_equal(as_packed(values[:, :16], path, image, 16, "crop"), values[:, :16])
    with pytest.raises(UserError, match=r"mask\.png is 23 x 16 pixels, and its image .*image\.png is 24 x 16, packed"):
        as_packed(values[:, :23], path, image, 16, "crop")


def test_the_size_of_an_image_is_that_of_the_upright_one(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (24, 16)).save(tmp_path / "turned.jpg", exif=exif)
    upright = np.ones((24, 16), dtype=np.uint8)
    assert as_packed(upright, tmp_path / "mask.png", tmp_path / "turned.jpg", 8, "pad", beyond=9).tolist()[0][0] == 9
    with pytest.raises(UserError, match="is 16 x 24, packed at 8 x 8"):
        as_packed(upright.T, tmp_path / "mask.png", tmp_path / "turned.jpg", 8, "pad")
