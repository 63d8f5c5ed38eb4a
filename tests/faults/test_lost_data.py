"""Images that vanish or are cut off while somebody reads them: said plainly, and nothing that was learnt is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_ce.data.decode import decode
from ssl_ce.data.packfile import PIXELS_AT
from ssl_ce.data.packing import PackedImages
from ssl_ce.data.rows import Rows
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.pixels import Pixels
from ssl_ce.errors import DataLostError, MachineError
from ssl_ce.methods.saved import read_safetensors
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe


@pytest.fixture
def packed(tmp_path: Path, digits_train: PackedImages) -> PackedImages:
    """Digits in a file of this test's own."""
    return PackedImages.open(Path(shutil.copy(digits_train.path, tmp_path / "digits.pack")))


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (read_safetensors(run / "weights.safetensors") for run in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def at_step(step: int, work: Callable[[], object]) -> Hooks:
    def progress(state: Progress) -> None:
        if state.step == step:
            work()

    return Hooks(progress=progress)


def test_rows_are_those_of_a_memory_mapped_file(packed: PackedImages):
    mapped = np.memmap(packed.path, np.uint8, "r", PIXELS_AT, (len(packed), 3, 32, 32))
    rows = Rows(packed.path, PIXELS_AT, (3, 32, 32))
    generator = np.random.default_rng(0)
    for numbers in (
        generator.integers(0, len(packed), 50),
        np.arange(10, 200),
        np.array([5, 6, 7, 3, 4, 4, 9]),
        np.array([len(packed) - 1]),
        np.array([], np.int64),
    ):
        np.testing.assert_array_equal(rows.read(numbers), mapped[numbers])


def test_reading_beyond_a_cut_is_an_error_where_a_mapped_file_kills(packed: PackedImages):
    code = "import sys, numpy, os; a = numpy.memmap(sys.argv[1], mode='r'); os.truncate(sys.argv[1], 4096); a[-1]"
    (packed.path.parent / "copy").write_bytes(packed.path.read_bytes())
    killed = subprocess.run([sys.executable, "-c", code, str(packed.path.parent / "copy")], check=False)
    assert killed.returncode == -signal.SIGBUS
    os.truncate(packed.path, PIXELS_AT + 10 * 3 * 32 * 32 + 7)
    assert packed.read([0, 9]).shape == (2, 3, 32, 32)
    for rows in ([10], [0, 11], range(8, 12)):
        with pytest.raises(DataLostError, match=r"digits.pack cannot be read any more: it was cut off"):
            packed.read(rows)


def test_a_training_whose_images_are_cut_off_saves_and_goes_on_when_they_are_back(
    packed: PackedImages, tmp_path: Path, short_recipe: Recipe
):
    whole = pretrain(short_recipe, packed, tmp_path / "whole")
    content = packed.path.read_bytes()
    with pytest.raises(MachineError) as caught:
        pretrain(short_recipe, packed, tmp_path / "run", hooks=at_step(7, lambda: os.truncate(packed.path, 5000)))
    said = str(caught.value)
    assert "digits.pack cannot be read any more: it was cut off after it was opened. Restore it and run again." in said
    assert f"The checkpoint of step 8 is kept in {tmp_path / 'run'}. Go on with: ce pretrain --resume" in said
    packed.path.write_bytes(content)
    assert same_weights(pretrain(short_recipe, PackedImages.open(packed.path), tmp_path / "run", resume=True), whole)


def test_a_packed_file_that_is_deleted_is_read_to_the_end(packed: PackedImages, tmp_path: Path, short_recipe: Recipe):
    whole = pretrain(short_recipe, packed, tmp_path / "whole")
    hooks = at_step(3, packed.path.unlink)
    assert same_weights(pretrain(short_recipe, packed, tmp_path / "run", hooks=hooks), whole)
    assert not packed.path.exists()


def test_features_of_images_that_are_cut_off_leave_nothing(packed: PackedImages, tmp_path: Path):
    os.truncate(packed.path, PIXELS_AT + 600 * 3 * 32 * 32)
    with pytest.raises(DataLostError):
        FeatureCache(tmp_path / "features", batch_size=100).features(Pixels(), packed)
    assert [path for path in (tmp_path / "features").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes() + b" ")])
def test_a_file_that_changes_or_vanishes_while_it_is_packed_is_noticed(
    ce, photo_folder: Path, harm: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(photo_folder / "train", "photos")
    decoded: list[Any] = []

    def harmful(image: Any) -> Any:
        decoded.append(image)
        if len(decoded) == 5:
            harm(Path("photos/right/11.png"))
        return decode(image)

    monkeypatch.setattr("ssl_ce.data.packer.decode", harmful)
    answer = ce("data pack photos --size 16 --split all --allow-unreadable --out photos.pack")
    assert answer.code == 1
    assert "Error: Images of photos changed or vanished while they were packed" in answer.err
    assert ("photos/right/11.png: No such file" in answer.err) == (not Path("photos/right/11.png").exists())
    assert sorted(path.name for path in Path().iterdir()) == ["photos"]
    assert ce("data pack photos --size 16 --split all --out photos.pack").code == 0
