"""`ce inpaint`, typed at the prompt: a user's own pictures at any size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_ce.inpainters.pictures import crop_around, fill_picture


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows to the right and green downwards: what is missing follows from what is there."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    picture[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    picture[..., 2] = 60
    return picture


def read(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture
def picture(ce, tmp_path: Path) -> np.ndarray:
    pixels = ramp(90, 140)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return pixels


def test_a_rectangle_is_filled_and_nothing_else_changes(ce, picture):
    answer = ce("inpaint telea picture.png --holes 20,30,40,25 -o filled.png")
    assert answer.code == 0, answer.err
    assert answer.out == "filled.png: 1,000 of 12,600 pixels filled by telea.\n"
    filled = read("filled.png")
    hole = np.zeros((90, 140), dtype=bool)
    hole[30:55, 20:60] = True
    assert (filled[~hole] == picture[~hole]).all()
    assert np.abs(filled[hole].astype(int) - picture[hole]).mean() < 12


def test_a_mask_image_says_what_is_missing(ce, picture):
    mask = np.zeros((90, 140), dtype=np.uint8)
    mask[10:30, 100:120] = 255
    Image.fromarray(mask).save("mask.png")
    assert ce("inpaint navier-stokes picture.png --holes mask.png -o filled.png").code == 0
    filled = read("filled.png")
    assert (filled[mask == 0] == picture[mask == 0]).all()
    assert (filled[mask == 255] != 0).any()


def test_what_is_transparent_is_filled(ce, picture):
    layer = np.dstack([picture, np.full((90, 140), 255, dtype=np.uint8)])
    layer[40:60, 60:80, 3] = 0
    Image.fromarray(layer).save("layer.png")
    assert "400 of 12,600 pixels" in ce("inpaint telea layer.png --holes auto -o filled.png").out
    filled = read("filled.png")
    known = layer[..., 3] == 255
    assert (filled[known] == picture[known]).all()
    assert np.abs(filled[~known].astype(int) - picture[~known]).mean() < 12


@pytest.mark.parametrize("holes", ["center", "5,5,20,20", "0,0,30,10", "60,40,70,45"])
def test_a_network_fills_a_picture_larger_than_itself(ce, picture, tiny_run: Path, holes: str):
    answer = ce(f"inpaint {tiny_run} picture.png --holes {holes} -o filled.png")
    assert answer.code == 0, answer.err
    filled = read("filled.png")
    changed = (filled != picture).any(2)
    assert changed.any()
    if holes != "center":
        x, y, w, h = map(int, holes.split(","))
        inside = np.zeros((90, 140), dtype=bool)
        inside[y : y + h, x : x + w] = True
        assert not (changed & ~inside).any()


def test_a_picture_smaller_than_the_network_is_enlarged_for_it(ce, tiny_run: Path):
    Image.fromarray(ramp(20, 24)).save("small.png")
    assert ce(f"inpaint {tiny_run} small.png --holes 8,8,6,6 -o filled.png").code == 0
    assert read("filled.png").shape == (20, 24, 3)


def test_fills_are_set_side_by_side(ce, picture, tiny_run: Path):
    answer = ce(f"inpaint telea picture.png --compare mean-color,{tiny_run} -o out.png")
    assert answer.code == 0, answer.err
    assert Path("out.png").is_file()
    assert read("out-compare.png").shape[1] > 4 * 140
    assert "out-compare.png: telea, mean-color," in answer.out


def test_the_nearest_context_is_pasted(ce, picture, photo_folder: Path):
    answer = ce(f"inpaint nearest:hog picture.png --index {photo_folder} --size 64 --holes 40,30,24,24 -o filled.png")
    assert answer.code == 0, answer.err
    changed = (read("filled.png") != picture).any(2)
    assert changed[30:54, 40:64].mean() > 0.9
    assert not changed[:30].any()


def test_several_pictures_go_into_a_folder(ce, picture):
    Image.fromarray(ramp(50, 60)).save("other.jpg", quality=95)
    assert ce("inpaint telea picture.png other.jpg -o filled").code == 0
    assert sorted(path.name for path in Path("filled").iterdir()) == ["other.png", "picture.png"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("telea picture.png -o filled.jpg", "written as PNG"),
        ("telea picture.png picture.png -o filled", "called picture"),
        ("telea picture.png other.png -o filled.png", "2 pictures do not fit into one file"),
        ("telea nowhere.png -o filled.png", "nowhere.png cannot be read: No such file"),
        ("telea picture.png --holes auto -o filled.png", "no transparent pixels"),
        ("telea picture.png --holes 100,10,60,10 -o filled.png", "reaches beyond picture.png, which is 140 x 90"),
        ("telea picture.png --holes nothing.png -o filled.png", "neither center, auto"),
        ("telea picture.png --holes small.png -o filled.png", "is 10 x 10 pixels and picture.png is 140 x 90"),
        ("telea picture.png --holes black.png -o filled.png", "Nothing is missing"),
        ("telea picture.png --holes white.png -o filled.png", "Everything is missing"),
        ("telea picture.png -o picture.png", "picture.png exists already"),
        ("telea picture.png -o picture.png --force", "picture.png exists already"),
        ("tela picture.png -o filled.png", "Did you mean telea"),
        ("nearest:hog picture.png -o filled.png", "--index"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(ce, picture, line: str, words: str):
    Image.fromarray(ramp(20, 20)).save("other.png")
    for name, grey, shape in (("small", 255, (10, 10)), ("black", 0, (90, 140)), ("white", 255, (90, 140))):
        Image.fromarray(np.full(shape, grey, dtype=np.uint8)).save(f"{name}.png")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    answer = ce(f"inpaint {line}")
    assert answer.code == 2
    assert words in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place", [(0, 0), (60, 100), (30, 50), (0, 130)])
@pytest.mark.parametrize("reach", [1.0, 0.5])
def test_the_crop_holds_the_hole_and_for_a_centre_network_in_its_middle(place: tuple[int, int], reach: float):
    hole = torch.zeros(90, 140, dtype=torch.bool)
    top, left = place
    hole[top : top + 20, left : left + 10] = True
    crop = crop_around(hole, 32, reach)
    assert crop.top <= top
    assert crop.left <= left
    assert crop.top + crop.side >= top + 20
    assert crop.left + crop.side >= left + 10
    if reach < 1.0:
        assert abs(crop.top + crop.side / 2 - (top + 10)) <= 1
        assert crop.side >= 2 * 20
    else:
        assert crop.top >= 0
        assert crop.left >= 0
        assert crop.top + crop.side <= 90
        assert crop.left + crop.side <= 140


def test_what_a_sized_inpainter_fills_comes_back_to_its_place():
    """An inpainter that paints the coordinates it sees: at full size they are the picture's own, up to resizing."""

    class Painter:
        name = identity = "painter"
        size = 32

        def fill(self, images: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
            self.seen = images.clone()
            # The ramp goes on under the hole: what the columns beside it say.
            column = images[0, 0].float().masked_fill(holes[0, 0], torch.nan).nanmean(0)
            painted = column.round().to(torch.uint8)[None, None, None].expand_as(images)
            return torch.where(holes, painted, images)

        def state_hash(self) -> str:
            return ""

    picture = torch.from_numpy(ramp(90, 140).transpose(2, 0, 1).copy())
    hole = torch.zeros(1, 90, 140, dtype=torch.bool)
    hole[:, 30:60, 50:80] = True
    filled = fill_picture(Painter(), picture, hole)
    error = (filled[0].int() - picture[0].int()).abs()[hole[0]]
    assert error.float().mean() < 4  # one pixel at the painter's size is two of the picture's, and 1.8 levels each
