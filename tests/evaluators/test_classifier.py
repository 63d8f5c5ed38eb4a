from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ssl_ce.data.views import random_flip, random_resized_crop
from ssl_ce.descriptors import load_descriptor
from ssl_ce.errors import MachineError
from ssl_ce.evaluators.classifier import Classifier, ClassifierConfig, _add_drop_path, fit, multilabel_loss, score
from ssl_ce.networks.encoder import EncoderConfig, build_encoder
from ssl_ce.randomness import sample_keys

CPU = torch.device("cpu")


def dcgan(size: int = 32) -> Any:
    torch.manual_seed(0)
    return build_encoder(EncoderConfig(name="dcgan", width=0.1), size).eval()  # type: ignore[attr-defined]


def test_the_head_is_a_linear_layer_on_the_mean_of_the_taps_map() -> None:
    classifier = Classifier(dcgan(), "conv2", 5, ClassifierConfig()).eval()
    assert torch.equal(classifier(torch.randn(3, 3, 32, 32)), torch.zeros(3, 5))
    torch.nn.init.normal_(classifier.head[-1].weight)
    x = torch.randn(3, 3, 32, 32)
    pooled = classifier.encoder.maps(x, ["conv2"])["conv2"].mean((2, 3))
    torch.testing.assert_close(classifier(x), pooled @ classifier.head[-1].weight.T)


def test_hidden_layers_see_the_flattened_map() -> None:
    classifier = Classifier(dcgan(), "conv2", 5, ClassifierConfig(hidden=(7, 6), dropout=0.5))
    channels, stride = classifier.encoder.taps["conv2"]
    sizes = [layer.weight.shape for layer in classifier.head if isinstance(layer, torch.nn.Linear)]
    assert sizes == [(7, channels * (32 // stride) ** 2), (6, 7), (5, 6)]
    assert [layer.p for layer in classifier.head if isinstance(layer, torch.nn.Dropout)] == [0.5, 0.5]


def test_the_multilabel_loss_is_the_sum_over_scored_classes() -> None:
    scores, targets = torch.randn(4, 3), torch.tensor([[1, 0, -1], [0, -1, -1], [1, 1, 0], [-1, -1, -1]])
    expected = 0.0
    for row, truths in zip(scores.tolist(), targets.tolist(), strict=True):
        for value, truth in zip(row, truths, strict=True):
            if truth >= 0:
                probability = 1 / (1 + math.exp(-value))
                expected -= math.log(probability if truth == 1 else 1 - probability)
    assert multilabel_loss(scores, targets).item() == pytest.approx(expected / 4, rel=1e-5)


def test_a_whole_path_is_dropped_for_an_image_and_none_when_testing() -> None:
    encoder: Any = build_encoder(EncoderConfig(name="vit", width=0.2, depth=2), 32)
    plain = encoder.eval().maps(torch.ones(1, 3, 32, 32), ["block1", "block2"])
    _add_drop_path(encoder, 0.5)
    x = torch.ones(256, 3, 32, 32)
    tested = encoder.eval().maps(x[:1], ["block1", "block2"])
    assert all(torch.equal(tested[tap], plain[tap]) for tap in plain)
    trained = encoder.train().maps(x, ["block1", "block2"])
    torch.testing.assert_close(trained["block1"], plain["block1"].expand_as(trained["block1"]))
    # The last block has two branches; each is left out or doubled: four kinds of image, equally often.
    kinds, counts = torch.unique(trained["block2"].flatten(1).detach().mul(1e3).round(), dim=0, return_counts=True)
    assert len(kinds) == 4
    assert counts.min() > 40


def test_test_scores_are_means_over_the_views(make_digits: Callable[..., Any]) -> None:
    images = make_digits(slice(0, 9), "test")
    classifier = Classifier(dcgan(), "conv3", 10, ClassifierConfig()).eval()
    torch.nn.init.normal_(classifier.head[-1].weight)
    spec = classifier.encoder.input
    whole = score(classifier, images, ClassifierConfig(), seed=4, device=CPU)
    assert whole.dtype == np.float64
    with torch.no_grad():
        np.testing.assert_allclose(whole, classifier(spec.prepare(images.read(range(9)))).numpy(), rtol=1e-5)
        expected = torch.zeros(9, 10)
        for crop in range(3):
            keys = sample_keys(4, crop, torch.arange(9), "test view")
            view = random_flip(random_resized_crop(images.read(range(9)), keys, 32, smallest=0.5), keys)
            expected += classifier(spec.prepare(view)) / 3
    given = score(classifier, images, ClassifierConfig(test_crops=3, smallest_crop=0.5), seed=4, device=CPU)
    np.testing.assert_allclose(given, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert not np.allclose(given, whole)


def test_scores_that_are_not_finite_are_no_result(make_digits: Callable[..., Any]) -> None:
    classifier = Classifier(dcgan(), "conv2", 10, ClassifierConfig()).eval()
    torch.nn.init.constant_(classifier.head[-1].bias, float("nan"))
    with pytest.raises(MachineError, match="not finite"):
        score(classifier, make_digits(slice(0, 9), "test"), ClassifierConfig(), seed=0, device=CPU)


@pytest.mark.parametrize(
    "settings", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0, "smoothing": 0.1}, {"dropout": 0.5}]
)
def test_a_seed_decides_everything(settings: dict[str, Any], make_digits: Callable[..., Any]) -> None:
    images = make_digits(slice(0, 60), "train")
    backbone: Any = load_descriptor("random:dcgan?size=32&width=0.1")
    config = ClassifierConfig(steps=3, batch_size=20, hidden=(8,), rate=0.01, **settings)

    def state(seed: int) -> dict[str, torch.Tensor]:
        torch.rand(1)  # whatever the generator's state
        return fit(backbone, images, config, seed=seed, device=CPU, say=lambda line: None, name="x").state_dict()

    first, second, other = state(0), state(0), state(1)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())
