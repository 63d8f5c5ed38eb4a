"""`ce pretrain`: where a run goes, what decides it, and how it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from PIL import Image

TINY = "--set method.encoder.width=0.1 --set method.decoder.width=0.1 --set log.tensorboard=false --batch-size 8"


def recipe_of(run: str) -> dict:
    return yaml.safe_load((Path(run) / "recipe.yaml").read_text())


def manifest_of(run: str) -> dict:
    return json.loads((Path(run) / "manifest.json").read_text())


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    """photos/ in the folder where `ce` is typed."""
    (tmp_path / "photos").symlink_to(photo_folder)
    return tmp_path / "photos"


@pytest.fixture
def stopped_at(monkeypatch):
    """`stopped_at(step)` makes SIGTERM come at that step of the next training."""

    def arrange(step: int) -> None:
        @contextmanager
        def progress(what):
            yield lambda state: os.kill(os.getpid(), signal.SIGTERM) if state.step == step else None

        monkeypatch.setattr("ssl_ce.cli.progress.training_progress", progress)

    return arrange


@pytest.mark.parametrize(
    ("recipe", "data", "run"),
    [
        ("quickstart", "photos/", "runs/quickstart-photos"),
        ("mine/small.yaml", "photos.pack", "runs/small-photos"),
        ("quickstart", ".", "runs/quickstart-flat"),
        ("quickstart", "'photos/?where=left&count=8'", "runs/quickstart-photos-left-8"),
    ],
)
def test_a_run_is_named_after_recipe_and_images_unless_told(ce, photos, tmp_path, monkeypatch, recipe, data, run):
    (tmp_path / "flat").mkdir()
    for number in range(10):
        Image.new("RGB", (40, 40), (20 * number, 0, 0)).save(tmp_path / "flat" / f"{number}.png")
    assert ce("data pack photos --size 32 --out photos.pack").code == 0
    (tmp_path / "mine").mkdir()
    shutil.copy(Path(__file__).parents[2] / "ssl_ce" / "recipes" / "quickstart.yaml", tmp_path / "mine" / "small.yaml")
    if data == ".":
        monkeypatch.chdir(tmp_path / "flat")
    answer = ce(f"pretrain {recipe} --data {data} --steps 1 {TINY}")
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"{run}: 1 steps")
    assert manifest_of(run)["command"].startswith(f"ce pretrain {recipe} --data {data}")


def test_options_are_written_into_the_resolved_recipe(ce, photos):
    options = "--steps 2 --seed 7 --precision 32 --device cpu --size 40 --fit pad --data-seed 3 --set optim.lr=2e-3"
    assert ce(f"pretrain quickstart --data photos --out a {options} {TINY}").code == 0
    recipe = recipe_of("a")
    assert (recipe["seed"], recipe["precision"], recipe["device"]) == (7, "32", "cpu")
    assert recipe["optim"]["steps"] == 2
    assert recipe["optim"]["epochs"] is None
    assert (recipe["optim"]["lr"], recipe["optim"]["batch_size"]) == (0.002, 8)
    assert recipe["data"] == {
        "source": "photos", "split": "train", "size": 40, "fit": "pad", "flip": False, "held_out": 0, "split_seed": 3,
    }  # fmt: skip
    assert manifest_of("a")["data"]["size"] == [40, 40]


def test_epochs_are_passes_over_the_images(ce, photos):
    answer = ce(f"pretrain quickstart --data photos --out a --epochs 2 {TINY}")
    assert "a: 6 steps, 48 images" in answer.out  # 24 images, 8 a step


def test_bf16_is_used_when_asked_for(ce, photos):
    assert ce(f"pretrain quickstart --data photos --out a --steps 1 --precision bf16 {TINY}").code == 0
    assert manifest_of("a")["precision"] == "bf16"


def test_a_packed_file_keeps_its_size_whatever_the_recipe_packs_folders_at(ce, photos):
    assert ce("data pack photos --size 36 --out photos.pack").code == 0
    assert ce(f"pretrain quickstart --data photos.pack --out a --steps 1 --set data.size=33 {TINY}").code == 0
    assert manifest_of("a")["data"]["size"] == [36, 36]
    refused = ce(f"pretrain quickstart --data photos.pack --out b --steps 1 --size 33 {TINY}")
    assert refused.code == 2
    assert "Leave out --size" in refused.err


def test_images_without_labels_need_no_online_accuracy(ce, tmp_path):
    for number in range(10):
        path = tmp_path / "flat" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (50, 40), (20 * number, 0, 0)).save(path)
    assert ce(f"pretrain quickstart --data flat --out a --steps 2 {TINY}").code == 0
    assert "online_knn" not in (tmp_path / "a" / "log.csv").read_text()


def test_a_stopped_run_says_how_it_goes_on_and_does(ce, photos, stopped_at, monkeypatch):
    stopped_at(3)
    answer = ce(f"pretrain quickstart --data photos --steps 5 --out a {TINY}")
    assert answer.code == 75
    assert answer.err.endswith("Stopped by SIGTERM at step 3 of 5, after saving. Go on with: ce pretrain --resume a\n")
    assert manifest_of("a")["done"] is False
    monkeypatch.undo()
    monkeypatch.chdir(photos.parent)
    monkeypatch.setattr(sys, "argv", ["ce"])
    assert "a: 5 steps" in ce("pretrain --resume a").out
    assert "a is finished: 5 steps" in ce("pretrain --resume a").out


def test_a_recipe_beside_resume_starts_the_run_or_goes_on(ce, photos, stopped_at):
    line = f"pretrain quickstart --data photos --steps 4 --resume a {TINY}"
    stopped_at(2)
    assert ce(line).code == 75
    stopped_at(99)
    assert "a: 4 steps" in ce(line).out
    assert "finished" in ce(line).out


@pytest.mark.parametrize(
    "extra",
    ["--steps 9", "--seed 1", "--set optim.lr=1 --set method.size=64", "--auto-batch", "--data photos", "--size 40"],
)
def test_a_run_that_goes_on_keeps_its_settings_and_data(ce, tiny_run, extra):
    answer = ce(f"pretrain --resume {tiny_run} {extra}")
    assert answer.code == 2
    assert "keeps its own settings and data" in answer.err


def test_a_recipe_that_is_not_the_runs_own_is_refused_by_its_first_difference(ce, tiny_run):
    own = "--set method.encoder.width=0.1 --set method.decoder.width=0.1 --set log.tensorboard=false"
    answer = ce(f"pretrain quickstart --data digits --resume {tiny_run} --steps 9 {own}")
    assert answer.code == 2
    assert "was begun with optim.steps = 3 and the recipe now says 9" in answer.err


def test_a_directory_with_other_files_is_left_alone(ce, photos, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("mine")
    for option in ("--out", "--resume"):
        answer = ce(f"pretrain quickstart --data photos --steps 1 {option} a {TINY}")
        assert answer.code == 2
        assert "exists already and is no run" in answer.err
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["notes.txt"]


def test_what_cannot_be_built_is_refused_before_images_are_packed(ce, photos, cache_folder):
    before = sorted(cache_folder.rglob("*"))
    for wrong in ("--size 46 --set method.size=40", "--size 46 --set method.holes.options.lo=0.1", "--size 16"):
        assert ce(f"pretrain quickstart --data photos --out a {wrong}").code == 2
    assert sorted(cache_folder.rglob("*")) == before
    assert not Path("a").exists()


@pytest.mark.slow
def test_a_training_that_is_terminated_saves_and_goes_on_in_a_new_process(tmp_path):
    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "ssl_ce", "pretrain", *words]

    line = ["quickstart", "--data", "digits", "--out", "a", "--steps", "2000", *TINY.split()]
    training = subprocess.Popen(command(*line), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "a" / "log.csv"
    while training.poll() is None and not log.exists():
        time.sleep(0.1)
    training.terminate()
    _, errors = training.communicate(timeout=60)
    assert training.returncode == 75, errors
    assert "Go on with: ce pretrain --resume a" in errors
    state = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert 0 < state["step"] < 2000
    ended = subprocess.run(command("--resume", "a"), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "a: 2000 steps" in ended.stdout
