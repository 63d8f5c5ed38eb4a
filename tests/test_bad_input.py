"""Files that are broken or malicious, and places that cannot be written to: one line that says what to do, no more."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.color import ColorHistogram
from ssl_ce.errors import DiskFullError
from ssl_ce.records.store import RecordStore

TINY = "--set method.encoder.width=0.1 --set method.decoder.width=0.1 --set log.tensorboard=false --batch-size 8"
FILE = "file:{}?encoder=dcgan&width=0.1&size=32"


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(ce, tmp_path: Path, cache_folder: Path):
    """`refused(line)` is the one line of an exit with 2, after which every file here is as it was."""

    def run(line: str) -> str:
        before = everything_in(tmp_path)
        answer = ce(line)
        errors = [text for text in answer.err.splitlines() if text.startswith("Error: ")]
        assert (answer.code, len(errors)) == (2, 1), answer.err
        assert "Traceback" not in answer.err
        assert everything_in(tmp_path) == before
        assert not list(cache_folder.rglob("*.tmp"))
        return errors[0]

    return run


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photo_folder, tmp_path / "photos"))


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


# Images


def truncated(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def altered(whole: bytes) -> bytes:
    return whole[:60] + bytes(40) + whole[100:]


def bomb(whole: bytes) -> bytes:
    """A PNG of a few bytes that declares 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def text(whole: bytes) -> bytes:
    return b"This is no image."


def nothing(whole: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [truncated, altered, bomb, text, nothing])
def test_an_image_that_cannot_be_read_is_named_with_what_to_do(refused, ce, photos, damage):
    broken = photos / "train" / "left" / "03.png"
    broken.write_bytes(damage(broken.read_bytes()))
    for line in (f"pretrain quickstart --data photos --out a {TINY}", "evaluate knn hog --data photos"):
        said = refused(line)
        assert str(broken) in said
        assert "--allow-unreadable" in said
    answer = ce("evaluate knn hog --data photos --no-floors --allow-unreadable")
    assert answer.code == 0
    assert f"Skipped {broken}: " in answer.err
    (record,) = RecordStore(Path("results/local")).records()
    assert record.train is not None
    assert (record.train.n, record.train.source["unreadable"]) == (23, 1)


def test_a_folder_of_broken_images_holds_none(refused, photos):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    assert "None of the 12 images of photos can be read" in refused("evaluate knn hog --data photos --allow-unreadable")


# Packed files


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: whole[:-1], "is cut off or was altered"),
        (lambda whole: whole[:30], "is cut off or was altered"),
        (lambda whole: whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], "was altered after it was written"),
        (lambda whole: b"PK" + whole[2:], "neither a folder nor a packed image set"),
    ],
    ids=["cut", "head-only", "one-bit", "other-kind"],
)
@pytest.mark.parametrize(
    "line", ["pretrain quickstart --data a.pack --out a", "data info a.pack", "evaluate inpainting telea --test a.pack"]
)
def test_a_packed_file_that_is_not_whole_is_refused_by_name(refused, ce, photos, tmp_path, damage, said, line):
    assert ce("data pack photos --size 32 --out a.pack").code == 0
    path = tmp_path / "a.pack"
    path.write_bytes(damage(path.read_bytes()))
    answer = refused(line)
    assert "a.pack" in answer
    assert said in answer


# Weights and runs


class Malicious:
    """Unpickled, it would leave a file called `owned`."""

    def __reduce__(self) -> Any:
        return os.system, ("touch owned",)


