from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ssl_ce.data.views import random_flip, random_resized_crop
from ssl_ce.errors import UserError
from ssl_ce.evaluators import feature_diagnostics
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.encoding import unit_rows
from ssl_ce.evaluators.feature_diagnostics import (
    FeatureDiagnostics,
    FeatureDiagnosticsConfig,
    effective_rank,
    normalized_std,
    uniformity,
)
from ssl_ce.randomness import sample_keys
from ssl_ce.records.record import Record


def judged(data: EvaluationData, env: Env, subject: Any, **settings: Any) -> Record:
    evaluator = FeatureDiagnostics(FeatureDiagnosticsConfig(**settings))
    evaluator.check(subject, data)
    (record,) = evaluator.run(subject, data, env)
    return record


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32) * np.arange(1, 8, dtype=np.float32)


@pytest.mark.parametrize("at_once", [7, 50, 1024])
def test_uniformity_equals_a_loop_over_pairs(
    features: np.ndarray, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_diagnostics, "_ROWS_AT_ONCE", at_once)
    units = unit_rows(features)
    pairs = [
        math.exp(-3 * sum((float(a) - float(b)) ** 2 for a, b in zip(units[i], units[j], strict=True)))
        for i in range(50)
        for j in range(i)
    ]
    assert uniformity(units, 3) == pytest.approx(math.log(sum(pairs) / len(pairs)), abs=1e-5)


def test_uniformity_is_0_where_all_is_one_and_near_minus_4_in_many_directions() -> None:
    assert uniformity(np.tile(unit_rows(np.ones((1, 5), np.float32)), (9, 1))) == pytest.approx(0, abs=1e-6)
    spread = unit_rows(np.random.default_rng(0).standard_normal((300, 4000)).astype(np.float32))
    assert uniformity(spread) == pytest.approx(-4, abs=0.01)


@pytest.mark.parametrize("shape", [(60, 7), (7, 60)])
def test_effective_rank_equals_the_entropy_of_singular_values(shape: tuple[int, int]) -> None:
    features = (np.random.default_rng(0).standard_normal(shape) * np.linspace(1, 5, shape[1])).astype(np.float32)
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    shares = [float(value / values.sum()) + 1e-7 for value in values]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(features) == pytest.approx(expected, rel=1e-6)


def test_effective_rank_counts_equal_directions_and_ignores_scale() -> None:
    features = np.zeros((12, 9), np.float32)
    features[:4, :4] = 50 * np.eye(4)
    assert effective_rank(features) == pytest.approx(4, rel=1e-4)
    assert effective_rank(np.outer(np.arange(1.0, 9), np.ones(5)).astype(np.float32)) == pytest.approx(1, rel=1e-4)


def test_the_deviation_is_1_on_a_sphere_and_0_at_a_point() -> None:
    sphere = unit_rows(np.random.default_rng(0).standard_normal((4000, 30)).astype(np.float32))
    assert normalized_std(sphere) == pytest.approx(1, abs=0.02)
    assert normalized_std(np.tile(sphere[:1], (10, 1))) == pytest.approx(0, abs=1e-6)
    by_hand = [math.sqrt(sum((x - sum(c) / 50) ** 2 for x in c) / 50) for c in sphere[:50].T.astype(float).tolist()]
    assert normalized_std(sphere[:50]) == pytest.approx(sum(by_hand) / 30 * math.sqrt(30), rel=1e-6)


def test_the_record_describes_and_does_not_judge(digits: EvaluationData, env: Env, grey: Callable[..., Any]) -> None:
    unlabelled: Any = replace(digits.test, task="none", classes=())  # type: ignore[type-var]
    record = judged(EvaluationData(test=unlabelled), env, grey())
    assert record.protocol == "feature-diagnostics@1"
    assert tuple(record.metrics) == FeatureDiagnostics.metrics
    assert {metric.higher_is_better for metric in record.metrics.values()} == {None}
    assert [name for name, metric in record.metrics.items() if metric.low is not None] == ["alignment"]
    features = grey().describe(digits.test.read(range(200))).numpy()
    assert record.metrics["uniformity"].value == pytest.approx(uniformity(unit_rows(features)))
    assert record.metrics["effective_rank"].value == pytest.approx(effective_rank(features))
    constant = [len(set(column)) == 1 for column in features.T.tolist()]
    assert record.metrics["constant_share"].value == sum(constant) / 64 > 0
    assert record.notes == {"images": 200, "dimensions": 64}


def test_alignment_is_the_squared_distance_of_two_keyed_views(
    digits: EvaluationData, env: Env, grey: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_diagnostics, "_DESCRIBED_AT_ONCE", 64)
    record = judged(digits, replace(env, seed=5), grey(), smallest_crop=0.5)
    expected = []
    for number in (0, 3, 199):
        units = []
        for view in range(2):
            keys = sample_keys(5, view, torch.tensor([number]), "view")
            cut = random_flip(random_resized_crop(digits.test.read([number]), keys, 16, smallest=0.5), keys)
            vector = grey().describe(cut)[0].double()
            units.append(vector / vector.norm())
        expected.append(float((units[0] - units[1]).square().sum()))
    assert min(expected) > 0
    assert record.outcomes is not None
    found = record.outcomes["alignment"]
    assert [found[number] for number in (0, 3, 199)] == pytest.approx(expected, rel=1e-4)
    assert record.metrics["alignment"].value == pytest.approx(sum(found) / 200)
    assert judged(digits, replace(env, seed=6), grey(), smallest_crop=0.5).outcomes != record.outcomes


def test_of_more_images_a_sample_is_drawn_by_seed_and_said(
    digits: EvaluationData, env: Env, grey: Callable[..., Any]
) -> None:
    first, again, other = (judged(digits, replace(env, seed=seed), grey(), images=50) for seed in (0, 0, 1))
    assert first.metrics == again.metrics
    assert first.metrics["uniformity"] != other.metrics["uniformity"]
    assert first.notes["images"] == 50
    assert first.variant == {"images": "50"}
    assert first.outcomes == {}  # they would not be one for each test image


def test_a_twin_that_sees_less_is_more_aligned_and_less_uniform(digits: EvaluationData, env: Env) -> None:
    """Both go the way their definitions say, on a descriptor of which it is known."""
    from ssl_ce.descriptors import load_descriptor

    whole, coarse = (judged(digits, env, load_descriptor(f"pixels?side={side}")) for side in (8, 2))
    assert coarse.metrics["alignment"].value < whole.metrics["alignment"].value
    assert coarse.metrics["uniformity"].value > whole.metrics["uniformity"].value
    assert coarse.metrics["effective_rank"].value < whole.metrics["effective_rank"].value


def test_one_image_is_refused(
    digits: EvaluationData, make_digits: Callable[..., Any], grey: Callable[..., Any]
) -> None:
    with pytest.raises(UserError, match="has one image; distances are between two or more"):
        FeatureDiagnostics(FeatureDiagnosticsConfig()).check(
            grey(), EvaluationData(test=make_digits(slice(0, 1), "test"))
        )
