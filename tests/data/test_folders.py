from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from ssl_ce.data.folders import folder_dataset
from ssl_ce.data.options import DataOptions
from ssl_ce.data.source import Source
from ssl_ce.errors import UserError


def make(root: Path, *names: str) -> Path:
    """Image files (and others, by their suffix) at these paths below `root`."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg"):
            Image.new("RGB", (4, 4)).save(path)
        else:
            path.write_text("no image")
    return root


def read(root: Path, split: str, **options: object) -> Source:
    return folder_dataset(root).read(split, DataOptions(**options))  # type: ignore[arg-type]


def shown(root: Path, source: Source) -> list[str]:
    return [Path(str(source.images[i])).relative_to(root).as_posix() for i in range(len(source))]


def test_class_folders_below_train_and_test_are_numbered_in_sorted_order(tmp_path: Path) -> None:
    make(tmp_path, "train/zebra/1.png", "train/ant/2.png", "train/ant/1.png", "test/zebra/9.png")
    assert folder_dataset(tmp_path).splits == ("train", "test")
    train, test = read(tmp_path, "train"), read(tmp_path, "test")
    assert shown(tmp_path, train) == ["train/ant/1.png", "train/ant/2.png", "train/zebra/1.png"]
    assert train.classes == test.classes == ("ant", "zebra")
    assert train.targets is not None
    assert train.targets.tolist() == [0, 0, 1]
    assert test.targets is not None
    assert test.targets.tolist() == [1]
    assert train.task == "classes"


def test_val_stands_in_for_a_missing_test_and_says_so(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.png", "val/a/2.png")
    assert folder_dataset(tmp_path).splits == ("train", "test")
    assert shown(tmp_path, read(tmp_path, "test")) == ["val/a/2.png"]
    assert read(tmp_path, "test").origin == {"folder": "val"}


def test_val_is_a_split_of_its_own_beside_test(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.png", "val/a/2.png", "test/a/3.png")
    assert folder_dataset(tmp_path).splits == ("train", "val", "test")
    assert shown(tmp_path, read(tmp_path, "val")) == ["val/a/2.png"]


def test_one_level_of_class_folders_is_split_by_seed_and_stratified(tmp_path: Path) -> None:
    make(tmp_path, *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(10)))
    train, test = read(tmp_path, "train", seed=5), read(tmp_path, "test", seed=5)
    assert sorted(shown(tmp_path, train) + shown(tmp_path, test)) == shown(tmp_path, read(tmp_path, "all"))
    assert test.targets is not None
    assert test.targets.tolist() == [0, 0, 1, 1]
    assert test.origin == {"split_seed": 5, "test_share": 0.2}
    assert shown(tmp_path, test) != shown(tmp_path, read(tmp_path, "test", seed=6))


def test_a_flat_folder_has_no_targets(tmp_path: Path) -> None:
    make(tmp_path, *(f"{i}.png" for i in range(10)))
    train, test = read(tmp_path, "train"), read(tmp_path, "test")
    assert (len(train), len(test)) == (8, 2)
    assert (train.task, train.classes, train.targets) == ("none", (), None)


@pytest.mark.parametrize("pair", [("photo", "label"), ("images", "masks"), ("JPEGImages", "Annotations")])
def test_of_photographs_and_pixel_maps_only_the_photographs_are_read(tmp_path: Path, pair: tuple[str, str]) -> None:
    photos, maps = pair
    make(tmp_path, f"train/{photos}/1.png", f"train/{maps}/1.png", f"test/{photos}/2.png", f"test/{maps}/2.xml")
    train = read(tmp_path, "train")
    assert shown(tmp_path, train) == [f"train/{photos}/1.png"]
    assert train.task == "none"
    assert shown(tmp_path, read(tmp_path, "test")) == [f"test/{photos}/2.png"]


def test_hidden_files_are_passed_over_and_others_counted(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.png", "train/a/.2.png", "train/.b/1.png", "train/a/notes.txt", "train/Thumbs.db")
    train = read(tmp_path, "train")
    assert shown(tmp_path, train) == ["train/a/1.png"]
    assert train.ignored == 2
    assert train.classes == ("a",)


def test_an_empty_class_folder_is_no_class(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.png", "train/b/readme.txt")
    assert read(tmp_path, "train").classes == ("a",)


def test_classes_of_test_that_train_lacks_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.png", "test/a/1.png", "test/b/1.png")
    with pytest.raises(UserError, match=r"classes that .*train has not: b\."):
        read(tmp_path, "test")


def test_images_beside_folders_of_images_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "1.png", "a/2.png")
    with pytest.raises(UserError, match=r"both images .* and folders of images"):
        read(tmp_path, "train")


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("a/notes.txt", "b/.hidden.png")])
def test_a_folder_without_images_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="No images in"):
        read(make(tmp_path, *names), "train")


def test_a_split_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few"):
        read(make(tmp_path, "1.png"), "test")
