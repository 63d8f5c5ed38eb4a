from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ssl_ce.data import DataOptions, datasets, open_set, splits_of
from ssl_ce.data.opening import pack_to
from ssl_ce.data.source import Dataset, Source
from ssl_ce.errors import SslCeError, UserError


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photo_folder, tmp_path / "photos"))


@pytest.fixture
def options(tmp_path: Path) -> DataOptions:
    return DataOptions(size=16, cache=tmp_path / "packed")


def packs(options: DataOptions) -> list[Path]:
    return sorted(options.cache_folder().glob("*"))


def test_a_folder_is_packed_once_and_opened_again(photos: Path, options: DataOptions) -> None:
    first = open_set(str(photos), "train", options)
    written = packs(options)[0].stat()
    again = open_set(str(photos), "train", options)
    assert packs(options)[0].stat().st_ino == written.st_ino
    assert first.fingerprint == again.fingerprint
    assert (len(first), first.name, first.split, first.size) == (24, "photos", "train", (16, 16))
    assert first.source == {"ref": str(photos), "size": 16, "fit": "crop", "folder": "train"}


def test_size_fit_and_split_have_files_of_their_own(photos: Path, options: DataOptions, tmp_path: Path) -> None:
    sets = [
        open_set(str(photos), split, DataOptions(size=size, fit=fit, cache=tmp_path / "packed"))  # type: ignore[arg-type]
        for split, size, fit in [
            ("train", 16, "crop"),
            ("train", 20, "crop"),
            ("train", 16, "pad"),
            ("test", 16, "crop"),
        ]
    ]
    assert len(packs(options)) == 4
    assert len({images.fingerprint for images in sets}) == 4


def test_a_changed_image_is_noticed_even_if_its_size_and_time_are_the_same(photos: Path, options: DataOptions) -> None:
    changed = photos / "train" / "left" / "03.bmp"
    Image.new("RGB", (8, 8), (10, 20, 30)).save(changed)
    before = open_set(str(photos), "train", options)
    status = changed.stat()
    Image.new("RGB", (8, 8), (30, 20, 10)).save(changed)
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert changed.stat().st_size == status.st_size
    assert open_set(str(photos), "train", options).fingerprint != before.fingerprint


def test_an_image_that_joins_or_leaves_is_noticed(photos: Path, options: DataOptions) -> None:
    assert len(open_set(str(photos), "train", options)) == 24
    (photos / "train" / "left" / "00.png").unlink()
    assert len(open_set(str(photos), "train", options)) == 23


def test_a_set_that_was_packed_with_unreadable_images_is_refused_without_the_option(
    photos: Path, tmp_path: Path
) -> None:
    (photos / "train" / "left" / "00.png").write_bytes(b"broken")
    allowed = DataOptions(size=16, cache=tmp_path / "packed", allow_unreadable=True)
    images = open_set(str(photos), "train", allowed)
    assert images.unreadable == 1
    assert images.source["unreadable"] == 1
    with pytest.raises(UserError, match=r"1 of 24, the first .*00\.png"):
        open_set(str(photos), "train", DataOptions(size=16, cache=tmp_path / "packed"))


def test_a_packed_file_opens_as_its_own_split_and_size(photos: Path, options: DataOptions, tmp_path: Path) -> None:
    out = tmp_path / "mine.pack"
    pack_to(str(photos), "test", out, options)
    assert splits_of(str(out)) == ("test",)
    images = open_set(str(out), "test", DataOptions(default_size=99))
    assert images.size == (16, 16)
    assert images.fingerprint == open_set(str(photos), "test", options).fingerprint
    with pytest.raises(UserError, match="holds the split 'test', but 'train' is needed"):
        open_set(str(out), "train")
    with pytest.raises(UserError, match="16 x 16 pixels, not 32"):
        open_set(str(out), "test", DataOptions(size=32))


def test_packing_overwrites_only_when_told(photos: Path, options: DataOptions, tmp_path: Path) -> None:
    out = tmp_path / "mine.pack"
    out.write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        pack_to(str(photos), "train", out, options)
    assert out.read_text() == "precious"
    assert pack_to(str(photos), "train", out, options, overwrite=True).n == 24
    with pytest.raises(UserError, match="is a packed file already"):
        pack_to(str(out), "train", tmp_path / "again.pack", options)
    with pytest.raises(UserError, match="is a folder"):
        pack_to(str(photos), "train", tmp_path, options)


def test_sizes_come_from_the_user_then_the_caller_then_the_dataset(photos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "packed"
    assert open_set("digits", "test", DataOptions(cache=cache)).size == (32, 32)
    assert open_set("digits", "test", DataOptions(cache=cache, default_size=20)).size == (20, 20)
    assert open_set("digits", "test", DataOptions(cache=cache, default_size=20, size=24)).size == (24, 24)
    assert open_set(str(photos), "test", DataOptions(cache=cache)).size == (128, 128)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("digit", "There is no dataset named 'digit'. Did you mean digits"),
        ("nowhere/at/all", "There is no folder or packed file nowhere/at/all"),
        ("./digits", "There is no folder or packed file ./digits"),
        ("gone.pack", "There is no folder or packed file gone.pack"),
    ],
)
def test_what_does_not_exist_is_said(reference: str, message: str) -> None:
    for call in (lambda: open_set(reference, "train"), lambda: splits_of(reference)):
        with pytest.raises(UserError) as caught:
            call()
        assert message in str(caught.value)


def test_a_file_that_is_no_packed_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UserError, match="neither a folder nor a packed image set"):
        open_set(str(tmp_path / "a.txt"), "train")


def test_an_unknown_split_is_refused_with_those_there_are(photos: Path, options: DataOptions) -> None:
    with pytest.raises(UserError, match="has no split 'val'; it has train, test"):
        open_set(str(photos), "val", options)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"default_size": -1}, {"fit": "stretch"}, {"test_share": 0.0}, {"test_share": 1.0}]
)
def test_impossible_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        DataOptions(**wrong)  # type: ignore[arg-type]


def test_a_registered_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar10").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"write \./cifar10"):
        open_set("cifar10", "train", DataOptions(data_root=tmp_path))


def test_a_plug_in_adds_a_dataset(photos: Path, options: DataOptions) -> None:
    def read_streets(split: str, options: DataOptions) -> Source:
        return Source("streets", split, sorted((photos / split).rglob("*.png")))

    datasets.add("streets", Dataset(("train", "test"), read_streets), "streets of a town")
    try:
        images = open_set("streets", "test", options)
        assert (len(images), images.name, images.task) == (12, "streets", "none")
    finally:
        datasets.remove("streets")


@pytest.mark.parametrize("name", datasets.names())
def test_every_registered_dataset_opens_or_says_what_is_missing(name: str, tmp_path: Path) -> None:
    assert splits_of(name)[0] == "train"
    assert "test" in splits_of(name)
    options = DataOptions(data_root=tmp_path / "nothing", cache=tmp_path / "packed")
    if name == "digits":
        assert len(open_set(name, "train", options)) > 0
        return
    with pytest.raises(SslCeError, match=rf"{name} is not in .*nothing.*expected .*--data-root"):
        open_set(name, "train", options)
    assert not (tmp_path / "packed").exists()


def test_listing_datasets_and_splits_imports_no_torch(photos: Path) -> None:
    code = (
        "import sys; from ssl_ce.data import datasets, splits_of; "
        f"datasets.names(); splits_of({str(photos)!r}); "
        "from ssl_ce.data.inspecting import inspect_split; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
