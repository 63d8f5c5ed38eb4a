from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_ce.data import packfile
from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.options import DataOptions
from ssl_ce.data.packer import pack
from ssl_ce.data.packing import PackedImages
from ssl_ce.data.source import Source
from ssl_ce.errors import MachineError, UserError


def make_source(count: int = 20, **changes: object) -> Source:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    targets = np.arange(count) % 3
    values = {"name": "made", "split": "train", "images": list(pixels), "task": "classes"}
    return Source(**{**values, "classes": ("a", "b", "c"), "targets": targets, **changes})  # type: ignore[arg-type]


def packed(path: Path, source: Source | None = None, size: int = 8, **options: object) -> PackedImages:
    source = make_source() if source is None else source
    pack(source, size, path, DataOptions(**options), {"ref": "made"})  # type: ignore[arg-type]
    return PackedImages.open(path)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_packed_set_holds_the_pixels_and_targets_in_order(tmp_path: Path, workers: int) -> None:
    source = make_source(50)
    images = packed(tmp_path / "a.pack", source, workers=workers)
    expected = np.stack(list(source.images)).transpose(0, 3, 1, 2)
    assert np.array_equal(images.read(range(50)).numpy(), expected)
    assert np.array_equal(images.targets(), np.arange(50) % 3)
    assert images.targets().dtype == np.int64
    assert (len(images), images.size, images.task, images.split) == (50, (8, 8), "classes", "train")
    assert images.classes == ("a", "b", "c")
    assert isinstance(images, ImageSet)


@pytest.mark.parametrize(
    "indices",
    [
        [],
        [7],
        [3, 4, 5],
        [9, 2, 2, 0],
        range(4, 12),
        np.array([11, 3]),
        torch.tensor([5, 19, 1]),
        torch.tensor([6]),
    ],
)
def test_any_indices_are_read_as_a_copy(tmp_path: Path, indices: object) -> None:
    images = packed(tmp_path / "a.pack")
    rows = [int(i) for i in indices]  # type: ignore[attr-defined]
    read = images.read(indices)  # type: ignore[arg-type]
    assert read.shape == (len(rows), 3, 8, 8)
    assert read.dtype == torch.uint8
    for place, row in enumerate(rows):
        assert torch.equal(read[place], images.read_one(row))
    assert images.targets(indices).tolist() == [row % 3 for row in rows]  # type: ignore[arg-type]
    read.fill_(0)
    assert images.read(range(20)).any()


@pytest.mark.parametrize("indices", [[20], [-1], [0, 100]])
def test_indices_beyond_the_set_are_refused(tmp_path: Path, indices: list[int]) -> None:
    images = packed(tmp_path / "a.pack")
    for use in (images.read, images.targets):
        with pytest.raises(IndexError):
            use(indices)


def test_unlabelled_and_multilabel_targets_keep_their_shape(tmp_path: Path) -> None:
    bare = packed(tmp_path / "a.pack", make_source(task="none", classes=(), targets=None))
    assert bare.targets().shape == (20, 0)
    marks = np.random.default_rng(1).integers(-1, 2, (20, 3))
    many = packed(tmp_path / "b.pack", make_source(task="multilabel", targets=marks))
    assert np.array_equal(many.targets(), marks)
    assert np.array_equal(many.targets([4, 2]), marks[[4, 2]])


def test_the_fingerprint_tells_pixels_targets_and_order_apart(tmp_path: Path) -> None:
    source = make_source()
    same = [packed(tmp_path / f"{name}.pack", make_source(name=name)).fingerprint for name in ("a", "b")]
    others = [
        make_source(images=list(source.images)[::-1]),
        make_source(targets=np.arange(20) % 2),
        make_source(classes=("a", "b", "d")),
        make_source(19),
    ]
    different = [packed(tmp_path / "c.pack", other).fingerprint for other in others]
    assert len(set(same)) == 1
    assert len({*same, *different}) == 5


def test_a_subset_is_an_image_set_in_its_own_order(tmp_path: Path) -> None:
    images = packed(tmp_path / "a.pack")
    part = images.subset([5, 1, 8], "val")
    assert isinstance(part, ImageSet)
    assert (len(part), part.split, part.size, part.classes) == (3, "val", (8, 8), images.classes)
    assert torch.equal(part.read([2, 0]), images.read([8, 5]))
    assert torch.equal(part.read_one(1), images.read_one(1))
    assert part.targets().tolist() == [2, 1, 2]
    assert part.targets([1]).tolist() == [1]
    assert len({part.fingerprint, images.fingerprint, images.subset([1, 5, 8], "val").fingerprint}) == 3
    with pytest.raises(IndexError):
        part.read([3])


@pytest.mark.parametrize("keep", [0, 5, 40, 4096, 8000, -1])
def test_a_cut_off_file_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.pack"
    packed(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"cut\.pack"):
        PackedImages.open(path)


@pytest.mark.parametrize("place", [10, 20, 27, 40, 4096, 5000, -300, -1])
def test_one_altered_byte_is_noticed(tmp_path: Path, place: int) -> None:
    """In the head, the pixels, the targets and the metadata, even right after a successful opening."""
    path = tmp_path / "altered.pack"
    packed(path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"altered\.pack"):
        PackedImages.open(path)


