"""A made VOCdevkit: photographs with a red or a blue square, or both, and their XML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_ce.data import DataOptions, open_set
from ssl_ce.errors import UserError
from ssl_ce.evaluators.average_precision import average_precision
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.voc_classification import VocClassification, VocClassificationConfig
from ssl_ce.records.store import RecordStore

SUBJECT = "random:dcgan@conv3?size=32&width=0.2"
SHORT = {"steps": 40, "hidden": (16,), "rate": 0.3, "smallest_crop": 0.5, "test_crops": 2, "precision": "32"}


@pytest.fixture(scope="module")
def devkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 trainval and 24 test photographs: cats are red, dogs are blue; a few are difficult."""
    root = tmp_path_factory.mktemp("voc")
    base = root / "VOCdevkit" / "VOC2007"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (base / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split, count, first in (("trainval", 40, 0), ("test", 24, 100)):
        names = [f"{first + number:06d}" for number in range(count)]
        for number, name in enumerate(names):
            pixels = generator.integers(0, 60, (40, 48, 3), dtype=np.uint8)
            things = []
            for channel, thing in ((0, "cat"), (2, "dog")):
                if number % 4 in (channel, 3):
                    top, left = generator.integers(0, 20, 2)
                    pixels[top : top + 18, left : left + 22, channel] = 230
                    things.append((thing, int(number % 12 == 7)))
            Image.fromarray(pixels).save(base / "JPEGImages" / f"{name}.jpg", quality=95)
            objects = "".join(
                f"<object><name>{thing}</name><difficult>{difficult}</difficult>"
                "<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>"
                for thing, difficult in things
            )
            size = "<size><width>48</width><height>40</height><depth>3</depth></size>"
            (base / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
        (base / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


@pytest.fixture(scope="module")
def voc(devkit: Path) -> EvaluationData:
    options = DataOptions(data_root=devkit, size=40, cache=devkit / "packed")
    return EvaluationData(open_set("voc2007", "test", options), open_set("voc2007", "train", options))


def test_the_constants_are_those_of_the_public_code() -> None:
    """philkr/voc-classification, train_cls.py and solver.py."""
    preset = VocClassificationConfig()
    assert (preset.optimizer, preset.momentum, preset.batch_size, preset.steps) == ("sgd", 0.9, 16, 80_000)
    assert preset.rate * preset.batch_size / 256 == pytest.approx(0.001)
    assert [preset.factor(step, 80_000) for step in (0, 9_999, 10_000, 79_999)] == [1, 1, 0.5, 0.5**7]
    assert (preset.weight_decay, preset.clip_norm, preset.test_crops) == (1e-6, 10, 10)


def test_it_learns_which_things_are_there(voc: EvaluationData, env: Env) -> None:
    evaluator = VocClassification(VocClassificationConfig(**SHORT))
    subject: Any = evaluator.resolve(SUBJECT, voc, env.device)
    evaluator.check(subject, voc)
    (record,) = evaluator.run(subject, voc, env)
    assert record.protocol == "voc-classification@1"
    assert list(record.metrics) == ["map_11point", "map"]
    assert record.metrics["map"].value > 0.8
    assert record.metrics["map"].spread == "n/a"
    each = record.notes["map of each class"]
    assert set(each) == {"cat", "dog"}
    assert len(record.notes["classes left out because no test image shows them"]) == 18
    assert record.metrics["map"].value == pytest.approx(np.mean(list(each.values())), abs=1e-6)
    assert record.variant["steps"] == "40"


def test_scores_of_one_answer_are_judged_as_voc_counts(voc: EvaluationData) -> None:
    scores = np.random.default_rng(0).random((len(voc.test), 20))
    metrics, outcomes, _ = VocClassification(VocClassificationConfig())._judged([scores], voc.test, 0)
    targets = voc.test.targets()
    assert (targets == -1).any()
    expected = np.nanmean(average_precision(scores, targets, eleven_point=True))
    assert metrics["map_11point"].value == pytest.approx(expected)
    assert not outcomes


def test_the_command_puts_the_untrained_network_beside(devkit: Path, ce: Callable[[str], Any], tiny_run: Path) -> None:
    short = "--set steps=2 --set hidden=[] --set test_crops=1"
    answer = ce(f"evaluate voc-classification {tiny_run} --data voc2007 --data-root {devkit} --results out {short}")
    assert answer.code == 0, answer.err
    records = RecordStore(Path("out")).records()
    assert [record.subject.name for record in records] == [str(tiny_run), f"init:{tiny_run}"]
    assert all(0 < record.metrics["map_11point"].value <= 1 for record in records)


def test_one_class_an_image_is_not_what_it_takes(digits: EvaluationData, env: Env) -> None:
    evaluator = VocClassification(VocClassificationConfig())
    with pytest.raises(UserError, match=r"made \(\w+\) has one class an image, and this protocol takes several"):
        evaluator.check(evaluator.resolve(SUBJECT, digits, env.device), digits)
