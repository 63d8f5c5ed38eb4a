from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_ce.data import DataOptions, open_set
from ssl_ce.descriptors import load_descriptor
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.fcn import FullyConvolutional, predict, scored_taps
from ssl_ce.evaluators.pixel_classes import find_classes
from ssl_ce.evaluators.segmentation import Segmentation, SegmentationConfig
from ssl_ce.records.record import Record

DCGAN = "random:dcgan?size=32&width=0.2"


def segmented(data: EvaluationData, env: Env, reference: str = DCGAN, **settings: Any) -> Record:
    evaluator = Segmentation(SegmentationConfig(**{"precision": "32", "steps": 3, **settings}))
    subject = evaluator.resolve(reference, data, env.device)
    evaluator.check(subject, data)
    before = subject.state_hash()
    (record,) = evaluator.run(subject, data, env)
    assert subject.state_hash() == before
    return record


def test_it_learns_to_draw_shapes(shapes: EvaluationData, env: Env) -> None:
    record = segmented(shapes, env, steps=60, rate=0.1)
    assert record.protocol == "segmentation-fcn@1"
    miou, accuracy = record.metrics["miou"], record.metrics["pixel_accuracy"]
    everywhere = record.notes["miou of '0' everywhere, the most frequent in train"]
    assert 0.1 < everywhere < 0.35 < 0.5 < miou.value
    assert miou.low is not None
    assert miou.high is not None
    assert miou.low < miou.value < miou.high
    assert record.notes["maps scored"] == "conv2, conv3"
    assert list(record.notes["iou of classes"]) == ["0", "1", "2"]
    assert np.mean(list(record.notes["iou of classes"].values())) == pytest.approx(miou.value, abs=1e-4)
    assert record.outcomes is not None
    # All images have as many labelled pixels, so that shares may be averaged.
    assert np.mean(record.outcomes["accuracy_by_image"]) == pytest.approx(accuracy.value)
    assert np.mean(record.outcomes["iou_by_image"]) == pytest.approx(record.metrics["iou_by_image"].value)


def test_a_seed_decides_the_result(shapes: EvaluationData, env: Env) -> None:
    first, again, other = (segmented(shapes, replace(env, seed=seed)) for seed in (0, 0, 1))
    assert first.outcomes == again.outcomes != other.outcomes


def test_a_frozen_encoder_is_told_and_stays(shapes: EvaluationData, env: Env) -> None:
    assert segmented(shapes, env, frozen=True).variant["encoder"] == "frozen"
    assert shapes.train is not None
    evaluator = Segmentation(SegmentationConfig(frozen=True, steps=3, precision="32"))
    subject: Any = evaluator.resolve(DCGAN, shapes, env.device)
    network = evaluator.train(subject, shapes.train, find_classes(shapes.train, shapes.test), env)
    for name, tensor in subject.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], tensor), name


def test_the_sum_of_maps_is_the_papers(shapes: EvaluationData) -> None:
    """Scores of each map enlarged step by step, written out once more."""
    encoder: Any = load_descriptor(DCGAN).encoder
    network = FullyConvolutional(encoder, ("conv1", "conv2", "conv3"), 4).eval()
    x = torch.randn(2, 3, 32, 32)
    fine, middle, coarse = (
        score(encoder.maps(x, [tap])[tap]) for tap, score in zip(network.taps, network.scores, strict=True)
    )

    def larger(y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(y, scale_factor=2, mode="bilinear")

    assert torch.allclose(network(x, 32), larger(fine + larger(middle + larger(coarse))), atol=1e-6)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (DCGAN, ["conv2", "conv3"]),
        (f"{DCGAN.replace('dcgan', 'dcgan@conv2')}", ["conv2"]),
        ("random:dcgan@conv1?size=32&width=0.2", ["conv1"]),
        ("random:vit?size=32&width=0.2&depth=3", ["block3"]),
        ("random:alexnet?size=64&width=0.1", ["conv5", "pool5"]),
    ],
)
def test_which_maps_are_scored(reference: str, expected: list[str]) -> None:
    subject: Any = load_descriptor(reference)
    assert scored_taps(subject.encoder, subject.tap, 4) == expected


def test_images_of_another_size_are_drawn_at_their_own() -> None:
    encoder: Any = load_descriptor(DCGAN).encoder
    network = FullyConvolutional(encoder, ("conv3",), 3).eval()
    maps = predict(network, torch.randint(0, 256, (2, 3, 50, 50), dtype=torch.uint8))
    assert (maps.shape, maps.min() >= 0, maps.max() < 3) == ((2, 50, 50), True, True)


@pytest.fixture
def mine(shapes_folder: Path, tmp_path: Path) -> Path:
    """A copy of the shapes that may be spoilt."""
    shutil.copytree(shapes_folder, tmp_path / "mine")
    return tmp_path / "mine"


def opened(folder: Path) -> EvaluationData:
    return EvaluationData(*(open_set(str(folder), split, DataOptions(size=32)) for split in ("test", "train")))


def paint(folder: Path, split: str, number: int, value: int) -> None:
    path = folder / split / "masks" / f"{number}.png"
    labels = np.array(Image.open(path))
    labels[5:9, 5:9] = value
    Image.fromarray(labels).save(path)


def test_names_come_from_classes_json_and_a_class_that_nobody_shows_is_left_out(mine: Path, env: Env) -> None:
    (mine / "classes.json").write_text('["ground", "red", "green", "unseen"]')
    record = segmented(opened(mine), env, steps=40, rate=0.2)
    assert list(record.notes["iou of classes"]) == ["ground", "red", "green"]
    assert record.notes["classes neither in test nor predicted, left out"] == "unseen"


def test_other_maps_make_another_record(mine: Path, env: Env) -> None:
    first = segmented(opened(mine), env)
    paint(mine, "test", 3, 2)
    assert segmented(opened(mine), env).id != first.id


@pytest.mark.parametrize(
    ("split", "names", "words"),
    [
        ("test", None, r"maps of mine \(test\) hold the class 7, that no map of train holds"),
        ("train", '["a", "b", "c"]', r"maps of mine \(train\) hold the class 7, that has no name in classes\.json"),
    ],
)
def test_a_class_that_cannot_be_learned_is_refused(
    mine: Path, env: Env, split: str, names: str | None, words: str
) -> None:
    paint(mine, split, 0, 7)
    if names:
        (mine / "classes.json").write_text(names)
    with pytest.raises(UserError, match=words):
        segmented(opened(mine), env)


def test_what_cannot_be_judged_is_refused(mine: Path, shapes: EvaluationData, digits: EvaluationData, env: Env) -> None:
    with pytest.raises(UserError, match="'hog' has no network to train, so segmentation cannot judge it"):
        segmented(shapes, env, "hog")
    with pytest.raises(UserError, match=r"made \(train\) has no label maps\. Put them beside the images"):
        segmented(digits, env)
    with pytest.raises(UserError, match="needs a train split"):
        segmented(EvaluationData(shapes.test), env, "random:alexnet?size=32&width=0.1")
    for path in (mine / "train" / "masks").iterdir():
        Image.new("L", (32, 32), 1).save(path)
    with pytest.raises(UserError, match=r"maps of mine \(train\) show 1 class, and two are needed"):
        segmented(opened(mine), env)
