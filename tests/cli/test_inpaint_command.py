"""`ce inpaint`, typed at the prompt: a user's own pictures at any size."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ssl_ce.data.packing import PackedImages
from ssl_ce.inpainters import inpainters, load_inpainter
from ssl_ce.inpainters.loading import searches
from ssl_ce.inpainters.pictures import crop_around, fill_picture
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import load_recipe


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


def test_masks_in_a_folder_go_by_the_pictures_names(ce, picture):
    Image.fromarray(ramp(50, 60)).save("other.jpg", quality=95)
    for name, shape, place in (("picture", (90, 140), 10), ("other", (50, 60), 20), ("third", (7, 7), 1)):
        mask = np.zeros(shape, dtype=np.uint8)
        mask[place : place + 5, place : place + 5] = 255
        Path("masks/deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(f"masks/deep/{name}.png")
    answer = ce("inpaint telea picture.png other.jpg --holes masks -o filled")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        "filled/picture.png: 25 of 12,600 pixels filled by telea.",
        "filled/other.png: 25 of 3,000 pixels filled by telea.",
    ]
    known = np.ones((90, 140), dtype=bool)
    known[10:15, 10:15] = False
    assert (read("filled/picture.png")[known] == picture[known]).all()
    assert (read("filled/picture.png")[~known] != 0).any()


BORDER = {
    "corner": (slice(0, 12), slice(0, 15)),
    "left": (slice(20, 40), slice(0, 10)),
    "bottom": (slice(78, 90), slice(60, 90)),
    "right": (slice(30, 50), slice(130, 140)),
    "band": (slice(40, 46), slice(None)),
}


@pytest.mark.parametrize("place", BORDER)
@pytest.mark.parametrize("subject", [*inpainters.names(), "RUN", "nearest:hog", "nearest?k=2&fill=poisson:pixels"])
def test_a_hole_may_touch_the_border(ce, tiny_run: Path, photo_folder: Path, subject: str, place: str):
    picture = ramp(90, 140)
    # Enough texture for algorithms that match patches.
    picture += np.random.default_rng(0).integers(0, 60, picture.shape, dtype=np.uint8) // 2
    Image.fromarray(picture).save("picture.png")
    hole = np.zeros((90, 140), dtype=bool)
    hole[BORDER[place]] = True
    Image.fromarray(hole).save("mask.png")
    name = str(tiny_run) if subject == "RUN" else subject
    index = f" --index {photo_folder} --size 32" if searches(name) else ""
    answer = ce(f"inpaint '{name}' picture.png --holes mask.png -o filled.png{index}")
    assert answer.code == 0, answer.err
    filled = read("filled.png")
    assert filled.shape == picture.shape
    assert (filled[~hole] == picture[~hole]).all()
    assert (filled[hole] != 0).any(-1).mean() > 0.9


def grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(values[..., 0]))


def with_alpha(values: np.ndarray, mode: str) -> Image.Image:
    image = Image.fromarray(values).convert(mode)
    image.putalpha(Image.fromarray(OPAQUE))
    return image


# Transparent where the hole of the test is.
OPAQUE = np.full((40, 48), 255, dtype=np.uint8)
OPAQUE[10:20, 10:20] = 0
# How a picture is written, what it is read as (a channel, or all), and how far that may be off.
KINDS = {
    "grey.png": (grey, 0, 0),
    "grey-alpha.png": (lambda values: with_alpha(values, "L"), None, 0),
    "rgba.png": (lambda values: with_alpha(values, "RGBA"), None, 0),
    "palette.png": (lambda values: Image.fromarray(values // 64 * 64).quantize(256), None, 64),
    "cmyk.jpg": (lambda values: Image.fromarray(values).convert("CMYK"), None, 16),
    "deep-grey.png": (lambda values: Image.fromarray(values[..., 0].astype(np.uint16) * 257), 0, 0),
    "deep-grey.tif": (lambda values: Image.fromarray(values[..., 0].astype(np.uint16) * 257), 0, 0),
    "deep-rgb.png": (lambda values: values.astype(np.uint16) * 257, None, 0),
}


@pytest.mark.parametrize("name", KINDS)
def test_pictures_of_every_kind_are_filled_as_rgb(ce, name: str):
    values = ramp(40, 48)
    make, channel, tolerance = KINDS[name]
    made = make(values)
    if isinstance(made, np.ndarray):
        cv2.imwrite(name, made[..., ::-1])
    else:
        made.save(name, **({"quality": 95} if name.endswith("jpg") else {}))
    answer = ce(f"inpaint telea {name} --holes {'auto' if 'a.png' in name else '10,10,10,10'} -o filled/")
    assert answer.code == 0, answer.err
    assert answer.out == f"filled/{Path(name).stem}.png: 100 of 1,920 pixels filled by telea.\n"
    filled = read(f"filled/{Path(name).stem}.png")
    assert (filled.shape, filled.dtype) == ((40, 48, 3), np.uint8)
    if name == "grey-alpha.png":
        values = np.repeat(np.asarray(Image.fromarray(values).convert("L"))[..., None], 3, axis=2)
    expected = values if channel is None else np.repeat(values[..., channel : channel + 1], 3, axis=2)
    assert np.abs(filled.astype(int) - expected)[OPAQUE > 0].max() <= tolerance
    assert np.abs(filled.astype(int) - expected)[OPAQUE == 0].mean() < 12 + tolerance


def test_the_transparent_entry_of_a_palette_is_filled(ce):
    levels = np.repeat(np.arange(0, 240, 5, dtype=np.uint8)[None], 40, axis=0)
    palette = Image.fromarray(levels).convert("P")
    palette.save("palette.png", transparency=100)
    assert ce("inpaint telea palette.png --holes auto -o filled.png").out.startswith("filled.png: 40 of 1,920 pixels")
    known = levels != 100
    assert (read("filled.png")[known] == levels[known][:, None]).all()
    assert np.abs(read("filled.png")[~known].astype(int) - 100).max() < 12


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


def test_a_folder_without_splits_is_searched_whole(ce, picture, photo_folder: Path, monkeypatch: pytest.MonkeyPatch):
    searched = []

    def load(name: str, index, device: str):
        searched.append(len(index))
        return load_inpainter(name, index, device)

    monkeypatch.setattr("ssl_ce.inpainters.load_inpainter", load)
    line = "inpaint nearest:pixels picture.png --size 32 --holes 40,30,24,24"
    assert ce(f"{line} --index {photo_folder / 'train'} -o one.png").code == 0
    assert ce(f"{line} --index {photo_folder} -o two.png").code == 0
    assert searched == [24, 24]


@pytest.fixture
def centre_run(tmp_path: Path, digits_train: PackedImages) -> Path:
    """A run of one step that fills the central 16 of 32 pixels."""
    small = ("method.encoder.width=0.1", "method.decoder.width=0.1", "optim.steps=1", "optim.epochs=null")
    centre = ("method.decoder.output=center", "method.holes={strategy: center}", "data.source=digits")
    return pretrain(load_recipe("quickstart", [*small, *centre]), digits_train, tmp_path / "centre")


def test_a_centre_network_fills_no_hole_at_the_border(ce, picture, centre_run: Path):
    assert ce(f"inpaint {centre_run} picture.png --holes 1,30,20,20 -o inside.png").code == 0
    assert (read("inside.png") != picture).any()
    Image.fromarray(ramp(90, 140)).save("other.png")
    Path("masks").mkdir()
    for name, left in (("picture", 30), ("other", 0)):
        mask = np.zeros((90, 140), dtype=bool)
        mask[30:50, left : left + 20] = True
        Image.fromarray(mask).save(f"masks/{name}.png")
    for subject in ("RUN", "telea --compare RUN", "nearest?complete=RUN:pixels --index digits --size 32"):
        answer = ce(f"inpaint {subject.replace('RUN', 'centre')} picture.png other.png --holes masks -o filled")
        assert answer.code == 2
        assert "other.png, --holes masks/other.png: The hole touches the border of the picture" in answer.err
        assert "centre" in answer.err
        assert "decoder.output: image" in answer.err
        assert not Path("filled").exists()


def test_a_centre_network_fills_off_centre_holes_of_pictures_of_its_own_size(ce, centre_run: Path):
    Image.fromarray(ramp(32, 32)).save("small.png")
    for place in ("8,8,16,16", "1,2,10,10", "4,4,24,24"):
        answer = ce(f"inpaint centre small.png --holes {place} -o filled.png --force")
        assert answer.code == 0, answer.err
        x, y, w, h = map(int, place.split(","))
        changed = (read("filled.png") != ramp(32, 32)).any(2)
        assert changed[y : y + h, x : x + w].any()
        changed[y : y + h, x : x + w] = False
        assert not changed.any()


def test_several_pictures_go_into_a_folder(ce, picture):
    Image.fromarray(ramp(50, 60)).save("other.jpg", quality=95)
    assert ce("inpaint telea picture.png other.jpg -o filled").code == 0
    assert sorted(path.name for path in Path("filled").iterdir()) == ["other.png", "picture.png"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("telea picture.png -o filled.jpg", "Give a name ending in .png"),
        ("telea masks -o filled", "masks is a folder. Give its files: masks/*"),
        ("'nearest?k=3' picture.png -o filled.png", "Write nearest?k=3:hog."),
        ("nearest picture.png -o filled.png", "Write nearest:hog."),
        ("telea picture.png --holes 10,10,-5,5 -o filled.png", "is -5 pixels wide and 5 high. Give at least 1"),
        ("telea picture.png picture.png -o filled", "called picture"),
        ("telea picture.png other.png -o filled.png", "2 pictures do not fit into one file"),
        ("telea nowhere.png -o filled.png", "nowhere.png cannot be read: No such file"),
        ("telea picture.png --holes auto -o filled.png", "no transparent pixels"),
        ("telea picture.png --holes 100,10,60,10 -o filled.png", "reaches beyond picture.png, which is 140 x 90"),
        ("telea picture.png --holes nothing.png -o filled.png", "neither center, auto"),
        ("telea picture.png --holes text.png -o filled.png", "The mask text.png cannot be read: not an image"),
        ("telea text.png -o filled.png", "text.png cannot be read: not an image"),
        ("telea picture.png other.png --holes masks -o filled", "No mask in masks is called other, for other.png"),
        ("telea small.png picture.png --holes sizes -o filled", "sizes/picture.png is 10 x 10 pixels and picture.png"),
        ("telea small.png picture.png --holes holes -o filled", "--holes holes/picture.png: Nothing is missing"),
        ("telea picture.png --holes twice -o filled.png", "both picture.bmp and picture.png have the name of picture"),
        ("telea picture.png --holes empty -o filled.png", "No mask images in empty"),
        ("telea picture.png --holes small.png -o filled.png", "is 10 x 10 pixels and picture.png is 140 x 90"),
        ("telea picture.png --holes black.png -o filled.png", "Nothing is missing"),
        ("telea picture.png --holes white.png -o filled.png", "Everything is missing"),
        ("telea picture.png -o picture.png", "picture.png exists already"),
        ("telea picture.png -o picture.png --force", "picture.png exists already"),
        ("tela picture.png -o filled.png", "Did you mean telea"),
        ("nearest:hog picture.png -o filled.png", "Give --index FOLDER"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(ce, picture, line: str, words: str):
    Image.fromarray(ramp(20, 20)).save("other.png")
    for name, grey, shape in (("small", 255, (10, 10)), ("black", 0, (90, 140)), ("white", 255, (90, 140))):
        Image.fromarray(np.full(shape, grey, dtype=np.uint8)).save(f"{name}.png")
    Path("text.png").write_text("no image")
    hole = np.zeros((10, 10), dtype=np.uint8)
    hole[4:6, 4:6] = 255
    whole = np.zeros((90, 140), dtype=np.uint8)
    masks = {
        "masks/picture.png": hole, "sizes/small.png": hole, "sizes/picture.png": hole, "holes/small.png": hole,
        "holes/picture.png": whole, "twice/picture.png": hole, "twice/picture.bmp": hole,
    }  # fmt: skip
    for place, values in masks.items():
        Path(place).parent.mkdir(exist_ok=True)
        Image.fromarray(values).save(place)
    Path("empty").mkdir()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    answer = ce(f"inpaint {line}")
    assert answer.code == 2
    assert words in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place", [(0, 0), (60, 100), (30, 50), (0, 130)])
@pytest.mark.parametrize("reach", [1.0, 0.5, 0.4375])
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
        assert crop.side * reach >= 20
    else:
        assert crop.top >= 0
        assert crop.left >= 0
        assert crop.top + crop.side <= 90
        assert crop.left + crop.side <= 140


@pytest.mark.parametrize(("size", "side"), [(32, 14), (32, 8), (32, 16), (64, 31), (128, 56), (128, 15)])
def test_no_resizing_pushes_a_hole_over_what_a_centre_network_fills(size: int, side: int):
    class Centre:
        name = identity = "centre"

        def fill(self, images: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:
            rows, columns = holes[0, 0].any(1).nonzero(), holes[0, 0].any(0).nonzero()
            margin = (size - side) // 2
            assert margin <= min(rows.min(), columns.min())
            assert max(rows.max(), columns.max()) < margin + side
            return torch.where(holes, 200, images)

        def state_hash(self) -> str:
            return ""

    centre = Centre()
    centre.size, centre.reach = size, side / size  # type: ignore[attr-defined]
    picture = torch.full((3, 150, 160), 200, dtype=torch.uint8)
    for box in range(1, 80):
        hole = torch.zeros(1, 150, 160, dtype=torch.bool)
        hole[:, 30 : 30 + box, 41 : 41 + max(box - 2, 1)] = True
        filled = fill_picture(centre, picture.masked_fill(hole, 0), hole)
        assert (filled.int() - 200).abs().max() <= 10  # the ringing of bicubic resizing


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
