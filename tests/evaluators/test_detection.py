from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.boxes import ImageBoxes
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.detection import Detection, DetectionConfig, find_classes
from ssl_ce.evaluators.detector import Found, average_precisions
from ssl_ce.records.record import Record

DCGAN = "random:dcgan?size=32&width=0.3"


def evaluator(**settings: Any) -> Detection:
    small = {"precision": "32", "steps": 2, "channels": 16, "hidden": 32, "proposals": 16}
    return Detection(DetectionConfig(**{**small, **settings}))


def detected(data: EvaluationData, env: Env, reference: str = DCGAN, **settings: Any) -> Record:
    judge = evaluator(**settings)
    subject = judge.resolve(reference, data, env.device)
    judge.check(subject, data)
    before = subject.state_hash()
    (record,) = judge.run(subject, data, env)
    assert subject.state_hash() == before
    return record


def boxes(*rows: tuple[float, float, float, float]) -> Any:
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def truth(rows: Any, labels: list[int], difficult: list[bool]) -> ImageBoxes:
    return ImageBoxes(boxes(*rows), np.array(labels), np.array(difficult), 0)


def found(rows: Any, scores: list[float], labels: list[int]) -> Found:
    return Found(boxes(*rows), np.array(scores, dtype=np.float32), np.array(labels))


def test_average_precision_of_a_case_by_hand() -> None:
    """Two objects; by score: a hit, a miss, a hit at an overlap of 0.82, and a difficult object, which is passed over.

    At overlaps up to 0.8 precision is 1 up to recall 0.5 (51 of 101 points) and 2/3 beyond it (50); above, the second
    object is never found.
    """
    a, b, c = (0, 0, 10, 10), (0, 0, 10, 10), (20, 20, 30, 30)
    given = [
        found([a, (20, 0, 30, 10)], [0.9, 0.8], [0, 0]),
        found([(0, 0, 10, 8.2), c], [0.7, 0.6], [0, 0]),
    ]
    true = [truth([a], [0], [False]), truth([b, c], [0, 0], [False, True])]
    scores = average_precisions(given, true, classes=3)
    low, high = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert scores.ap50 == pytest.approx(low, abs=1e-6)
    assert scores.ap == pytest.approx((7 * low + 3 * high) / 10, abs=1e-6)
    assert scores.ap50_of == [pytest.approx(low, abs=1e-4), None, None]


def test_a_class_is_averaged_as_one_and_nothing_found_is_zero() -> None:
    a, b = (0, 0, 10, 10), (20, 20, 30, 30)
    true = [truth([a, a, b], [2, 2, 0], [False, False, False]), truth([], [], [])]
    given = [found([b, (1, 1, 4, 4)], [0.9, 0.5], [0, 1]), found([], [], [])]
    scores = average_precisions(given, true, classes=3)
    assert scores.ap50_of == [1.0, None, 0.0]
    assert scores.ap50 == pytest.approx(0.5)
    assert average_precisions([found([], [], [])] * 2, true, classes=3).ap50 == 0.0


def test_it_learns_to_find_shapes(shapes: EvaluationData, env: Env) -> None:
    record = detected(shapes, env, steps=40, rate=0.3)
    assert record.protocol == "detection-faster-rcnn@1"
    assert record.metrics["ap50"].value > 0.5 > 0.05 > detected(shapes, env, steps=1).metrics["ap50"].value
    assert record.metrics["ap"].value < record.metrics["ap50"].value
    assert all(metric.low is None and metric.spread == "n/a" for metric in record.metrics.values())
    assert record.notes["map"] == "conv2, 8 cells a side"
    assert list(record.notes["ap50 of classes"]) == ["green", "red"]
    assert record.notes["train objects"] == 80


def test_a_seed_decides_the_result(shapes: EvaluationData, env: Env) -> None:
    assert shapes.train is not None
    images = shapes.test.read(range(2))
    classes = find_classes(shapes.train, shapes.test)
    learned = shapes.train.boxes.read(range(40), classes)  # type: ignore[attr-defined]
    judge = evaluator()
    subject = judge.resolve(DCGAN, shapes, env.device)
    first, again, other = (
        judge.train(subject, shapes.train, learned, classes, replace(env, seed=seed)).find(images) for seed in (0, 0, 1)
    )
    assert np.array_equal(first[0].boxes, again[0].boxes)
    assert first[0].boxes.shape != other[0].boxes.shape or not np.array_equal(first[0].boxes, other[0].boxes)


