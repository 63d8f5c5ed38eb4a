from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from ssl_ce.errors import UserError
from ssl_ce.evaluators.base import Env, EvaluationData
from ssl_ce.evaluators.finetune import ConvolutionalConfig, Finetune, FinetuneConfig, TransformerConfig
from ssl_ce.evaluators.sampling import draw_labels, draw_share
from ssl_ce.records.record import Record

DCGAN = "random:dcgan@conv3?size=32&width=0.2"


def finetuned(data: EvaluationData, env: Env, reference: str = DCGAN, **settings: Any) -> Record:
    evaluator = Finetune(FinetuneConfig(**{"precision": "32", **settings}))
    subject: Any = evaluator.resolve(reference, data, env.device)
    evaluator.check(subject, data)
    before = subject.state_hash()
    (record,) = evaluator.run(subject, data, env)
    assert subject.state_hash() == before
    return record


def test_it_learns_digits_and_says_how(digits: EvaluationData, env: Env) -> None:
    lines: list[str] = []
    record = finetuned(digits, replace(env, say=lines.append), epochs=6)
    assert record.protocol == "finetune@1"
    assert record.metrics["accuracy"].value > 0.6
    assert record.metrics["accuracy"].spread == "bootstrap over test images"
    assert record.metrics["top5"].value > record.metrics["accuracy"].value
    assert record.outcomes is not None
    assert np.mean(record.outcomes["accuracy"]) == pytest.approx(record.metrics["accuracy"].value)
    assert record.variant == {"labels": "all", "epochs": "6", "precision": "32"}
    assert (record.notes["trained as"], record.notes["tap"]) == ("convolutional", "conv3")
    assert record.notes["constants"]["epochs"] == 6
    assert any(line.startswith(f"{DCGAN}: epoch 6 of 6, loss ") and line.endswith(" images/s") for line in lines)


def test_a_seed_decides_the_result(digits: EvaluationData, env: Env) -> None:
    first, again, other = (finetuned(digits, replace(env, seed=seed), epochs=1) for seed in (0, 0, 1))
    assert first.outcomes == again.outcomes != other.outcomes


def test_few_labels_are_drawn_alike_for_every_subject(digits: EvaluationData, env: Env) -> None:
    assert digits.train is not None
    lines: list[str] = []
    record = finetuned(digits, replace(env, say=lines.append), share=0.1, epochs=2)
    assert record.variant["labels"] == "10 %, 3 draws"
    assert record.notes["train images"] == 60
    assert record.outcomes is not None
    draws = record.outcomes["accuracy_draws"]
    assert len(draws) == 3
    assert record.metrics["accuracy"].value == pytest.approx(np.mean(draws))
    assert record.metrics["accuracy_sd"].value == pytest.approx(np.std(draws, ddof=1))
    assert record.metrics["accuracy_sd"].low is None
    assert [line for line in lines if line.endswith("testing")] == [
        f"{DCGAN} (draw {number} of 3): testing" for number in (1, 2, 3)
    ]
    rows = draw_share(digits.train.targets(), 0.1, 0, 1)
    np.testing.assert_array_equal(rows, draw_labels(digits.train.targets(), 6, 0, 1))
    np.testing.assert_array_equal(np.bincount(digits.train.targets()[rows]), np.full(10, 6))


def test_one_draw_has_no_spread(digits: EvaluationData, env: Env) -> None:
    record = finetuned(digits, env, share=0.05, draws=1, epochs=1)
    assert record.variant["labels"] == "5 %, 1 draw"
    assert "accuracy_sd" not in record.metrics


def test_the_constants_are_those_of_the_encoders_kind(digits: EvaluationData, env: Env) -> None:
    record = finetuned(digits, env, "random:vit?size=32&width=0.2&depth=2", epochs=1, convolutional={"rate": 9.0})
    assert record.notes["trained as"] == "transformer"
    assert record.notes["constants"]["layer_decay"] == 0.65
    assert "rate" not in record.variant
    record = finetuned(digits, env, epochs=1, convolutional={"rate": 0.002})
    assert record.variant["rate"] == "0.002"


