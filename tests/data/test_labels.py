from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.folders import folder_dataset
from ssl_ce.data.labels import UNLABELLED, LabelMaps
from ssl_ce.data.packing import PackedImages, files_of, label_maps_of
from ssl_ce.errors import UserError

SIZE = 12


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """train/ and test/ of six photographs and their maps: the map of photograph i is i where it is i + 100 red."""
    for split in ("train", "test"):
        for number in range(6):
            pixels = np.zeros((SIZE, SIZE + 6, 3), dtype=np.uint8)
            pixels[3:9, 3 + number : 9 + number, 0] = number + 100
            labels = np.where(pixels[..., 0] > 0, number, 11).astype(np.uint8)
            for folder, values, suffix in (("images", pixels, "bmp"), ("masks", labels, "png")):
                path = tmp_path / split / folder / f"{number}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(path)
    return tmp_path


def opened(root: Path, reference: str = "", **options: object) -> PackedImages:
    given = {"size": SIZE, "cache": root / "packed", **options}
    return open_set(f"{root}{reference}", "test", DataOptions(**given))  # type: ignore[arg-type]


def maps_of(images: object) -> LabelMaps:
    found = label_maps_of(images)  # type: ignore[arg-type]
    assert found is not None
    return found


def assert_aligned(images: object) -> None:
    """Where an image is red, its map has the number that the red stands for."""
    maps, files = maps_of(images), files_of(images) or ()  # type: ignore[arg-type]
    places = range(len(images))  # type: ignore[arg-type]
    assert len(maps) == len(places)
    for place in places:
        red = images.read([place])[0, 0]  # type: ignore[attr-defined]
        number = int(Path(files[place]).stem)
        # The antialiased edge aside.
        inside, outside = red > 0.75 * (number + 100), red < 0.25 * (number + 100)
        assert inside.any()
        labels = maps.read([place])[0]
        assert (labels[inside] == number).all()
        assert (labels[outside] != number).all()


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_maps_are_aligned_with_the_packed_images(street: Path, fit: str) -> None:
    images = opened(street, fit=fit)
    assert_aligned(images)
    maps = maps_of(images).read(range(6)).numpy()
    assert (maps.shape, maps.dtype) == ((6, SIZE, SIZE), np.uint8)
    assert (maps == UNLABELLED).any() == (fit == "pad")


def test_they_follow_a_filter_a_part_and_images_that_were_left_out(street: Path) -> None:
    (street / "test" / "images" / "2.bmp").write_text("broken")
    images = opened(street, allow_unreadable=True)
    assert [Path(file).name for file in files_of(images) or ()] == ["0.bmp", "1.bmp", "3.bmp", "4.bmp", "5.bmp"]
    assert_aligned(images)
    part = images.subset([4, 0, 2], "part")
    assert [Path(file).name for file in files_of(part) or ()] == ["5.bmp", "0.bmp", "3.bmp"]
    assert_aligned(part)
    (street / "test" / "images" / "2.bmp").unlink()
    few = opened(street, "?count=3")
    assert len(few) == 3
    assert_aligned(few)


def test_files_are_unknown_where_it_is_not_told_which_were_left_out(street: Path) -> None:
    """Packs of earlier versions only say how many."""
    (street / "test" / "images" / "2.bmp").write_text("broken")
    images = opened(street, allow_unreadable=True)
    assert images.metadata.dropped == (2,)
    source = folder_dataset(street).read("test", DataOptions())
    older = PackedImages(images.path, images.metadata.model_copy(update={"dropped": ()}), source)
    assert files_of(older) is None
    assert label_maps_of(older) is None


def test_what_is_split_by_seed_has_its_maps_too(street: Path) -> None:
    images = opened(street / "train", test_share=0.5)
    assert len(images) == 3
    assert_aligned(images)


def test_the_class_called_void_is_unlabelled(street: Path) -> None:
    names = {str(number): {"name": f"thing {number}", "rgb": [0, 0, number]} for number in range(6)}
    (street / "classes.json").write_text(json.dumps(names | {"11": {"name": "Void"}}))
    maps = maps_of(opened(street))
    assert maps.classes == {number: f"thing {number}" for number in range(6)}
    labels = maps.read([3])[0]
    assert set(labels.unique().tolist()) == {3, UNLABELLED}


@pytest.mark.parametrize("text", ['["sky", "road"]', '{"0": "sky", "1": "road"}'])
def test_classes_are_a_list_or_numbered(street: Path, text: str) -> None:
    (street / "test" / "classes.json").write_text(text)
    assert maps_of(opened(street)).classes == {0: "sky", 1: "road"}


@pytest.mark.parametrize("text", ["3", '{"sky": "0"}', '{"0": 1}', "{", '[{"rgb": [0, 0, 0]}]'])
def test_other_files_of_classes_are_refused_in_one_line(street: Path, text: str) -> None:
    (street / "classes.json").write_text(text)
    with pytest.raises(UserError, match=r"classes\.json") as caught:
        maps_of(opened(street)).read([0])
    assert "\n" not in str(caught.value)


def test_an_image_without_a_map_is_unlabelled(street: Path) -> None:
    (street / "test" / "masks" / "4.png").unlink()
    labels = maps_of(opened(street)).read([3, 4])
    assert (labels[1] == UNLABELLED).all()
    assert not (labels[0] == UNLABELLED).any()


def test_maps_that_are_no_numbers_or_do_not_fit_are_refused(street: Path) -> None:
    folder = street / "test" / "masks"
    Image.new("RGB", (SIZE + 6, SIZE)).save(folder / "1.png")
    Image.new("L", (SIZE, SIZE + 6)).save(folder / "2.png")
    (folder / "3.png").write_text("broken")
    Image.fromarray(np.full((SIZE, SIZE + 6), 300, dtype=np.uint16)).save(folder / "4.png")
    Image.new("L", (SIZE, SIZE), 5).save(folder / "5.png")
    maps = maps_of(opened(street))
    for number, words in ((1, "holds colours"), (2, "12 x 18 pixels"), (3, "not an image"), (4, "number 300")):
        with pytest.raises(UserError, match=rf"{number}\.png.*{words}"):
            maps.read([number])
    assert (maps.read([5]) == 5).all()
    assert maps.are_numbers()
    Image.new("RGB", (4, 4)).save(folder / "0.png")
    assert not maps_of(opened(street)).are_numbers()


def test_nothing_is_known_of_what_has_no_files_or_no_maps(street: Path, digits_test: PackedImages) -> None:
    assert files_of(digits_test) is None
    assert label_maps_of(digits_test) is None
    directly = PackedImages.open(opened(street).path)
    assert files_of(directly) is None
    assert label_maps_of(directly) is None
    plain = opened(street / "test" / "images", test_share=0.5)
    assert len(files_of(plain) or ()) == 3
    assert label_maps_of(plain) is None
    assert label_maps_of(plain.subset([0], "part")) is None


def test_boxes_and_blurred_maps_are_no_label_maps(street: Path) -> None:
    for path in (street / "test" / "masks").iterdir():
        path.rename(path.with_suffix(".jpg"))
    assert label_maps_of(opened(street)) is None