def test_batch_norm_keeps_its_statistics_and_the_rest_learns(shapes: EvaluationData, env: Env) -> None:
    for frozen in (False, True):
        judge = evaluator(frozen=frozen)
        subject: Any = judge.resolve(DCGAN, shapes, env.device)
        assert shapes.train is not None
        learned = shapes.train.boxes.read(range(40))  # type: ignore[attr-defined]
        detector = judge.train(subject, shapes.train, learned, ("green", "red"), env)
        before = subject.encoder.state_dict()
        after = detector.model.backbone.encoder.state_dict()
        same = {name: torch.equal(before[name], after[name]) for name in before}
        assert all(equal for name, equal in same.items() if "running" in name)
        assert same["stages.conv1.0.weight"] == frozen
        assert judge.variant().get("encoder") == ("frozen" if frozen else None)


@pytest.mark.parametrize(
    ("reference", "tap"),
    [
        (DCGAN, "conv2"),
        ("random:dcgan@conv3?size=32&width=0.3", "conv3"),
        ("random:alexnet?size=96&width=0.1", "conv5"),
        ("random:vit?size=32&width=0.2&depth=2", "block2"),
    ],
)
def test_the_map_is_the_last_that_is_fine_enough(shapes: EvaluationData, reference: str, tap: str) -> None:
    judge = evaluator()
    assert judge.tap(judge.resolve(reference, shapes, torch.device("cpu"))) == tap


def test_boxes_are_found_at_the_images_own_size(shapes: EvaluationData, env: Env) -> None:
    """A network of 16 pixels sees images of 32: what it finds reaches beyond 16."""
    assert shapes.train is not None
    judge = evaluator(steps=1, fewest_cells=4)
    learned = shapes.train.boxes.read(range(40))  # type: ignore[attr-defined]
    subject = judge.resolve("random:dcgan?size=16&width=0.2", shapes, env.device)
    detector = judge.train(subject, shapes.train, learned, ("green", "red"), env)
    detector.model.roi_heads.score_thresh = 0.0
    edges = np.concatenate([one.boxes for one in detector.find(shapes.test.read(range(8)))])
    assert 0 <= edges.min() < 8
    assert 24 < edges.max() <= 32


@pytest.fixture
def mine(shapes_folder: Path, tmp_path: Path) -> Path:
    """A copy of the shapes that may be spoilt."""
    shutil.copytree(shapes_folder, tmp_path / "mine")
    return tmp_path / "mine"


def opened(folder: Path) -> EvaluationData:
    return EvaluationData(*(open_set(str(folder), split, DataOptions(size=32)) for split in ("test", "train")))


def respell(folder: Path, old: str, new: str) -> None:
    for path in folder.iterdir():
        path.write_text(path.read_text().replace(old, new))


def test_what_cannot_be_judged_is_refused(
    mine: Path, shapes: EvaluationData, digits: EvaluationData, env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="'pixels' has no network to train, so detection cannot judge it"):
        detected(shapes, env, "pixels")
    with pytest.raises(UserError, match=r"made \(train\) has no boxes\. Put Pascal VOC's XML beside the images"):
        detected(digits, env)
    with pytest.raises(UserError, match=r"No map of 'random:dcgan.*' has 20 x 20 cells"):
        detected(shapes, env, fewest_cells=20)
    respell(mine / "test" / "annotations", "red", "blue")
    with pytest.raises(UserError, match=r"mine \(test\) holds objects of the class 'blue', of which train has none"):
        detected(opened(mine), env)
    respell(mine / "test" / "annotations", "<bndbox>", "<difficult>1</difficult><bndbox>")
    respell(mine / "test" / "annotations", "blue", "red")
    with pytest.raises(UserError, match=r"mine \(test\) shows no object that counts"):
        detected(opened(mine), env)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r"needs the extra 'detection': pip install 'ssl-ce\[detection\]'"):
        detected(shapes, env)
