from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.boxes import Boxes
from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import PackedImages, boxes_of
from ssl_ce.errors import UserError

SIZE = 64


def xml(*objects: tuple[str, tuple[int, int, int, int]], size: tuple[int, int] | None = None, marks: str = "") -> str:
    """An annotation; boxes as VOC writes them: from 1, the last pixel within. `size` is width, height."""
    inside = "".join(
        f"<object><name>{name}</name>{marks}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox><part><name>ear</name></part></object>"
        for name, (x1, y1, x2, y2) in objects
    )
    native = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation>{native}{inside}</annotation>"


def write(root: Path, name: str, pixels: np.ndarray, annotation: str) -> None:
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.png")
    (root / "Annotations" / f"{name}.xml").write_text(annotation)


def opened(root: Path, split: str = "all", **options: object) -> PackedImages:
    given = {"size": SIZE, "cache": root.parent / "packed", **options}
    return open_set(str(root), split, DataOptions(**given))  # type: ignore[arg-type]


def found(images: ImageSet) -> Boxes:
    boxes = boxes_of(images)
    assert boxes is not None
    return boxes


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize(("width", "height"), [(150, 100), (101, 143), (64, 64), (37, 40), (1500, 40)])
def test_boxes_are_where_the_packed_image_shows_them(tmp_path: Path, fit: str, width: int, height: int) -> None:
    """A white rectangle on black, found again in the packed pixels."""
    left, top = width // 2 - width // 5, height // 4
    right, bottom = width // 2 + width // 7, height - height // 5
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[top:bottom, left:right] = 255
    write(tmp_path / "set", "a", pixels, xml(("thing", (left + 1, top + 1, right, bottom)), size=(width, height)))
    images = opened(tmp_path / "set", fit=fit)
    (inside,) = found(images).read([0])
    white = images.read([0])[0, 0].numpy() / 255.0
    x1, y1, x2, y2 = inside.boxes[0]
    row, column = np.argwhere(white >= 0.9 * white.max()).mean(axis=0).round().astype(int)
    assert (x1, x2) == pytest.approx(_edges(white[row]), abs=0.6)
    assert (y1, y2) == pytest.approx(_edges(white[:, column]), abs=0.6)
    assert inside.boxes.dtype == np.float32
    assert (inside.labels.tolist(), inside.dropped) == ([0], 0)


def _edges(line: np.ndarray) -> tuple[float, float]:
    """Where white begins and ends: each pixel counts by how white it is, from the line's middle outwards."""
    line = line / line.max()
    middle = int(np.flatnonzero(line > 0.9).mean())
    return middle - line[:middle].sum(), middle + line[middle:].sum()


def test_what_is_cut_off_is_difficult_or_dropped(tmp_path: Path) -> None:
    objects = {"kept": (50, 10, 120, 90), "sliver": (1, 10, 60, 90), "gone": (1, 10, 40, 90)}
    pixels = np.zeros((100, 200, 3), dtype=np.uint8)  # the centre is columns 50 to 150, at 0.64 of the size
    write(tmp_path / "set", "a", pixels, xml(*objects.items()))
    boxes = found(opened(tmp_path / "set"))
    assert boxes.classes == ("gone", "kept", "sliver")
    (inside,) = boxes.read([0])
    assert [boxes.classes[label] for label in inside.labels] == ["kept", "sliver"]
    assert inside.difficult.tolist() == [False, True]
    assert inside.dropped == 1
    # 49 of VOC's pixels counted from 1 is left of the square's border: cut to 0.
    assert inside.boxes[0] == pytest.approx([0.0, 9 * 0.64, 70 * 0.64, 90 * 0.64], abs=1e-4)
    assert inside.boxes[1] == pytest.approx([0.0, 9 * 0.64, 10 * 0.64, 90 * 0.64], abs=1e-4)


def test_voc_marks_and_the_numbers_that_are_asked_for(tmp_path: Path) -> None:
    pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    write(tmp_path / "set", "a", pixels, xml(("dog", (1, 1, 9, 9)), marks="<difficult>1</difficult>"))
    write(tmp_path / "set", "b", pixels, xml(("cat", (1, 1, 9, 9)), ("dog", (5, 5, 9, 9))))
    write(tmp_path / "set", "c", pixels, xml())
    boxes = found(opened(tmp_path / "set"))
    first, second, third = boxes.read([0, 1, 2])
    assert (first.labels.tolist(), first.difficult.tolist()) == ([1], [True])
    assert (second.labels.tolist(), second.difficult.tolist()) == ([0, 1], [False, False])
    assert third.boxes.shape == (0, 4)
    assert boxes.read([1], classes=("dog", "fox", "cat"))[0].labels.tolist() == [2, 0]
    with pytest.raises(UserError, match=r"b\.xml: There is no class named 'cat'\. Known: dog\."):
        boxes.read([1], classes=("dog",))


def test_they_follow_a_split_a_part_and_images_that_were_left_out(tmp_path: Path) -> None:
    for number in range(10):
        pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
        pixels[:, : number + 1] = 255
        write(tmp_path / "set", f"{number}", pixels, xml(("bar", (1, 1, number + 1, SIZE))))
    (tmp_path / "set" / "JPEGImages" / "3.png").write_text("broken")
    for images in (opened(tmp_path / "set", allow_unreadable=True), opened(tmp_path / "set", "test")):
        for part in (images, images.subset([1, 0], "part")):
            widths = [inside.boxes[0, 2] for inside in found(part).read(range(len(part)))]
            assert widths == [(image[0, 0] == 255).sum() for image in part.read(range(len(part)))]


def test_without_annotations_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "set" / "a.png")
    assert boxes_of(opened(tmp_path / "set")) is None


ENTITY = '<!DOCTYPE a [<!ENTITY b "thing">]><annotation><object><name>&b;</name></object></annotation>'


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("not xml", r"it is not XML \(syntax error"),
        (ENTITY, "declares a document type"),
        (ENTITY.encode("utf-16"), "declares a document type"),
        ("<annotation>" + " " * (1 << 20) + "</annotation>", "larger than a megabyte"),
        ("<annotation><object><bndbox/></object></annotation>", "an object has no name"),
        ("<annotation><object><name>a</name></object></annotation>", "an object has no bndbox/xmin"),
        (xml(("a", (5, 5, 4, 9))), "the box of 'a' has no area"),
        (xml(("a", (1, 1, 9, 9))).replace("<xmin>1", "<xmin>one"), "bndbox/xmin is 'one', not a number of pixels"),
        (xml(("a", (1, 1, 9, 9))).replace("<xmin>1", "<xmin>nan"), "bndbox/xmin is 'nan', not a number of pixels"),
        (xml(("a", (1, 1, 9, 9)), size=(20, 30)), r"of an image of 20 x 30 pixels; .*a\.png is 64 x 64"),
        (None, r"a\.png has no annotation in"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path: Path, annotation: str | bytes | None, words: str) -> None:
    pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    write(tmp_path / "set", "a", pixels, "")
    write(tmp_path / "set", "b", pixels, xml())
    path = tmp_path / "set" / "Annotations" / "a.xml"
    if annotation is None:
        path.unlink()
    else:
        path.write_bytes(annotation if isinstance(annotation, bytes) else annotation.encode())
    with pytest.raises(UserError, match=words) as error:
        found(opened(tmp_path / "set")).read([0])
    assert "a.xml" in str(error.value) or annotation is None
    assert "\n" not in str(error.value)
