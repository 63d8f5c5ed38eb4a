from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import braceexpand
import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from ssl_ce.data import DataOptions, open_set, splits_of
from ssl_ce.data.decode import decode, fit_square
from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.packing import Subset, epoch_order
from ssl_ce.data.shards import WINDOW, ShardedImages
from ssl_ce.data.shards_fetching import WrongShardError
from ssl_ce.data.shards_index import content_hash
from ssl_ce.data.shards_naming import expand
from ssl_ce.data.shards_opening import read_index
from ssl_ce.data.shards_writing import write_shards
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.pixels import Pixels
from ssl_ce.errors import DataLostError, MachineError, UserError
from ssl_ce.randomness import sample_order


def keys_of(folder: Path, split: str = "train") -> list[int]:
    """The places in the listing of a folder's images, in the order in which the shards hold them."""
    found = []
    for path in sorted(folder.glob(f"digits-{split}-*.tar")):
        with tarfile.open(path) as tar:
            found += [int(name[:9]) for name in tar.getnames() if name.endswith(".png")]
    return found


def picture(seed: int, height: int = 20, width: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_shards_hold_the_pixels_and_targets_of_the_packed_set(digit_shards: Path) -> None:
    for split, count in (("train", 100), ("test", 40)):
        images = open_set(str(digit_shards), split)
        packed = open_set(f"digits?count={count}", split, DataOptions(size=16))
        keys = keys_of(digit_shards, split)
        assert sorted(keys) == list(range(count))
        assert keys != sorted(keys)
        assert torch.equal(images.read(range(count)), packed.read(keys))
        assert images.targets().tolist() == packed.targets(keys).tolist()
        assert (images.name, images.split, images.task) == ("digits", split, "classes")
        assert (images.classes, images.size) == (packed.classes, (16, 16))
        assert isinstance(images, ImageSet)
    assert splits_of(str(digit_shards)) == ("train", "test")


@pytest.mark.parametrize("indices", [[], [7], [99, 3, 3, 50], range(8, 23), np.array([11, 3]), torch.tensor([5, 91])])
def test_any_indices_are_read(digit_shards: Path, indices: Any) -> None:
    images = open_set(str(digit_shards), "train")
    whole, rows = images.read(range(100)), [int(i) for i in indices]
    read = images.read(indices)
    assert read.dtype == torch.uint8
    assert torch.equal(read, whole[rows])
    assert images.targets(indices).tolist() == images.targets()[rows].tolist()


def test_indices_beyond_the_set_are_refused(digit_shards: Path) -> None:
    with pytest.raises(IndexError):
        open_set(str(digit_shards), "train").read([100])


def test_the_webdataset_library_reads_what_is_written(digit_shards: Path) -> None:
    urls = str(digit_shards / "digits-train-{000000..000009}.tar")
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    images = open_set(str(digit_shards), "train")
    theirs = np.stack([sample["png"] for sample in samples]).transpose(0, 3, 1, 2)
    assert np.array_equal(images.read(range(100)).numpy(), theirs)
    assert images.targets().tolist() == [sample["cls"] for sample in samples]


def test_shards_of_the_webdataset_library_are_read(tmp_path: Path) -> None:
    pictures = [picture(seed, 20 + seed, 30) for seed in range(25)]
    with webdataset.ShardWriter(str(tmp_path / "mine-%04d.tar"), maxcount=10, verbose=0) as writer:
        for number, image in enumerate(pictures):
            writer.write({"__key__": f"sample{number:03d}", "png": image, "cls": number % 4, "txt": "a caption"})
    images = open_set(str(tmp_path / "mine-{0000..0002}.tar"), "train", DataOptions(size=12, fit="pad"))
    assert torch.equal(images.read(range(25)), torch.from_numpy(np.stack([fit_square(p, 12, "pad") for p in pictures])))
    assert images.targets().tolist() == [number % 4 for number in range(25)]
    assert images.classes == ("0", "1", "2", "3")
    assert (images.name, images.split, images.task) == ("mine", "train", "classes")


def test_archives_of_other_people_are_read_whatever_else_they_hold(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (os.system, (f"touch {tmp_path / 'owned'}",))

    import pickle

    path = tmp_path / "others-val-0.tar"
    members = {
        "../../a.jpg": encoded(picture(0), "JPEG"),
        "../../a.json": json.dumps({"label": "dog", "url": "x"}).encode(),
        "/etc/b.WebP": encoded(picture(1), "WEBP"),
        "/etc/b.json": json.dumps({"label": "cat"}).encode(),
        "c.pyd": pickle.dumps(Evil()),
        "c.jpeg": encoded(picture(2), "JPEG"),
        "c.cls": b"dog",
        "only.txt": b"no image",
        "__meta__/d.png": encoded(picture(3)),
        ".hidden.png": encoded(picture(3)),
    }
    write_tar(path, members)
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("e.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before = sorted(tmp_path.iterdir())
    assert splits_of(str(path)) == ("val",)
    images = open_set(str(path), "val", DataOptions(size=16))
    expected = [fit_square(decode(io.BytesIO(members[name])), 16) for name in ("../../a.jpg", "/etc/b.WebP", "c.jpeg")]
    assert np.array_equal(images.read([0, 1, 2]).numpy(), np.stack(expected))
    assert [images.classes[target] for target in images.targets()] == ["dog", "cat", "dog"]
    assert sorted(tmp_path.iterdir()) == before


def test_images_that_cannot_be_read_are_counted_and_left_out(tmp_path: Path) -> None:
    members = {f"{number:03d}.png": encoded(picture(number)) for number in range(120)}
    members["050.png"] = members["050.png"][:-200]
    images = open_set(str(write_tar(tmp_path / "a.tar", members)), "train", DataOptions(size=16))
    assert len(images) == 119
    assert images.source["unreadable"] == 1
    assert images.task == "none"
    expected = [fit_square(picture(number), 16) for number in range(120) if number != 50]
    assert np.array_equal(images.read(range(119)).numpy(), np.stack(expected))
    members["051.png"] = b"no image"
    path = str(write_tar(tmp_path / "b.tar", members))
    with pytest.raises(UserError, match=r"2 of 120, the first b\.tar/050: .*--allow-unreadable"):
        open_set(path, "train", DataOptions(size=16))
    assert len(open_set(path, "train", DataOptions(size=16, allow_unreadable=True))) == 118


def test_a_decompression_bomb_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    members = {"a.png": encoded(picture(0)), "b.png": encoded(Image.new("RGB", (200, 200)))}
    with pytest.raises(UserError, match="b: too large to be decoded safely"):
        open_set(str(write_tar(tmp_path / "a.tar", members)), "train")


@pytest.mark.parametrize(
    "pattern",
    ["a.tar", "a-{0..3}.tar", "a-{08..11}.tar", "{train,val}-{000..002}.tar", "a{b,c}d{1..2}{x,}.tar", "a-{7..7}.tar"],
)
def test_braces_expand_as_webdataset_expands_them(pattern: str) -> None:
    assert expand(pattern) == list(braceexpand.braceexpand(pattern))


def test_an_epoch_takes_a_window_of_shards_after_another(digit_shards: Path) -> None:
    images = open_set(str(digit_shards), "train")
    assert isinstance(images, ShardedImages)
    order = epoch_order(images, 3, 1)
    assert sorted(order.tolist()) == list(range(100))
    assert torch.equal(order, epoch_order(open_set(str(digit_shards), "train"), 3, 1))
    assert not torch.equal(order, epoch_order(images, 3, 2))
    assert not torch.equal(order, epoch_order(images, 4, 1))
    shards = order // 10  # ten in each
    seen: set[int] = set()
    for start in range(0, 100, 10 * WINDOW):
        window = shards[start : start + 10 * WINDOW].tolist()
        assert len(set(window)) == min(WINDOW, len(window) // 10)
        assert not seen & set(window)
        assert window != sorted(window)
        seen |= set(window)


def test_packed_sets_keep_their_order_and_a_part_follows_its_parents(digit_shards: Path, digits_train: Any) -> None:
    assert torch.equal(epoch_order(digits_train, 5, 2), sample_order(5, 2, len(digits_train)))
    rows = [9, 4, 70, 4, 33]
    assert torch.equal(epoch_order(Subset(digits_train, rows, "part"), 5, 2), sample_order(5, 2, 5))
    images = open_set(str(digit_shards), "train")
    met = epoch_order(images, 5, 2).tolist()
    part = Subset(images, rows, "part")
    assert epoch_order(part, 5, 2).tolist() == sorted(range(5), key=lambda place: met.index(rows[place]))


def test_features_of_shards_are_those_of_the_packed_set(digit_shards: Path, tmp_path: Path) -> None:
    images = open_set(str(digit_shards), "train")
    packed = open_set("digits?count=100", "train", DataOptions(size=16))
    cache = FeatureCache(tmp_path, batch_size=16)
    ours, theirs = cache.features(Pixels(), images), cache.features(Pixels(), packed)
    assert np.array_equal(ours, theirs[keys_of(digit_shards)])


def test_the_fingerprint_tells_pixels_targets_and_size(tmp_path: Path) -> None:
    members = {"a.png": encoded(picture(0)), "a.cls": b"1", "b.png": encoded(picture(1)), "b.cls": b"0"}
    path = write_tar(tmp_path / "a.tar", members)
    first = open_set(str(path), "train", DataOptions(size=8)).fingerprint
    assert open_set(str(path), "train", DataOptions(size=8)).fingerprint == first
    assert open_set(str(path), "train", DataOptions(size=9)).fingerprint != first
    assert open_set(str(path), "train", DataOptions(size=8, fit="pad")).fingerprint != first
    for changed in ({"b.cls": b"1"}, {"b.png": encoded(picture(2))}):
        write_tar(path, {**members, **changed})
        assert open_set(str(path), "train", DataOptions(size=8)).fingerprint != first
    write_tar(path, members)
    assert open_set(str(path), "train", DataOptions(size=8)).fingerprint == first


def test_a_set_is_sharded_again_to_the_same_bytes_from_where_it_was_interrupted(
    digit_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "again"
    add, count = tarfile.TarFile.addfile, []

    def interrupted(*arguments: Any) -> None:
        count.append(1)
        if len(count) == 2 * 45:  # an image and its class each
            raise KeyboardInterrupt
        add(*arguments)

    monkeypatch.setattr(tarfile.TarFile, "addfile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shards("digits?count=100", "train", out, DataOptions(size=16), per_shard=10)
    monkeypatch.undo()
    whole = sorted(out.glob("digits-train-*.tar"))
    assert [path.name[-7:] for path in whole] == [f"{number:03d}.tar" for number in range(4)]
    times = [path.stat().st_mtime_ns for path in whole]
    with pytest.raises(UserError, match=r"000000.tar exists already.*--force"):
        write_shards("digits?count=100", "train", out, DataOptions(size=12), per_shard=10)
    write_shards("digits?count=100", "train", out, DataOptions(size=16), per_shard=10)
    assert [path.stat().st_mtime_ns for path in whole] == times
    for path in digit_shards.glob("digits-train*"):
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in digit_shards.glob("digits-train*")}
    with pytest.raises(UserError, match=r"shards.json exists already"):
        write_shards("digits?count=100", "train", out, DataOptions(size=16), per_shard=10)
    assert write_shards("digits?count=100", "train", out, DataOptions(size=16), overwrite=True).n == 100
    assert len(list(out.glob("*.tar"))) == 1


def test_encodings(photo_folder: Path, tmp_path: Path) -> None:
    packed = open_set(str(photo_folder), "train", DataOptions(size=16))
    for encoding in ("png", "webp", "jpeg", "original"):
        size = None if encoding == "original" else 16
        index = write_shards(str(photo_folder), "train", tmp_path / encoding, DataOptions(size=size), encoding=encoding)
        images = open_set(str(tmp_path / encoding), "train", DataOptions(size=16))
        with tarfile.open(tmp_path / encoding / index.shards[0].name) as tar:
            keys = [int(name[:9]) for name in tar.getnames() if not name.endswith("cls")]
        difference = (images.read(range(24)).int() - packed.read(keys).int()).abs()
        assert 0 < difference.float().mean() < 20 if encoding == "jpeg" else difference.max() == 0
    with pytest.raises(UserError, match="there must be files"):
        write_shards("digits", "train", tmp_path / "x", DataOptions(), encoding="original")


def test_several_classes_an_image_come_back(tmp_path: Path) -> None:
    from ssl_ce.data.source import Dataset, Source

    targets = np.array([[1, 0, -1], [0, 1, 1]], dtype=np.int64)
    from ssl_ce.data import datasets

    source = Source("made", "train", [np.asarray(picture(n)) for n in (0, 1)], "multilabel", ("a", "b", "c"), targets)
    datasets.add("made", Dataset(("train",), lambda split, options: source, size=8), "two images")
    try:
        write_shards("made", "train", tmp_path, DataOptions())
    finally:
        datasets.remove("made")
    images = open_set(str(tmp_path), "train")
    with tarfile.open(tmp_path / "made-train-000000.tar") as tar:
        keys = [int(name[:9]) for name in tar.getnames() if name.endswith("png")]
    assert images.task == "multilabel"
    assert images.targets().tolist() == targets[keys].tolist()


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("how", "says"), [("cut", "cut off or altered"), ("gone", "cannot be read"), ("flip", "cut off or altered")]
)
def test_a_damaged_shard_is_refused(how: str, says: str, digit_shards: Path, tmp_path: Path) -> None:
    shutil.copytree(digit_shards, tmp_path / "s")
    damage(tmp_path / "s" / "digits-train-000003.tar", how)
    if how == "flip":
        images = open_set(str(tmp_path / "s"), "train")
        with pytest.raises(WrongShardError, match=rf"000003.tar.*{says}"):
            images.read(range(100))
    else:
        with pytest.raises(UserError, match=rf"000003.tar.*{says}"):
            open_set(str(tmp_path / "s"), "train")
    assert len(open_set(str(tmp_path / "s"), "test").read(range(40))) == 40


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_archive_of_other_people_is_refused(how: str, digit_shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    shutil.copy(digit_shards / "digits-train-000003.tar", path)
    damage(path, how)
    with pytest.raises(UserError, match=r"a\.tar.*(cut off|cannot be read)"):
        open_set(str(path), "train")


def test_an_archive_without_its_end_is_refused(digit_shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(digit_shards / "digits-train-000003.tar") as tar:
        *_, last = tar.getmembers()
    path.write_bytes((digit_shards / "digits-train-000003.tar").read_bytes()[: last.offset])
    with pytest.raises(UserError, match="its end is missing"):
        open_set(str(path), "train")


def test_a_shard_that_vanishes_in_the_middle_is_told(digit_shards: Path, tmp_path: Path) -> None:
    shutil.copytree(digit_shards, tmp_path / "s")
    images = open_set(str(tmp_path / "s"), "train")
    images.read(range(100))
    (tmp_path / "s" / "digits-train-000005.tar").unlink()
    images.read(range(50))
    with pytest.raises(DataLostError, match=r"000005.tar is not there any more"):
        images.read(range(100))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda index: index["shards"][0].update(name="../x.tar"), "is not the name of a shard"),
        (lambda index: index["shards"][0].update(name="/etc/passwd"), "is not the name of a shard"),
        (lambda index: index["shards"][0].update(hash="0"), "does not belong"),
        (lambda index: index["classes"].append("more"), "does not belong"),
        (lambda index: index.update(format="ssl_ce shards 9"), "no index of shards that this version reads"),
        (lambda index: index.update(n=7), "do not hold 7 images"),
        (lambda index: index.update(size=17), "does not belong"),
        (lambda index: index.update(size=9000), "less than or equal to 8192"),
        (lambda index: index.update(fit="pad"), "does not belong"),
        (lambda index: index.update(task="none"), "none of the task 'none'"),
        (lambda index: index.update(columns=0), "none of the task 'classes'"),
        (lambda index: index.update(columns=10**30), "less than or equal to"),
        (lambda index: index.update(task="multilabel", columns=len(index["classes"])), "does not belong"),
        (lambda index: index["shards"][0].update(bytes=10**30), "less than or equal to"),
        (
            lambda index: [shard.update(images=shard["images"] + (-1) ** k) for k, shard in enumerate(index["shards"])],
            "does not belong",
        ),
    ],
)
def test_an_index_that_was_altered_is_refused(
    change: Callable[[Any], None], says: str, digit_shards: Path, tmp_path: Path
) -> None:
    shutil.copytree(digit_shards, tmp_path / "s")
    path = tmp_path / "s" / "digits-train.shards.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    with pytest.raises(UserError, match=says):
        open_set(str(tmp_path / "s"), "train")


def as_npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def as_npz(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, values)
    return buffer.getvalue()


def with_head(data: bytes, text: str) -> bytes:
    """An .npy file of the length of `data` whose head says `text`."""
    head = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"
    return head + data[len(head) :]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"PK\x03\x04" + data[4:],
        lambda data: as_npz(np.zeros((100, 3), np.int64)),
        lambda data: data[:-1],
        lambda data: data + bytes(1 << 20),
        lambda data: as_npy(np.zeros((100, 3), np.float64)),
        lambda data: as_npy(np.zeros((3, 100), np.int64)),
        lambda data: data[:8] + b"\xff\xff" + data[10:],
        lambda data: with_head(data, "{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000, 3), }"),
        lambda data: with_head(data, "{'descr': '|O', 'fortran_order': False, 'shape': (100, 3), }"),
        lambda data: with_head(data, "[" * 100),
    ],
)
def test_members_that_were_altered_are_refused(
    change: Callable[[bytes], bytes], digit_shards: Path, tmp_path: Path
) -> None:
    shutil.copytree(digit_shards, tmp_path / "s")
    path = tmp_path / "s" / "digits-train.shards.npy"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=r"digits-train.shards.npy is missing, or does not belong to"):
        open_set(str(tmp_path / "s"), "train")