def test_the_constants_of_transformers_are_maes() -> None:
    """He et al., CVPR 2022, table 9."""
    mae = TransformerConfig()
    assert (mae.optimizer, mae.rate, mae.weight_decay, mae.layer_decay) == ("adamw", 5e-4, 0.05, 0.65)
    assert (mae.batch_size, mae.schedule, mae.epochs, mae.warmup * mae.epochs) == (1024, "cosine", 100, 5)
    assert (mae.smoothing, mae.mixup, mae.cutmix, mae.drop_path) == (0.1, 0.8, 1.0, 0.1)


def test_what_was_not_named_is_not_trained(digits: EvaluationData, env: Env) -> None:
    """The tap decides how much of the network there is: another tap, another result."""
    assert (
        finetuned(digits, env, epochs=1).outcomes
        != finetuned(digits, env, DCGAN.replace("3", "2", 1), epochs=1).outcomes
    )


def test_the_untrained_network_follows_its_weights_when_it_is_trained(digits: EvaluationData, env: Env) -> None:
    """Calibrated statistics are averages over images; while training they must be moving ones."""
    subject: Any = Finetune(FinetuneConfig()).resolve(DCGAN, digits, env.device)
    norms = [part for part in subject.trainable().modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.momentum == 0.1 for norm in norms)


def with_attributes(images: Any) -> Any:
    """Two attributes of digits: even, and below 3, of which some are not scored."""
    labels = images.labels
    targets = np.stack([labels % 2 == 0, labels < 3], axis=1).astype(np.int64)
    targets[labels == 9, 1] = -1
    return replace(images, labels=targets, classes=("even", "small"), task="multilabel")


def test_multilabel_sets_give_mean_average_precision(digits: EvaluationData, env: Env) -> None:
    data = EvaluationData(with_attributes(digits.test), with_attributes(digits.train))
    record = finetuned(data, env, epochs=6)
    assert list(record.metrics) == ["map"]
    assert record.metrics["map"].low is None
    assert record.metrics["map"].spread == "n/a"
    each = record.notes["map of each class"]
    assert record.metrics["map"].value == pytest.approx(np.mean([each["even"], each["small"]]), abs=1e-6)
    chance = [np.mean(data.test.targets()[:, 0] == 1), 0.3]
    assert each["even"] > chance[0] + 0.2
    few = finetuned(data, env, epochs=1, share=0.1)
    assert list(few.metrics) == ["map", "map_sd"]
    assert few.notes["train images"] == 60


def test_a_class_that_no_test_image_shows_is_left_out_and_named(digits: EvaluationData) -> None:
    evaluator = Finetune(FinetuneConfig())
    test = with_attributes(digits.test)
    test.labels[:, 1] = np.minimum(test.labels[:, 1], 0)
    scores = np.random.default_rng(0).random((2, len(test), 2))
    metrics, _, notes = evaluator._judged(list(scores), test, 0)
    expected = [average_precision_score(test.labels[:, 0], given[:, 0]) for given in scores]
    assert metrics["map"].value == pytest.approx(np.mean(expected))
    assert metrics["map_sd"].value == pytest.approx(np.std(expected, ddof=1))
    assert notes["classes left out because no test image shows them"] == ["small"]


@pytest.mark.parametrize(
    ("reference", "settings", "message"),
    [
        ("hog", {}, r"'hog' has no network to train, so finetune cannot judge it"),
        ("random:dcgan@all?size=32&width=0.2", {}, r"stands for every tap"),
        (DCGAN, {"share": 0.005}, r"share=0.005 of 600 train images is less than one label .* at least share=0.02"),
        (DCGAN, {"share": 0.99}, r"share=0.99 .* is 59 labels a class, and the rarest class has \d+"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    reference: str, settings: dict[str, Any], message: str, digits: EvaluationData, env: Env
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        finetuned(digits, env, reference, **settings)
    assert "\n" not in str(caught.value)


def test_both_kinds_are_constants_of_the_protocol() -> None:
    assert FinetuneConfig().convolutional == ConvolutionalConfig()
    assert FinetuneConfig.model_validate({"transformer": {"rate": 1e-3}}).transformer.epochs == 100
