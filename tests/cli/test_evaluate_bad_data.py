"""`ce evaluate` on images and features that nothing can be judged by: one line, exit code 2, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

FROZEN = ("knn", "linear-probe", "clustering")


@pytest.fixture
def refused(ce, tmp_path: Path):
    """`refused(line)` is the one line of an exit with 2, after which no record was written."""

    def run(line: str) -> str:
        answer = ce(line)
        errors = [text for text in answer.err.splitlines() if text.startswith("Error: ")]
        assert (answer.code, len(errors)) == (2, 1), answer.out + answer.err
        assert "Traceback" not in answer.err
        assert not (tmp_path / "results").exists()
        return errors[0]

    return run


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(photo_folder, tmp_path / "photos"))


def picture(path: Path, value: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels if value is None else np.full_like(pixels, value)).save(path)


@pytest.mark.parametrize("evaluator", FROZEN)
def test_images_without_labels_or_of_one_class(refused, photos, evaluator):
    for split in ("train", "test"):
        shutil.rmtree(photos / split / "right")
    assert "has one class only" in refused(f"evaluate {evaluator} pixels --data photos --no-floors")
    for split in ("train", "test"):
        for image in (photos / split / "left").iterdir():
            image.rename(photos / split / image.name)
        (photos / split / "left").rmdir()
    assert "has no class labels. Put its images into one folder for each class" in refused(
        f"evaluate {evaluator} pixels --data photos --no-floors"
    )


@pytest.mark.parametrize("evaluator", FROZEN)
def test_classes_that_the_other_split_lacks(refused, photos, evaluator):
    picture(photos / "test" / "above" / "0.png")
    line = f"evaluate {evaluator} pixels --data photos --no-floors"
    assert "has classes that" in (said := refused(line))
    assert "has not: above" in said


@pytest.mark.parametrize("evaluator", FROZEN)
def test_test_images_that_are_the_train_images(refused, photos, evaluator):
    shutil.rmtree(photos / "test")
    shutil.copytree(photos / "train", photos / "test")
    assert "Train and test are the same images (photos, test). Give two splits." in refused(
        f"evaluate {evaluator} pixels --data photos --no-floors"
    )


@pytest.mark.parametrize("evaluator", FROZEN)
def test_features_that_are_the_same_for_every_image(refused, photos, evaluator):
    for image in photos.rglob("*.png"):
        picture(image, 100)
    for split, count in (("train", 13), ("test", 7)):  # another number of them, or they would be the same sets
        picture(photos / split / "left" / f"{count}.png", 100)
    said = refused(f"evaluate {evaluator} pixels --data photos --no-floors")
    assert "'pixels' gives every image of photos (" in said
    assert "the same features, so nothing can be told apart" in said


@pytest.mark.parametrize("evaluator", FROZEN)
@pytest.mark.parametrize("subject", ["run@conv1", "run@all"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "holds NaN or infinite values"),
        (3e38, "conv1' are not finite (NaN or infinite), first for image 0"),
    ],
    ids=["nan", "overflow"],
)
def test_weights_that_are_not_numbers_or_features_that_overflow(
    refused, photos, tiny_run, tmp_path, evaluator, subject, value, said
):
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    state = safetensors.torch.load_file(run / "weights.safetensors")
    for weight in state.values():
        if weight.ndim == 4:
            weight.fill_(value)
    safetensors.torch.save_file(state, run / "weights.safetensors")
    assert said in refused(f"evaluate {evaluator} {subject} --data photos --no-floors")


def test_fewer_images_than_neighbours_labels_or_clusters(refused, photos):
    assert "photos (train) has 24 images, fewer than the 200 neighbours of knn-instdisc@1" in refused(
        "evaluate knn-instdisc pixels --data photos --no-floors"
    )
    assert "Class 'left' of photos has 12 images in train, and labels_per_class=13 asks for more" in refused(
        "evaluate knn pixels --data photos --no-floors --set labels_per_class=13"
    )
    assert "headline k = 7 must be one of the neighbours" in refused(
        "evaluate knn pixels --data photos --no-floors --set headline=7"
    )
    for image in list(photos.rglob("test/*/0[1-9].png")):
        image.unlink()
    (photos / "test" / "right" / "00.png").unlink()
    assert "photos (test) has 1 images, fewer than its 2 classes" in refused(
        "evaluate clustering pixels --data photos --no-floors"
    )


def test_train_images_are_too_few_once_some_are_held_out_to_choose_a_tap(refused, photos):
    for number in range(2, 12):
        (photos / "train" / "left" / f"{number:02d}.png").unlink()
    assert "Class 'left' of photos (train without its held-out fifth) has fewer than the two images" in refused(
        "evaluate linear-probe 'random:dcgan@all?size=32&width=0.1' --data photos --size 32 --no-floors"
    )


def test_all_different_images_are_fewer_than_clusters(refused, photos):
    for split in ("train", "test"):
        for number, image in enumerate(sorted((photos / split).rglob("*.png"))):
            picture(image, 90 * (number % 2))
        picture(photos / split / "above" / "0.png", 0)
    assert "3 clusters cannot be made of 2 different vectors among 13" in refused(
        "evaluate clustering pixels --data photos --no-floors"
    )


@pytest.mark.parametrize("evaluator", ["clustering", "feature-diagnostics"])
def test_an_untrained_network_with_batch_norm_asks_for_train_images(refused, photos, evaluator):
    assert "needs train images for its BatchNorm: give --train" in refused(
        f"evaluate {evaluator} 'random:dcgan?size=32&width=0.1' --test photos/test --size 32 --no-floors"
    )
