"""A disk that is full, or that nobody may write to: one line, nothing half there, and the work goes on later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_ce.data.packing import PackedImages
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.pixels import Pixels
from ssl_ce.errors import DiskFullError, MachineError
from ssl_ce.methods.saved import read_safetensors
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe
from ssl_ce.records.store import RecordStore

TINY = "--set method.encoder.width=0.1 --set method.decoder.width=0.1 --set log.online_every=0"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (read_safetensors(run / "weights.safetensors") for run in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_checkpoint_that_finds_the_disk_full_leaves_the_last_and_the_training_goes_on(
    disk: Path, fill_up: Callable[..., Path], tmp_path: Path, digits_train: PackedImages, short_recipe: Recipe
):
    whole = pretrain(short_recipe, digits_train, tmp_path / "whole")
    seen: dict[str, bytes] = {}

    def fill(state: Progress) -> None:
        if state.step == 7:
            seen.update(files(disk / "run"))
            fill_up(leave=16 << 10)

    with pytest.raises(MachineError, match=r"The disk is full at step 10 of 12\. The checkpoint of step 5 is kept in "):
        pretrain(short_recipe, digits_train, disk / "run", hooks=Hooks(progress=fill))
    kept = files(disk / "run")
    assert kept.keys() == seen.keys() - {".lock"}
    assert all(kept[name] == seen[name] for name in kept if name != "log.csv")
    (disk / "ballast").unlink()
    assert same_weights(pretrain(short_recipe, digits_train, disk / "run", resume=True), whole)


def test_a_full_disk_keeps_a_training_from_going_on_and_harms_nothing(
    ce, disk: Path, fill_up: Callable[..., Path], digits_train: PackedImages, short_recipe: Recipe
):
    run = pretrain(short_recipe, digits_train, disk / "run")
    (run / "manifest.json").unlink()  # so that it does not count as finished
    before = files(run)
    fill_up(leave=0)
    answer = ce(f"pretrain --resume {run}")
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert answer.err.startswith("Error: The disk is full: ")
    assert files(run) == before


def test_packing_that_fills_the_disk_leaves_nothing(
    ce, disk: Path, fill_up: Callable[..., Path], photo_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """The disk is looked at before; here it is filled by somebody else after that."""
    monkeypatch.setattr("ssl_ce.data.packer._check_space", lambda *given: fill_up(leave=64 << 10))
    answer = ce(f"data pack {photo_folder} --size 64 --out {disk / 'photos.pack'}")
    assert answer.code == 1
    assert f"Error: The disk is full: {disk / 'photos.pack'} was not written" in answer.err
    assert [path.name for path in disk.iterdir()] == ["ballast"]


def test_features_that_fill_the_disk_leave_nothing_and_are_computed_later(
    disk: Path, fill_up: Callable[..., Path], digits_test: PackedImages
):
    cache, descriptor = FeatureCache(disk / "features"), Pixels()
    ballast = fill_up(leave=64 << 10)
    with pytest.raises(DiskFullError):
        cache.features(descriptor, digits_test)
    assert files(disk).keys() == {"ballast"}
    ballast.unlink()
    np.testing.assert_array_equal(
        cache.features(descriptor, digits_test), descriptor.describe(digits_test.read(range(len(digits_test))))
    )


def test_a_record_that_finds_the_disk_full_harms_none_before_it(ce, disk: Path, fill_up: Callable[..., Path]):
    options = f"--data digits --no-floors --failures 0 --results {disk / 'results'}"
    line = f"evaluate inpainting mean-color {options} --holes "
    assert ce(line + "center").code == 0
    before = files(disk / "results")
    ballast = fill_up(leave=0)
    answer = ce(line + "random-block")
    assert answer.code == 1
    assert "Results stored before it: 0." in answer.err
    assert files(disk / "results") == before
    ballast.unlink()
    assert ce(line + "random-block").code == 0
    records = RecordStore(disk / "results").records(with_outcomes=True)
    assert [record.variant for record in records] == [{"holes": "center"}, {"holes": "random-block"}]


def test_a_read_only_disk_is_said_to_be_one(
    ce,
    disk: Path,
    make_read_only: Callable[[], None],
    photo_folder: Path,
    digits_train: PackedImages,
    short_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
):
    run = pretrain(short_recipe, digits_train, disk / "run")
    (run / "manifest.json").unlink()
    make_read_only()
    before = files(disk)
    elsewhere = "Choose another place for the output."
    for line in (
        f"pretrain quickstart --data digits --steps 2 --out {disk / 'new'} {TINY}",
        f"data pack {photo_folder} --size 16 --out {disk / 'photos.pack'}",
        f"evaluate knn hog --data digits --no-floors --results {disk / 'results'}",
    ):
        answer = ce(line)
        assert (answer.code, "read-only disk" in answer.err, elsewhere in answer.err) == (2, True, True), answer.err
    answer = ce(f"pretrain --resume {run}")
    assert (answer.code, "Read-only file system" in answer.err) == (2, True), answer.err
    monkeypatch.setenv("SSL_CE_CACHE", str(disk / "cache"))
    answer = ce("evaluate knn hog --data digits --no-floors --results results")
    assert answer.code == 2
    assert "read-only disk. Put the cache elsewhere: the environment variable SSL_CE_CACHE." in answer.err
    assert files(disk) == before