@pytest.mark.parametrize("change", [(0, 0, 1 << 40), (0, 1, 1 << 40), (0, 0, -1), (3, 1, -5), (5, 2, 10), (5, 2, -1)])
def test_members_beyond_their_shards_or_classes_are_refused_whatever_the_fingerprint_says(
    change: tuple[int, int, int], digit_shards: Path, tmp_path: Path
) -> None:
    shutil.copytree(digit_shards, tmp_path / "s")
    place, path = tmp_path / "s" / "digits-train.shards.json", tmp_path / "s" / "digits-train.shards.npy"
    members = np.load(path)
    row, column, value = change
    members[row, column] = value
    np.save(path, members)
    index = read_index(place)
    lying = content_hash(index.shards, members, index.classes, index.task, index.size, index.fit)
    place.write_text(json.dumps({**json.loads(place.read_text()), "fingerprint": lying}))
    with pytest.raises(UserError, match="does not belong"):
        open_set(str(tmp_path / "s"), "train")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("pipe:touch owned", "is none of them"),
        ("pipe:curl x.tar", "is none of them"),
        ("s3://bucket/x.tar", "is none of them"),
        ("http://user:secret@host/x.tar", "no password"),
        ("https://host/x.tar?token=1", "no password"),
        ("https://host/folder/", r"ends in \.tar"),
        ("http://[x.tar", "names a host"),
        ("http:///x.tar", "names a host"),
        ("none-{3..1}.tar", "stands for 0 shards"),
        ("none-{0..99999999999}.tar", "stands for 100,000,000,000 shards"),
        ("none-{0..2}.tar", "none-0.tar cannot be read"),
        ("SHARDS?count=3", "open as a whole"),
    ],
)
def test_references_that_are_refused(
    reference: str, says: str, digit_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        open_set(reference.replace("SHARDS", str(digit_shards)), "train")
    assert not (tmp_path / "owned").exists()


def test_another_size_or_split_is_refused(digit_shards: Path) -> None:
    with pytest.raises(UserError, match="16 x 16 pixels, not 20"):
        open_set(str(digit_shards), "train", DataOptions(size=20))
    with pytest.raises(UserError, match="no split 'val'; it has train, test"):
        open_set(str(digit_shards), "val")


def test_memory_does_not_grow_with_what_was_read(digit_shards: Path) -> None:
    import tracemalloc

    images = open_set(str(digit_shards), "train")
    images.read(range(100))
    tracemalloc.start()
    peaks = []
    for rounds in (2, 20):
        tracemalloc.reset_peak()
        for _ in range(rounds):
            images.read(range(50))
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + (1 << 18)


def test_what_was_scanned_is_not_scanned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.png": encoded(picture(0))})
    open_set(str(path), "train")
    monkeypatch.setattr("ssl_ce.data.shards_foreign.scan", lambda *a, **k: pytest.fail("scanned again"))
    assert len(open_set(str(path), "train")) == 1


def test_an_archive_that_vanishes_while_it_is_looked_through_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssl_ce.data import shards_index

    path = write_tar(tmp_path / "a.tar", {"a.png": encoded(picture(0))})
    samples = shards_index._samples

    def vanishing(*arguments: Any) -> Any:
        yield from samples(*arguments)
        path.unlink()

    monkeypatch.setattr(shards_index, "_samples", vanishing)
    with pytest.raises(UserError, match=r"Cannot read the shard .*a\.tar: No such file"):
        open_set(str(path), "train")


@pytest.mark.parametrize("encoding", ["png", "original"])
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes() + b" ")])
def test_an_image_that_changes_or_vanishes_while_shards_are_written_is_noticed(
    harm: Callable[[Path], object], encoding: Any, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = Path(shutil.copytree(photo_folder, tmp_path / "photos")), tmp_path / "out"
    decoded: list[Any] = []

    def harmful(image: Any) -> Any:
        decoded.append(image)
        if len(decoded) == 5:
            harm(photos / "train/right/11.png")
        return decode(image)

    def shard(**more: Any) -> int:
        options = DataOptions(size=None if encoding == "original" else 16, allow_unreadable=True, workers=1)
        return write_shards(str(photos), "train", out, options, per_shard=8, encoding=encoding, **more).n

    with monkeypatch.context() as patch:
        patch.setattr("ssl_ce.data.shards_writing.decode", harmful)
        with pytest.raises(DataLostError, match=r"changed or vanished while .*-00000\d\.tar was written"):
            shard()
    assert not list(out.glob("*.shards.json"))
    shutil.copytree(photo_folder, photos, dirs_exist_ok=True)
    assert shard(overwrite=True) == 24


def test_shards_of_a_set_whose_name_begins_alike_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "digits-train-test-000000.tar"
    other.write_bytes(b"another set's")
    for overwrite in (False, True):
        write_shards("digits?count=20", "train", tmp_path, DataOptions(size=8), overwrite=overwrite)
    assert other.read_bytes() == b"another set's"


def test_a_disk_that_is_too_small_for_the_rest_is_told_after_the_first_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = DataOptions(size=16)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 30_000}))
    with pytest.raises(MachineError, match=r"The rest of digits as shards \(png\) takes .* kB, but .*The first shard"):
        write_shards("digits?count=100", "train", tmp_path, options, per_shard=10)
    assert [path.name for path in tmp_path.glob("*.tar")] == ["digits-train-000000.tar"]
    monkeypatch.undo()
    assert write_shards("digits?count=100", "train", tmp_path, options, per_shard=10).n == 100
