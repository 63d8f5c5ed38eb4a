"""Made data in the layouts that torchvision reads; where it checks hashes, the made files' are put in."""

from __future__ import annotations

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets as vision

from ssl_ce.data import DataOptions, datasets, open_set
from ssl_ce.data.labels import UNLABELLED
from ssl_ce.data.packing import PackedImages, boxes_of, label_maps_of
from ssl_ce.data.source import Source
from ssl_ce.data.torchvision_sets import VOC_CLASSES
from ssl_ce.errors import MachineError, UserError


def read(name: str, split: str, root: Path, **options: object) -> Source:
    return datasets.get(name).read(split, DataOptions(data_root=root, **options))  # type: ignore[arg-type]


def image(path: Path, colour: tuple[int, int, int] = (1, 2, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), colour).save(path, quality=95)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def make_cifar(root: Path, patch: pytest.MonkeyPatch) -> np.ndarray:
    """cifar-10-batches-py with 4 train and 2 test images; the pixels (6, 32, 32, 3)."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    rows = pixels.transpose(0, 3, 1, 2).reshape(6, -1)
    for name, part, labels in (
        ("data_batch_1", slice(0, 4), [3, 1, 4, 1]),
        ("test_batch", slice(4, 6), [5, 9]),
    ):
        (folder / name).write_bytes(pickle.dumps({"data": rows[part], "labels": labels}))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    patch.setattr(vision.CIFAR10, "train_list", [["data_batch_1", md5(folder / "data_batch_1")]])
    patch.setattr(vision.CIFAR10, "test_list", [["test_batch", md5(folder / "test_batch")]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(folder / "batches.meta")}
    patch.setattr(vision.CIFAR10, "meta", meta)
    return pixels


def test_cifar10_is_packed_pixel_by_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = make_cifar(tmp_path, monkeypatch)
    options = DataOptions(data_root=tmp_path, cache=tmp_path / "packed")
    train, test = open_set("cifar10", "train", options), open_set("cifar10", "test", options)
    assert isinstance(train, PackedImages)
    expected = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    assert torch.equal(torch.cat([train.read(range(4)), test.read(range(2))]), expected)
    assert [*train.targets(), *test.targets()] == [3, 1, 4, 1, 5, 9]
    assert train.classes[3] == "cat"
    assert train.size == (32, 32)


def test_a_file_with_a_wrong_hash_counts_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision reads CIFAR's pickles only after checking their hash: a malicious one is never read."""
    make_cifar(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(UserError, match="is incomplete"):
        read("cifar10", "train", tmp_path)


def test_a_download_that_fails_is_the_machines_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise OSError("Name or service\nnot known")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    with pytest.raises(MachineError, match=r"cifar10 could not be fetched into .*Name or service not known"):
        read("cifar10", "train", tmp_path, download=True)


def test_what_is_there_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar(tmp_path, monkeypatch)
    monkeypatch.setattr(vision.CIFAR10, "download", lambda self: pytest.fail("it was fetched"))
    assert len(read("cifar10", "train", tmp_path, download=True)) == 4


def test_stl10s_unlabelled_split_has_no_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    for name in ("train_X.bin", "unlabeled_X.bin", "test_X.bin"):
        pixels.transpose(0, 3, 2, 1).tofile(folder / name)  # STL-10 stores columns first
    for name in ("train_y.bin", "test_y.bin"):
        np.array([2, 10], dtype=np.uint8).tofile(folder / name)
    text(folder / "class_names.txt", *(f"class-{number}" for number in range(10)))
    monkeypatch.setattr(vision.STL10, "_check_integrity", lambda self: True)
    train, unlabelled = read("stl10", "train", tmp_path), read("stl10", "unlabeled", tmp_path)
    assert np.array_equal(np.stack(list(train.images)), pixels)
    assert train.targets is not None
    assert train.targets.tolist() == [1, 9]
    assert train.classes[9] == "class-9"
    assert (unlabelled.task, unlabelled.classes, unlabelled.targets) == ("none", (), None)
    assert len(unlabelled) == 2


def test_mnist_is_grey(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    for prefix in ("train", "t10k"):
        header = b"".join(number.to_bytes(4, "big") for number in (0x803, 3, 28, 28))
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = (0x801).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes([7, 2, 1])
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
        with gzip.open(raw / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(labels)
    train = read("mnist", "train", tmp_path)
    assert np.array_equal(np.stack(list(train.images)), pixels)
    assert train.targets is not None
    assert train.targets.tolist() == [7, 2, 1]


def test_eurosat_is_split_by_seed_wherever_it_lies(tmp_path: Path) -> None:
    found = []
    for root in (tmp_path / "here", tmp_path / "there"):
        for name in ("Forest", "River"):
            for number in range(5):
                image(root / "eurosat" / "2750" / name / f"{name}_{number}.jpg")
        train, test = read("eurosat", "train", root, seed=3), read("eurosat", "test", root, seed=3)
        assert (len(train), len(test), len(read("eurosat", "all", root))) == (8, 2, 10)
        assert test.targets is not None
        assert test.targets.tolist() == [0, 1]
        assert test.classes == ("Forest", "River")
        assert test.origin == {"split_seed": 3, "test_share": 0.2}
        found.append([Path(str(path)).name for path in test.images])
    assert found[0] == found[1]


def test_oxford_pets_train_on_trainval(tmp_path: Path) -> None:
    base = tmp_path / "oxford-iiit-pet"
    for name in ("Abyssinian_1", "beagle_7"):
        image(base / "images" / f"{name}.jpg")
    text(base / "annotations" / "trainval.txt", "Abyssinian_1 1 1 1", "beagle_7 2 2 1")
    text(base / "annotations" / "test.txt", "beagle_7 2 2 1")
    train = read("oxford-iiit-pet", "train", tmp_path)
    assert [Path(str(path)).stem for path in train.images] == ["Abyssinian_1", "beagle_7"]
    assert train.targets is not None
    assert train.targets.tolist() == [0, 1]
    assert train.classes == ("Abyssinian", "Beagle")
    assert train.origin == {"split": "trainval"}


def voc_object(name: str, difficult: int) -> str:
    return f"<object><name>{name}</name><difficult>{difficult}</difficult></object>"


def test_voc_is_multilabel_and_difficult_objects_are_marked(tmp_path: Path) -> None:
    base = tmp_path / "VOCdevkit" / "VOC2007"
    objects = {
        "000001": voc_object("dog", 0) + voc_object("dog", 1) + voc_object("person", 1),
        "000002": voc_object("car", 1) + voc_object("car", 0),
    }
    for name, inside in objects.items():
        image(base / "JPEGImages" / f"{name}.jpg")
        text(base / "Annotations" / f"{name}.xml", f"<annotation>{inside}</annotation>")
    text(base / "ImageSets" / "Main" / "trainval.txt", "000001", "000002")
    train = read("voc2007", "train", tmp_path)
    assert (train.task, train.classes) == ("multilabel", VOC_CLASSES)
    assert train.targets is not None
    marks = [{VOC_CLASSES[i]: int(row[i]) for i in np.flatnonzero(row)} for row in train.targets]
    assert marks == [{"dog": 1, "person": -1}, {"car": 1}]


def test_voc_knows_where_its_objects_are(tmp_path: Path) -> None:
    base = tmp_path / "VOCdevkit" / "VOC2007"
    corners = "<bndbox><xmin>3</xmin><ymin>1</ymin><xmax>11</xmax><ymax>10</ymax></bndbox>"
    image(base / "JPEGImages" / "000001.jpg")
    text(base / "Annotations" / "000001.xml", f"<annotation>{voc_object('dog', 0)}</annotation>")
    path = base / "Annotations" / "000001.xml"
    path.write_text(path.read_text().replace("</object>", f"{corners}</object>"))
    text(base / "ImageSets" / "Main" / "test.txt", "000001")
    options = DataOptions(data_root=tmp_path, cache=tmp_path / "packed", size=10)
    (inside,) = boxes_of(open_set("voc2007", "test", options)).read([0], VOC_CLASSES)  # type: ignore[union-attr]
    assert VOC_CLASSES[inside.labels[0]] == "dog"
    # 12 x 10 pixels, of which the middle ten columns are kept: 1 to 11, counted from 0.
    assert inside.boxes.tolist() == [[1.0, 0.0, 10.0, 10.0]]
    path.write_text("<!DOCTYPE a><annotation/>")
    with pytest.raises(UserError, match=r"000001\.xml cannot be used: it declares a document type"):
        read("voc2007", "test", tmp_path)


@pytest.mark.parametrize(("name", "lists"), [("voc2007", ("trainval", "test")), ("voc2012", ("train", "val"))])
def test_voc_segmentation_has_maps_with_names(tmp_path: Path, name: str, lists: tuple[str, str]) -> None:
    base = tmp_path / "VOCdevkit" / name.upper()
    (base / "SegmentationClass").mkdir(parents=True)
    for number, listed in enumerate(lists):
        image(base / "JPEGImages" / f"{number}.jpg")
        labels = np.full((10, 12), 255 * number, dtype=np.uint8)
        labels[2:5] = 12
        drawn = Image.fromarray(labels, "P")
        drawn.putpalette([value for colour in range(256) for value in (colour, 0, 0)])
        drawn.save(base / "SegmentationClass" / f"{number}.png")
        text(base / "ImageSets" / "Segmentation" / f"{listed}.txt", str(number))
    options = DataOptions(data_root=tmp_path, cache=tmp_path / "packed", size=10)
    for split, around in (("train", 0), ("test", UNLABELLED)):
        images = open_set(f"{name}-segmentation", split, options)
        maps = label_maps_of(images)
        assert maps is not None
        assert (len(images), images.task, len(maps.classes)) == (1, "none", 21)
        assert (maps.classes[0], maps.classes[12]) == ("background", "dog")
        assert maps.read([0])[0, 2:5].unique().tolist() == [12]
        assert maps.read([0])[0, 5:].unique().tolist() == [around]


def test_celeba_is_multilabel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "celeba"
    names = [f"00000{number}.jpg" for number in range(4)]
    for name in names:
        image(base / "img_align_celeba" / name)
    text(
        base / "list_eval_partition.txt",
        *(f"{name} {part}" for name, part in zip(names, (0, 0, 2, 2), strict=True)),
    )
    text(base / "identity_CelebA.txt", *(f"{name} 1" for name in names))
    for name in ("list_bbox_celeba", "list_landmarks_align_celeba"):
        text(base / f"{name}.txt", "4", "a b", *(f"{name} 1 2" for name in names))
    marks = ("-1 1", "1 1", "1 -1", "-1 -1")
    rows = (f"{name} {mark}" for name, mark in zip(names, marks, strict=True))
    text(base / "list_attr_celeba.txt", "4", "Mustache Young", *rows)
    monkeypatch.setattr(vision.CelebA, "_check_integrity", lambda self: True)
    train, test = read("celeba", "train", tmp_path), read("celeba", "test", tmp_path)
    assert (train.task, train.classes) == ("multilabel", ("Mustache", "Young"))
    assert train.targets is not None
    assert train.targets.tolist() == [[0, 1], [1, 1]]
    assert [Path(str(path)).name for path in test.images] == names[2:]
    options = DataOptions(data_root=tmp_path, cache=tmp_path / "packed", size=8)
    young = open_set("celeba?where=Young,!Mustache", "train", options)
    assert young.targets().tolist() == [[0, 1]]
    with pytest.raises(UserError, match=r"no attribute of celeba named 'Moustache'\. Did you mean Mustache"):
        open_set("celeba?where=Moustache", "train", options)


def test_places365_lists_without_images_count_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text(tmp_path / "categories_places365.txt", "/a/abbey 0", "/z/zoo 1")
    text(tmp_path / "places365_train_standard.txt", "/a/abbey/1.jpg 0", "/z/zoo/1.jpg 1")
    monkeypatch.setattr(vision.Places365, "_check_integrity", lambda self, file, md5, download: True)
    with pytest.raises(UserError, match="places365 is not in"):
        read("places365", "train", tmp_path)
    for name in ("a/abbey", "z/zoo"):
        image(tmp_path / "data_256_standard" / name / "1.jpg")
    train = read("places365", "train", tmp_path)
    assert train.targets is not None
    assert train.targets.tolist() == [0, 1]
    assert train.origin == {"split": "train-standard"}


@pytest.mark.parametrize("name", ["food101", "dtd", "fgvc-aircraft", "imagenette", "sun397"])
def test_sets_of_files_are_read_in_their_layout(name: str, tmp_path: Path) -> None:
    if name == "food101":
        for split in ("train", "test"):
            text(tmp_path / "food-101" / "meta" / f"{split}.json", '{"pie": ["pie/1"], "soup": ["soup/2"]}')
        paths = [
            tmp_path / "food-101" / "images" / "pie" / "1.jpg",
            tmp_path / "food-101" / "images" / "soup" / "2.jpg",
        ]
        classes: tuple[str, ...] = ("pie", "soup")
    elif name == "dtd":
        base = tmp_path / "dtd" / "dtd"
        text(base / "labels" / "train1.txt", "banded/b_1.jpg", "woven/w_1.jpg")
        paths = [base / "images" / "banded" / "b_1.jpg", base / "images" / "woven" / "w_1.jpg"]
        classes = ("banded", "woven")
    elif name == "fgvc-aircraft":
        base = tmp_path / "fgvc-aircraft-2013b" / "data"
        text(base / "variants.txt", "707-320", "A380")
        text(base / "images_variant_trainval.txt", "0001 707-320", "0002 A380")
        paths = [base / "images" / "0001.jpg", base / "images" / "0002.jpg"]
        classes = ("707-320", "A380")
    elif name == "imagenette":
        base = tmp_path / "imagenette2-320" / "train"
        paths = [base / "n01440764" / "1.JPEG", base / "n02102040" / "2.JPEG"]
        classes = ("tench, Tinca tinca", "English springer, English springer spaniel")
    else:
        text(tmp_path / "SUN397" / "ClassName.txt", "/a/abbey", "/z/zoo")
        paths = [tmp_path / "SUN397" / folder / f"sun_{i}.jpg" for folder in ("a/abbey", "z/zoo") for i in (1, 2)]
        classes = ("abbey", "zoo")
    for path in paths:
        image(path)
    source = read(name, "all" if name == "sun397" else "train", tmp_path)
    found = sorted((str(path), source.classes[t]) for path, t in zip(source.images, source.targets, strict=True))  # type: ignore[arg-type]
    expected = [(str(path), classes[i * len(classes) // len(paths)]) for i, path in enumerate(paths)]
    assert found == expected
    assert source.task == "classes"