def test_an_altered_file_is_noticed_after_it_was_remembered_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pack"
    packed(path)
    monkeypatch.setattr(packfile, "_YOUNG", -1.0)
    PackedImages.open(path)
    monkeypatch.setattr(packfile, "_chunks", lambda path: pytest.fail("an unchanged file was read again"))
    PackedImages.open(path)
    monkeypatch.undo()
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"\x00\x01\x02")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(UserError, match="altered"):
        PackedImages.open(path)


def test_a_young_file_is_not_remembered_as_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times might not change with its content: file systems count them in steps."""
    path = tmp_path / "a.pack"
    packed(path)
    read: list[Path] = []
    chunks = packfile._chunks
    monkeypatch.setattr(packfile, "_chunks", lambda path: read.append(path) or chunks(path))
    PackedImages.open(path)
    PackedImages.open(path)
    assert len(read) == 2


def test_other_files_are_no_packed_sets(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UserError, match="not a packed image set"):
        PackedImages.open(tmp_path / "a.txt")
    with pytest.raises(UserError, match="Cannot read"):
        PackedImages.open(tmp_path / "gone.pack")


def with_broken(folder: Path, count: int, broken: int) -> Source:
    for index in range(count):
        Image.new("RGB", (8, 8), (index % 256, 0, 0)).save(folder / f"{index:03d}.png")
    for index in range(broken):
        (folder / f"{index * 7:03d}.png").write_bytes(b"broken")
    paths = sorted(folder.glob("*.png"))
    return make_source(images=paths, targets=np.arange(count), classes=tuple(map(str, range(count))))


def test_an_unreadable_image_is_skipped_and_counted_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = with_broken(tmp_path, 200, 2)
    images = packed(tmp_path / "a.pack", source, progress=True)
    assert (len(images), images.unreadable, images.metadata.total) == (198, 2, 200)
    assert images.targets().tolist() == [i for i in range(200) if i not in (0, 7)]
    assert images.read_one(0)[0, 0, 0] == 1
    assert str(tmp_path / "007.png") in images.metadata.unreadable[1]
    shown = capsys.readouterr()
    assert f"{tmp_path / '000.png'}: not an image" in shown.err
    assert shown.out == ""


def test_more_than_one_percent_unreadable_stops_and_leaves_nothing(tmp_path: Path) -> None:
    source = with_broken(tmp_path, 199, 2)
    out = tmp_path / "out" / "a.pack"
    with pytest.raises(UserError, match=r"2 of 199, the first .*000\.png.*--allow-unreadable"):
        packed(out, source)
    assert list(out.parent.iterdir()) == []
    assert len(packed(out, source, allow_unreadable=True)) == 197


def test_nothing_readable_always_stops(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="None of the 1 images"):
        packed(tmp_path / "a.pack", with_broken(tmp_path, 1, 1), allow_unreadable=True)


def test_the_disk_it_will_take_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed(tmp_path / "a.pack", progress=True)
    shown = capsys.readouterr().err
    assert shown.startswith("20 images at 8 x 8 take 8.1 kB")
    assert abs((tmp_path / "a.pack").stat().st_size - 8100) < 1000


def test_what_does_not_fit_on_the_disk_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5000))
    with pytest.raises(MachineError, match="5 kB left") as caught:
        packed(tmp_path / "new" / "a.pack")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fills_up_leaves_the_old_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pack"
    before = packed(path).fingerprint

    def full(self: object, metadata: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packfile.BodyWriter, "finish", full)
    with pytest.raises(MachineError, match="disk is full"):
        packed(path, make_source(7))
    assert PackedImages.open(path).fingerprint == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        packed(tmp_path / "file" / "a.pack")


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images"):
        packed(tmp_path / "a.pack", make_source(0))


_MEMORY = """
import sys
from pathlib import Path
import numpy as np
from ssl_ce.data.options import DataOptions
from ssl_ce.data.packer import pack
from ssl_ce.data.packing import PackedImages
from ssl_ce.data.source import Source

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

class Images(list):
    seen = []
    def __len__(self):
        return 3000
    def __getitem__(self, index):
        if index % 50 == 0:
            self.seen.append(anonymous())
        return np.full((128, 128, 3), index % 251, dtype=np.uint8)

images, path = Images(), Path(sys.argv[1])
pack(Source("made", "train", images), 128, path, DataOptions(workers=2), {})
packing = max(images.seen[10:]) - images.seen[10]
opened = PackedImages.open(path)
before, total, most = anonymous(), 0, 0.0
for start in range(0, 3000, 100):
    batch = opened.read(np.random.default_rng(start).permutation(3000)[:100])
    total += int(batch[:, 0, 0, 0].sum())
    most = max(most, anonymous() - before)
print(packing, most)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_anonymous_memory_stays_flat_while_147_mb_are_packed_and_read(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _MEMORY, str(tmp_path / "a.pack")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    packing, reading = map(float, result.stdout.split())
    assert packing < 20
    assert reading < 30
