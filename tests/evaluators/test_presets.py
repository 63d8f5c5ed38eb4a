"""A protocol is its constants: one that changes must raise the version, and no number may move by itself.

`presets.json` holds for each `name@version` the constants and what came out of a small judgement. After a change
that is meant, raise the version, then write the file anew: python tests/evaluators/test_presets.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.packing import PackedImages
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.errors import UserError
from ssl_ce.evaluators import evaluators
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.presets import PRESETS, evaluator_of

GOLDEN = Path(__file__).with_name("presets.json")
OWN = [entry.name for entry in evaluators if entry.target.startswith("ssl_ce.")]

# What is judged, and how much shorter than the preset. Networks trained on another processor come out a little
# different; what is solved to a tolerance or counted does not.
NETWORK = "random:dcgan?size=32&width=0.1&seed=1"
SMALL: dict[str, tuple[str, dict[str, Any], float]] = {
    "linear-probe": ("hog", {"costs": {"count": 5, "first": -4, "last": 0}}, 1e-3),
    "linear-sgd-dinov2": (NETWORK, {"iterations": 30}, 0.06),
    "linear-sgd-mae": (NETWORK, {"epochs": 4}, 0.06),
    "linear-sgd-simclr": (NETWORK, {"epochs": 4}, 0.06),
    "linear-layers-goyal19": (f"{NETWORK.replace('?', '@conv2?')}", {"epochs": 3}, 0.06),
    "knn": ("hog", {}, 1e-3),
    "knn-instdisc": ("hog", {}, 1e-3),
    "clustering": ("pixels", {"restarts": 2}, 1e-3),
    "feature-diagnostics": ("hog", {}, 1e-3),
    "finetune": (NETWORK, {"epochs": 2}, 0.1),
    "inpainting": ("telea", {"holes": ("center",)}, 1e-2),
    "nn-inpainting": ("hog", {"holes": ("center",)}, 1e-2),
    "retrieval": ("hog", {"holes": ("center",)}, 1e-3),
}


def constants(name: str) -> dict[str, Any]:
    return evaluators.get(name).Config().model_dump(mode="json")


def numbers(name: str, train: PackedImages, test: PackedImages, features: Path) -> dict[str, float]:
    """What comes out of a small judgement on digits: 400 for train, 100 for test."""
    subject, settings, _ = SMALL[name]
    evaluator = evaluators.get(name)(evaluators.get(name).Config(**settings))
    data = EvaluationData(test.subset(range(100), "test"), train.subset(range(400), "train"))
    env = Env(cache=FeatureCache(features))
    judged = evaluator.resolve(evaluator.reference(subject), data, env.device)
    (record,) = evaluator.run(judged, data, env)
    return {metric: round(value.value, 6) for metric, value in record.metrics.items()}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", OWN)
def test_a_constant_that_changes_raises_the_version(name: str, golden: dict[str, Any]) -> None:
    evaluator = evaluators.get(name)
    protocol = evaluator(evaluator.Config()).protocol
    assert protocol in golden, f"{protocol} is new: write presets.json anew, as this file says"
    assert golden[protocol]["constants"] == constants(name), (
        f"a constant of {protocol} changed: raise its version, then write presets.json anew"
    )


def test_no_protocol_is_forgotten(golden: dict[str, Any]) -> None:
    assert set(golden) == {evaluators.get(name)(evaluators.get(name).Config()).protocol for name in OWN}


@pytest.mark.parametrize("name", SMALL)
def test_the_numbers_of_a_protocol_stay(
    name: str, golden: dict[str, Any], digits_train: PackedImages, digits_test: PackedImages, tmp_path: Path
) -> None:
    protocol = evaluators.get(name)(evaluators.get(name).Config()).protocol
    found = numbers(name, digits_train, digits_test, tmp_path)
    tolerance = SMALL[name][2]
    assert found == pytest.approx(golden[protocol]["numbers"], abs=tolerance, rel=tolerance)


def test_presets_name_their_evaluators() -> None:
    for family, presets in PRESETS.items():
        for preset, name in presets.items():
            found = evaluator_of(family, preset)
            assert found is evaluators.get(name)
            assert evaluator_of(family, f"{preset}@{found.version}") is found
            assert found(found.Config()).protocol == f"{preset}@{found.version}"
        assert evaluator_of(family, None) is evaluators.get(family)


@pytest.mark.parametrize(
    ("family", "preset", "said"),
    [
        ("knn", "knn-instdisk", "no preset of knn named 'knn-instdisk'. Did you mean knn-instdisc"),
        ("knn", "knn-dino@7", "knn-dino has version 1"),
        ("linear-probe", "knn-dino", "no preset of linear-probe"),
    ],
)
def test_a_preset_that_is_not_there_is_refused(family: str, preset: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        evaluator_of(family, preset)


def write() -> None:
    """Write presets.json anew."""
    train, test = (open_set("digits", split, DataOptions(size=32)) for split in ("train", "test"))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in OWN:
            evaluator = evaluators.get(name)
            entry: dict[str, Any] = {"constants": constants(name)}
            if name in SMALL:
                entry["numbers"] = numbers(name, train, test, Path(folder))
            found[evaluator(evaluator.Config()).protocol] = entry
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(write())
