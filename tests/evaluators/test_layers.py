"""`REF@all`: every tap in one pass, rows of what is cached, and a tap that only train images choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_ce.data.duplicates import Duplicates
from ssl_ce.data.packing import PackedImages, Subset
from ssl_ce.descriptors import load_descriptor
from ssl_ce.descriptors.cache import FeatureCache
from ssl_ce.descriptors.every_tap import EveryTap
from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData, Evaluator
from ssl_ce.evaluators.clustering import Clustering, ClusteringConfig
from ssl_ce.evaluators.feature_diagnostics import FeatureDiagnostics, FeatureDiagnosticsConfig
from ssl_ce.evaluators.finetune import Finetune, FinetuneConfig
from ssl_ce.evaluators.knn import InstdiscConfig, InstdiscKnn, Knn, KnnConfig
from ssl_ce.evaluators.recording import cell_of
from ssl_ce.evaluators.retrieval import Retrieval, RetrievalConfig
from ssl_ce.evaluators.sampling import held_out_split
from ssl_ce.evaluators.segmentation import Segmentation, SegmentationConfig
from ssl_ce.records.record import Record

NETWORK = "random:dcgan{}?size=32&width=0.1"
CONFIG = KnnConfig(neighbours=(5,), headline=5)


@pytest.fixture
def every(digits: EvaluationData) -> EveryTap:
    found = load_descriptor(NETWORK.format("@all"))
    assert isinstance(found, EveryTap)
    assert digits.train is not None
    return found.calibrated(digits.train)


def judged(evaluator: Any, every: EveryTap, data: EvaluationData, env: Env) -> list[Record]:
    evaluator.check(every, data)
    return list(evaluator.run(every, data, env))


def files_of(cache: FeatureCache) -> list[Path]:
    return sorted(cache.folder.rglob("*.npy"))


# One pass


def test_each_tap_is_the_descriptor_that_its_name_names(digits: EvaluationData, every: EveryTap) -> None:
    assert digits.train is not None
    assert every.name == NETWORK.format("@all")
    assert list(every.taps) == ["conv1", "conv2", "conv3"]
    for tap, descriptor in every.taps.items():
        alone: Any = load_descriptor(NETWORK.format(f"@{tap}"))
        assert descriptor.name == alone.name == NETWORK.format(f"@{tap}")
        assert descriptor.identity == alone.calibrated(digits.train).identity
    assert len({descriptor.identity for descriptor in every.taps.values()} | {every.identity}) == 4


def test_one_pass_gives_what_each_tap_gives_alone(digits: EvaluationData, every: EveryTap) -> None:
    images = digits.test.read(range(70))
    each = every.describe_each(images)
    for tap, descriptor in every.taps.items():
        torch.testing.assert_close(each[tap], descriptor.describe(images), rtol=0, atol=0)


def test_the_cache_holds_after_one_pass_what_each_tap_would_have_written(
    digits: EvaluationData, every: EveryTap, tmp_path: Path
) -> None:
    together, alone = FeatureCache(tmp_path / "a", batch_size=64), FeatureCache(tmp_path / "b", batch_size=64)
    done: list[int] = []
    together.features_of_taps(every, digits.test, done.append)
    assert sum(done) == len(digits.test)
    for descriptor in every.taps.values():
        alone.features(descriptor, digits.test)
    assert [path.name for path in files_of(together)] == [path.name for path in files_of(alone)]
    for first, second in zip(files_of(together), files_of(alone), strict=True):
        np.testing.assert_array_equal(np.load(first), np.load(second))


def test_only_taps_that_are_not_cached_are_computed(
    digits: EvaluationData, every: EveryTap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(tmp_path)
    cache.features(every.taps["conv2"], digits.test)
    asked = []
    describe = EveryTap.describe_each
    monkeypatch.setattr(EveryTap, "describe_each", lambda self, x: asked.append(list(self.taps)) or describe(self, x))
    cache.features_of_taps(every, digits.test)
    cache.features_of_taps(every, digits.test)
    assert asked == [["conv1", "conv3"]]


def test_one_tap_that_is_not_finite_leaves_no_file_of_any(
    digits: EvaluationData, every: EveryTap, tmp_path: Path
) -> None:
    with torch.no_grad():
        every.taps["conv3"].encoder.stages["conv3"][0].weight.fill_(float("nan"))
    with pytest.raises(UserError, match=r"features of 'random:dcgan@conv3.*' are not finite"):
        FeatureCache(tmp_path).features_of_taps(every, digits.test)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# Rows of what is cached


def test_a_subset_reads_rows_of_its_parents_features_in_its_own_order(
    digits_train: PackedImages, grey: Callable[..., Any], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    whole = cache.features(grey(), digits_train)
    part = Subset(digits_train, [9, 3, 700, 3], "part")
    inner = Subset(part, [2, 0], "inner")
    np.testing.assert_array_equal(cache.features(grey(), part), whole[[9, 3, 700, 3]])
    np.testing.assert_array_equal(cache.features(grey(), inner), whole[[700, 9]])
    assert len(files_of(cache)) == 1
    np.testing.assert_array_equal(cache.features(grey(), inner), grey().describe(inner.read(range(2))).numpy())


def test_a_subset_whose_parent_is_not_cached_has_features_of_its_own(
    digits_train: PackedImages, grey: Callable[..., Any], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    part = Subset(digits_train, [9, 3, 700], "part")
    own = cache.features(grey(), part)
    assert len(files_of(cache)) == 1
    assert own.shape == (3, 64)
    np.testing.assert_array_equal(cache.features(grey(), digits_train)[[9, 3, 700]], own)


def test_rows_are_those_of_the_same_hole(digits_train: PackedImages, tmp_path: Path) -> None:
    cache, pixels = FeatureCache(tmp_path), load_descriptor("pixels")
    part = Subset(digits_train, [4, 2], "part")
    hole = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    hole[..., 8:24, 8:24] = True
    cache.features(pixels, digits_train)
    under = cache.features(pixels, part, hole)
    assert len(files_of(cache)) == 2
    np.testing.assert_array_equal(under, pixels.describe(part.read([0, 1]), hole.expand(2, 1, 32, 32)).numpy())


# The choice


def test_records_are_those_of_each_tap_and_then_of_the_chosen_one(
    digits: EvaluationData, every: EveryTap, env: Env
) -> None:
    *taps, last = judged(Knn(CONFIG), every, digits, env)
    assert [record.subject.name for record in taps] == [one.name for one in every.taps.values()]
    assert last.subject.name == every.name
    for record, descriptor in zip(taps, every.taps.values(), strict=True):
        (alone,) = Knn(CONFIG).run(descriptor, digits, env)
        assert (record.id, record.cell, record.metrics, record.outcomes) == (
            alone.id, alone.cell, alone.metrics, alone.outcomes,
        )  # fmt: skip
    chosen = taps[list(every.taps).index(last.chosen["tap"])]
    assert (last.metrics, last.outcomes) == (chosen.metrics, chosen.outcomes)
    assert last.cell == cell_of(Knn(CONFIG), every.name, digits, env.seed)
    assert len({record.id for record in (*taps, last)}) == len({record.cell for record in (*taps, last)}) == 4


def test_the_scores_that_choose_are_those_of_a_plain_search_on_held_out_train(
    digits: EvaluationData, every: EveryTap, env: Env
) -> None:
    assert digits.train is not None
    last = judged(Knn(KnnConfig(neighbours=(1,), headline=1)), every, digits, replace(env, seed=3))[-1]
    labels = digits.train.targets()
    split = held_out_split(labels, 0.2, 3)
    np.testing.assert_allclose(np.bincount(labels[split.held_out]), 0.2 * np.bincount(labels), atol=0.5)
    scores = {}
    for tap, descriptor in every.taps.items():
        features = descriptor.describe(digits.train.read(range(len(labels)))).double().numpy()
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        found = (features[split.held_out] @ features[split.fit].T).argmax(axis=1)
        scores[tap] = (labels[split.fit][found] == labels[split.held_out]).mean()
    assert last.chosen["accuracy there"] == pytest.approx(scores, abs=1e-6)
    assert last.chosen["tap"] == max(scores, key=lambda tap: scores[tap])
    assert last.chosen["tap chosen on"] == "20 % of train, held out by seed 3"


@pytest.mark.parametrize("evaluator", [Knn(CONFIG), Clustering(ClusteringConfig(restarts=1))])
def test_test_images_and_labels_have_no_say_in_the_choice(
    evaluator: Any, digits: EvaluationData, every: EveryTap, env: Env
) -> None:
    test: Any = digits.test
    poisoned = replace(test, labels=np.roll(test.labels, 1), images=test.images.flip(0) // 2)
    first, second = (judged(evaluator, every, replace(digits, test=each), env)[-1] for each in (test, poisoned))
    assert first.chosen == second.chosen
    assert first.metrics != second.metrics


def test_equal_taps_choose_the_first(digits: EvaluationData, env: Env) -> None:
    encoder: Any = load_descriptor(NETWORK.format("@conv2"))
    twins = EveryTap("twins@all", {"one": encoder, "two": encoder})
    assert judged(Knn(CONFIG), twins, digits, env)[-1].chosen["tap"] == "one"


def test_nothing_is_described_again_for_the_choice(digits: EvaluationData, every: EveryTap, env: Env) -> None:
    judged(Knn(CONFIG), every, digits, env)
    assert len(files_of(env.cache)) == 2 * len(every.taps)


def test_duplicates_are_counted_for_what_is_reported_and_not_for_what_chooses(
    digits: EvaluationData, every: EveryTap, env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[tuple[Any, Any]] = []

    def find(train: Any, test: Any) -> Duplicates:
        looked.append((train, test))
        return Duplicates(2, 1, 4, ())

    monkeypatch.setattr("ssl_ce.evaluators.recording.find_duplicates", find)
    records = judged(Knn(CONFIG), every, digits, env)
    assert looked == [(digits.train, digits.test)] * len(every.taps)
    assert all(record.notes["duplicates"] == {"exact": 2, "near": 1, "threshold": 4} for record in records)


def test_a_protocol_that_is_neither_good_nor_bad_chooses_nothing_and_needs_no_train(
    digits: EvaluationData, every: EveryTap, env: Env
) -> None:
    records = judged(FeatureDiagnostics(FeatureDiagnosticsConfig()), every, replace(digits, train=None), env)
    assert [record.subject.name for record in records] == [one.name for one in every.taps.values()]


def test_a_choice_that_cannot_be_made_is_refused_before_any_tap_is_judged(
    digits: EvaluationData, every: EveryTap, make_digits: Callable[..., Any]
) -> None:
    with pytest.raises(UserError, match=r"'random:dcgan@all.*' chooses its tap on held-out train images"):
        Clustering(ClusteringConfig()).check(every, replace(digits, train=None))
    few = EvaluationData(test=digits.test, train=make_digits(slice(0, 220), "train"))
    InstdiscKnn(InstdiscConfig()).check(every.taps["conv1"], few)
    with pytest.raises(UserError, match="fewer than the 200 neighbours"):
        InstdiscKnn(InstdiscConfig()).check(every, few)


@pytest.mark.parametrize(
    "evaluator", [Retrieval(RetrievalConfig()), Finetune(FinetuneConfig()), Segmentation(SegmentationConfig())]
)
def test_an_evaluator_without_a_layer_axis_asks_for_one_tap(
    evaluator: Evaluator, digits: EvaluationData, every: EveryTap
) -> None:
    with pytest.raises(UserError, match=r"stands for every tap; here one is to be named, with @TAP\. They are conv1"):
        evaluator.check(every, digits)


def test_options_and_twins_of_every_tap_are_named_as_each_tap_is(ce: Any) -> None:
    answer = ce("evaluate knn 'random:dcgan@all?size=32&width=0.1&pool=1' --data digits --size 32 --results all")
    assert answer.code == 0, answer.err
    for tap in ("conv1", "conv3", "all"):
        assert f" random:dcgan@{tap}?size=32&width=0.1&pool=1 " in answer.out