def test_a_malicious_pickle_is_not_run_whatever_it_is_called(refused, run, photos, tmp_path):
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious()))
    torch.save({"state_dict": Malicious()}, tmp_path / "zipped.pth")
    (tmp_path / "named.safetensors").write_bytes(pickle.dumps(Malicious()))
    for name, said in (
        ("plain.pt", "reading it could run code; it was not read"),
        ("zipped.pth", "reading it could run code; it was not read"),
        ("named.safetensors", "is not a readable safetensors file"),
    ):
        assert said in refused(f"evaluate knn '{FILE.format(name)}' --data photos")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "done": False}))
    torch.save({"networks": Malicious()}, run / "checkpoint.pt")
    assert "is not a checkpoint of this program" in refused("pretrain --resume run")
    (tmp_path / "evil.yaml").write_text("!!python/object/apply:os.system ['touch owned']\n")
    assert "is not valid YAML (line 1)" in refused("pretrain evil.yaml --data photos")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("file:run/encoder.safetensors?encoder=alexnet&size=32", "covers 0 of 10 tensors of the encoder 'alexnet'"),
        ("file:run/encoder.safetensors?encoder=dcgan&width=0.2&size=32", "(not 'stages.conv1.0.weight', for one)"),
        ("file:run/encoder.safetensors?encoder=dcgan&width=0.1&size=64", "covers 11 of 16 tensors"),
        ("file:run?encoder=dcgan&size=32", "is not a readable weights file"),
        ("file:absent.pt?encoder=dcgan&size=32", "There is no weights file absent.pt"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_with_its_coverage(refused, run, photos, subject, said):
    assert said in refused(f"evaluate knn '{subject}' --data photos")


def test_a_run_whose_files_do_not_fit_together_is_refused(refused, run, photos):
    state = safetensors.torch.load_file(run / "weights.safetensors")
    key = next(iter(state))
    weights = run / "weights.safetensors"
    for damaged, said in (
        ({**state, key: torch.zeros(3)}, f"({key} is (3,) in the file and"),
        ({name: value for name, value in state.items() if name != key}, f"({key} is missing)"),
        ({**state, "more": torch.zeros(3)}, "(more has no place)"),
    ):
        weights.write_bytes(safetensors.torch.save(damaged))
        answer = refused("evaluate inpainting run --data photos")
        assert "run/weights.safetensors are of another architecture" in answer
        assert said in answer
    weights.write_bytes(weights.read_bytes()[:100])
    assert "run/weights.safetensors is not a readable safetensors file" in refused("export run --format onnx -o e.onnx")
    (run / "manifest.json").write_text("{")
    assert "run/manifest.json is damaged" in refused("pretrain --resume run")
    (run / "recipe.yaml").write_text("method: [")
    assert "run/recipe.yaml is not valid YAML" in refused("pretrain --resume run")
    assert "run/recipe.yaml is not valid YAML" in refused("evaluate knn run --data photos")


def test_cached_features_that_are_damaged_are_named(refused, ce, photos, cache_folder):
    before = set((cache_folder / "features").rglob("*.npy"))
    assert ce("evaluate knn 'color-histogram?bins=5' --data photos --no-floors --results a").code == 0
    features = min(set((cache_folder / "features").rglob("*.npy")) - before)  # no other test asks for five bins
    whole = features.read_bytes()
    features.write_bytes(whole[:100])
    said = refused("evaluate knn 'color-histogram?bins=5' --data photos --no-floors --results b")
    features.write_bytes(whole)
    assert f"{features} are damaged. Delete that file" in said


# Places that cannot be written to: below a file, since the superuser may write anywhere else


@pytest.mark.parametrize(
    "line",
    [
        "pretrain quickstart --data photos --out notes.txt/run",
        "pretrain quickstart --data photos --resume notes.txt/run",
        "evaluate knn hog --data photos --results notes.txt/results",
        "data pack photos --size 16 --out notes.txt/a.pack",
        "export run --format safetensors -o notes.txt/e.safetensors",
        "quickstart --results notes.txt/results",
    ],
)
def test_a_place_below_a_file_is_refused_before_any_work(refused, run, photos, tmp_path, line):
    (tmp_path / "notes.txt").write_text("mine")
    said = refused(line)
    assert "Cannot write to notes.txt" in said
    assert said.endswith("notes.txt is a file. Choose another place for the output.")


# A full disk


@contextmanager
def no_space_for(name: str) -> Iterator[None]:
    """No new file whose name begins like this can be made."""
    make = tempfile.mkstemp

    def mkstemp(prefix: str, **options: Any) -> tuple[int, str]:
        if prefix.startswith(f".{name}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return make(prefix=prefix, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", mkstemp)
        yield


@pytest.mark.parametrize("name", ["encoder-initial", "recipe", "log.csv", "step-", "checkpoint", "weights"])
def test_a_training_that_fills_the_disk_says_what_is_kept_and_goes_on(ce, photos, name):
    line = f"pretrain quickstart --data photos --steps 3 --out a --set log.every=1 --set log.samples_every=2 {TINY}"
    with no_space_for(name):
        answer = ce(line)
    assert answer.code == 1
    assert "Error: The disk is full" in answer.err
    assert "Traceback" not in answer.err
    assert not list(Path("a").glob("*.tmp"))
    if name in ("encoder-initial", "recipe"):
        assert everything_in(Path("a")) == {}
    else:
        assert "Nothing was saved yet in a. Free some space and go on with: ce pretrain --resume a" in answer.err
        line = "pretrain --resume a"
    assert "a: 3 steps" in ce(line).out


def test_results_before_the_disk_was_full_are_kept(ce, photos):
    line = "evaluate inpainting telea --data photos --size 32 --no-floors --holes center --holes random-block"
    with no_space_for(second_record_id(ce, line)):
        answer = ce(line)
    assert answer.code == 1
    assert "Results stored before it: 1." in answer.err
    (kept,) = RecordStore(Path("results/local")).records()
    assert kept.variant == {"holes": "center"}


def second_record_id(ce, line: str) -> str:
    """The id of the second record that `line` writes, a hash of what was used."""
    assert ce(f"{line} --results elsewhere").code == 0
    return RecordStore(Path("elsewhere")).records()[1].id


def test_features_reserve_their_place_on_the_disk(digits_test, tmp_path, monkeypatch):
    def posix_fallocate(file, start, length):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", posix_fallocate)
    with pytest.raises(DiskFullError):
        FeatureCache(tmp_path / "features").features(ColorHistogram(), digits_test)
    assert everything_in(tmp_path) == {}


@pytest.mark.slow
def test_a_disk_that_is_really_full_ends_with_1_and_leaves_no_half_file(tmp_path):
    """On a small file system of its own, mounted in a namespace of its own."""
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=400k tmpfs {tmp_path}/disk"
    if shutil.which("unshare") is None or subprocess.run([*inside, mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = f"{sys.executable} -m ssl_ce pretrain quickstart --data digits --steps 9 --out disk/a {TINY}"
    script = f"{mount} && cd {tmp_path} && {command}; echo code $?; find disk -type f"
    shown = subprocess.run([*inside, script], capture_output=True, text=True, check=True)
    assert "Traceback" not in shown.stderr
    assert "Error: The disk is full at step 9 of 9. Nothing was saved yet in disk/a." in shown.stderr
    assert "code 1" in shown.stdout
    assert ".tmp" not in shown.stdout
