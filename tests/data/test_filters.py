"""References with filters: ?where=NAME&count=N."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_ce.data import DataOptions, datasets, open_set, splits_of
from ssl_ce.data.filters import Filters, split_filters
from ssl_ce.data.inspecting import inspect_split
from ssl_ce.data.opening import find_dataset, pack_to, packed_file, read_source
from ssl_ce.data.source import Dataset, Source
from ssl_ce.errors import UserError

ATTRIBUTES = ("Mustache", "Young", "Smiling")
# One row for each of six faces; -1 marks what VOC would call difficult.
MARKS = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, -1]])


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photo_folder, tmp_path / "photos"))


@pytest.fixture
def options(tmp_path: Path) -> DataOptions:
    return DataOptions(size=8, cache=tmp_path / "packed")


def faces() -> Source:
    pixels = [np.full((8, 8, 3), 20 * number, dtype=np.uint8) for number in range(len(MARKS))]
    return Source("faces", "train", pixels, "multilabel", ATTRIBUTES, MARKS.astype(np.int64))


def shades(source: Source) -> list[int]:
    """Which faces these are."""
    return [int(np.asarray(image)[0, 0, 0]) // 20 for image in source.images]


def names(reference: str, options: DataOptions, split: str = "train") -> list[str]:
    source = read_source(find_dataset(reference), reference, split, options)
    return ["/".join(Path(str(image)).parts[-2:]) for image in source.images]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("Mustache", [0, 1, 4]),
        ("Mustache,Young", [0, 4]),
        ("Mustache, Young ,Smiling", [4]),
        ("!Young", [1, 3]),
        ("Mustache,-Young", [1]),
        ("Smiling", [1, 2, 4]),
        ("!Smiling", [0, 3]),
    ],
)
def test_attributes_are_all_there_or_not_there(where: str, expected: list[int]) -> None:
    kept = Filters(where).apply(faces(), seed=0)
    assert shades(kept) == expected
    assert kept.targets is not None
    assert np.array_equal(kept.targets, MARKS[expected])
    assert kept.classes == ATTRIBUTES
    assert kept.origin == {"where": where}


@pytest.mark.parametrize(
    ("where", "expected"), [("3", {3}), ("3,5", {3, 5}), ("!3", set(range(10)) - {3}), ("3,5,-5", {3})]
)
def test_classes_are_any_of_those_named(where: str, expected: set[int], options: DataOptions) -> None:
    whole, some = open_set("digits", "test", options), open_set(f"digits?where={where}", "test", options)
    rows = np.flatnonzero(np.isin(whole.targets(), list(expected)))
    assert np.array_equal(some.targets(), whole.targets()[rows])
    assert np.array_equal(some.read(range(len(some))), whole.read(rows))
    assert some.classes == whole.classes


def test_a_folders_classes_can_be_chosen(photos: Path, options: DataOptions) -> None:
    images = open_set(f"{photos}/?where=right&count=5", "train", options)
    assert (len(images), images.name, images.classes) == (5, "photos", ("left", "right"))
    assert images.targets().tolist() == [1] * 5
    assert images.source == {
        "ref": f"{photos}/?where=right&count=5",
        "size": 8,
        "fit": "crop",
        "folder": "train",
        "where": "right",
        "count": 5,
        "count_seed": 0,
    }


def test_only_what_is_asked_for_is_decoded(photos: Path, options: DataOptions) -> None:
    for broken in (photos / "train" / "left").iterdir():
        broken.write_bytes(b"broken")
    assert open_set(f"{photos}?where=right", "train", options).unreadable == 0


def test_the_count_is_chosen_by_seed_and_name_and_keeps_the_order(photos: Path, tmp_path: Path) -> None:
    whole = names(str(photos), DataOptions())
    some = names(f"{photos}?count=10", DataOptions())
    assert len(some) == 10
    assert some == [name for name in whole if name in some]
    assert some == names(f"{photos}?count=10", DataOptions())
    assert some != names(f"{photos}?count=10", DataOptions(seed=1))
    assert set(names(f"{photos}?count=4", DataOptions())) < set(some)
    # neither where the folder lies nor an image that joins it matters to the rest
    moved = Path(shutil.copytree(photos, tmp_path / "elsewhere"))
    assert names(f"{moved}?count=10", DataOptions()) == some
    Image.new("RGB", (8, 8)).save(moved / "train" / "left" / "new.png")
    assert len(set(names(f"{moved}?count=10", DataOptions())) & set(some)) >= 9


def test_each_filter_has_a_packed_file_of_its_own(photos: Path, options: DataOptions) -> None:
    references = [f"{photos}{query}" for query in ("", "?where=left", "?where=right", "?count=12", "?count=24")]
    prints = [open_set(reference, "train", options).fingerprint for reference in references]
    assert prints[0] == prints[4]  # all of them
    assert len(set(prints)) == 4
    assert len(list(options.cache_folder().glob("*"))) == 4


def test_splits_and_headers_are_read_through_filters(photos: Path, options: DataOptions) -> None:
    reference = f"{photos}?where=left"
    assert splits_of(reference) == ("train", "test")
    found = inspect_split(reference, "train", options)
    assert (found.n, found.class_counts) == (12, (12, 0))


def test_what_filters_leave_can_be_packed_but_a_packed_file_opens_whole(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "left.pack"
    assert pack_to(f"{photos}?where=left", "train", out, DataOptions(size=8)).n == 12
    assert len(open_set(str(out), "train")) == 12
    for call in (lambda: open_set(f"{out}?count=3", "train"), lambda: splits_of(f"{out}?count=3")):
        with pytest.raises(UserError, match=r"opens as a whole.*ce data pack 'REF\?count=3'"):
            call()


def test_a_folder_with_a_question_mark_in_its_name_is_that_folder(photos: Path, options: DataOptions) -> None:
    odd = photos.rename(photos.parent / "what?count=3")
    assert len(open_set(str(odd), "train", options)) == 24
    assert len(open_set(f"{odd}?count=3", "train", options)) == 3
    assert packed_file(str(odd)) is None
    assert split_filters(str(odd)) == (str(odd), Filters())


def test_a_name_with_commas_is_one_name(options: DataOptions) -> None:
    source = Source(
        "things",
        "train",
        [np.zeros((4, 4, 3), dtype=np.uint8)] * 3,
        "classes",
        ("tench, Tinca tinca", "tench", "crane"),
        np.arange(3),
    )
    assert Filters("tench, Tinca tinca,crane").apply(source, 0).targets.tolist() == [0, 2]  # type: ignore[union-attr]
    assert Filters("tench").apply(source, 0).targets.tolist() == [1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("faces?where=Moustache", "There is no attribute of faces named 'Moustache'. Did you mean Mustache?"),
        ("faces?where=!Yung", "There is no attribute of faces named 'Yung'. Did you mean Young?"),
        ("faces?where=Young,mustache", "named 'mustache'. Did you mean Mustache?"),
        ("faces?where=Mustache,!Mustache", "has no image with where=Mustache,!Mustache"),
        ("faces?where=Mustache&count=4", "has 3 images with where=Mustache, fewer than count=4. Ask for at most 3."),
        ("faces?count=7", "The train split of faces has 6 images, fewer than count=7"),
        ("faces?count=0", "count is a number of images from 1; '0' is not"),
        ("faces?count=half", "'half' is not"),
        ("faces?count=", "count is empty"),
        ("faces?wher=Young", "There is no option of 'faces' named 'wher'. Did you mean where?"),
        ("faces?where=Young&where=Smiling", "where is given twice"),
        ("faces?Young", "as in REF?where=NAME&count=N"),
        ("faces?", "as in REF?where=NAME&count=N"),
        ("?count=3", "as in REF?where=NAME&count=N"),
        ("facs?count=3", "There is no dataset named 'facs'. Did you mean faces"),
        ("nowhere/at?count=3", "There is no folder or packed file nowhere/at."),
        ("digits?where=three", "There is no class of digits named 'three'"),
        ("plain?where=three", "plain has no labels, so where=three cannot choose among its images"),
    ],
)
def test_a_wrong_filter_is_refused_with_what_to_do(reference: str, message: str, options: DataOptions) -> None:
    unlabelled = Source("plain", "train", [np.zeros((8, 8, 3), dtype=np.uint8)])
    datasets.add("faces", Dataset(("train",), lambda split, options: faces()), "made faces")
    datasets.add("plain", Dataset(("train",), lambda split, options: unlabelled), "made images")
    try:
        with pytest.raises(UserError) as caught:
            open_set(reference, "train", options)
    finally:
        datasets.remove("faces")
        datasets.remove("plain")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not options.cache_folder().exists()
