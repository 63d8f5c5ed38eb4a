"""Encoders that are alive, and one that is made constant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ssl_ce.data.packing import PackedImages
from ssl_ce.methods.encoder_decoder import initial_weights
from ssl_ce.methods.saved import build_method
from ssl_ce.networks.encoder import EncoderConfig, build_encoder
from ssl_ce.pretraining.collapse import COLLAPSED, collapse_warning, feature_spread
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.logs import read_log
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import builtin_recipes, load_recipe

QUICKSTARTS = sorted(name for name in builtin_recipes() if name.startswith("quickstart"))


class Table(torch.nn.Module):
    """An "encoder" whose features are a table's rows, by the images' first value."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.taps = {"rows": (3, 1)}
        self.rows = rows
        self.input = build_encoder(EncoderConfig(name="dcgan", width=0.1), 32).input

    def maps(self, x, taps):
        numbers = ((x[:, 0, 0, 0] * 0.5 + 0.5) * 255).round().long()
        return {"rows": self.rows[numbers][:, :, None, None]}


def numbered(count: int) -> torch.Tensor:
    images = torch.zeros(count, 3, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    return images


def test_the_spread_is_the_share_of_energy_between_images():
    rows = torch.tensor([[3.0, 1.0, 0.0], [3.0, -1.0, 0.0], [0.0, 0.0, 2.0]])
    mean = [sum(row[d] for row in rows.tolist()) / 3 for d in range(3)]
    between = sum((row[d] - mean[d]) ** 2 for row in rows.tolist() for d in range(3))
    energy = sum(value**2 for row in rows.tolist() for value in row)
    assert feature_spread(Table(rows), numbered(3)) == pytest.approx(between / energy, rel=1e-12)


@pytest.mark.parametrize("rows", [torch.zeros(4, 3), torch.full((4, 3), 7.3)], ids=["dead", "equal"])
def test_features_without_differences_have_no_spread_and_are_warned_of(rows: torch.Tensor):
    spread = feature_spread(Table(rows), numbered(4))
    assert spread == 0.0
    assert "nearly the same features for all images at step 500: 0 of their energy" in collapse_warning(spread, 500)


def test_features_that_are_no_numbers_are_named_so():
    assert "are not numbers at step 20" in collapse_warning(float("nan"), 20)


def test_the_alarm_is_at_differences_of_a_third_of_a_percent():
    direction = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    for length, alarm in ((0.003, True), (0.0033, False)):
        spread = feature_spread(Table(torch.tensor([0.0, 1.0, 0.0]) + length * direction), numbered(2))
        assert bool(collapse_warning(spread, 1)) is alarm


@pytest.mark.parametrize("recipe", QUICKSTARTS)
def test_no_recipe_begins_with_an_alarm(recipe: str, digits_train: PackedImages):
    method = build_method({**load_recipe(recipe).method, **({"classes": 10} if "supervised" in recipe else {})}, 0)
    method.networks["encoder"].eval()
    assert feature_spread(method.encoder, digits_train.read(range(32))) > 100 * COLLAPSED


@pytest.mark.parametrize(
    "config",
    [
        EncoderConfig(name="alexnet", width=0.25),
        EncoderConfig(name="alexnet-poolfree", width=0.25, norm="batch"),
        EncoderConfig(name="vgg11"),
        EncoderConfig(name="resnet18"),
    ],
    ids=lambda config: config.name,
)
def test_no_untrained_encoder_of_another_kind_does(config: EncoderConfig, digits_train: PackedImages):
    with initial_weights(1):
        encoder = build_encoder(config, 32)
    assert isinstance(encoder, torch.nn.Module)
    encoder.eval()
    assert feature_spread(encoder, digits_train.read(range(32))) > 100 * COLLAPSED


def test_a_training_that_collapses_is_warned_of_once_and_goes_on(digits_train: PackedImages, tmp_path: Path):
    settings = (
        "method.encoder.width=0.1", "method.decoder.width=0.1", "optim.batch_size=8", "optim.steps=6",
        "optim.epochs=null", "log.tensorboard=false", "log.online_every=2", "data.source=digits",
    )  # fmt: skip
    encoders: list[torch.nn.Module] = []
    said: list[str] = []

    def die_after_three(state: Progress) -> None:
        if state.step == 3:
            for parameter in list(encoders[0].parameters())[-2:]:
                parameter.data.zero_()  # the last BatchNorm's scale and shift

    def online(method) -> dict[str, float]:
        encoders.append(method.networks["encoder"])
        return {}

    hooks = Hooks(progress=die_after_three, online=online, warn=said.append)
    run = pretrain(load_recipe("quickstart", settings), digits_train, tmp_path / "run", hooks=hooks)
    rows = [row for row in read_log(run / "log.csv") if row["feature_spread"]]
    spreads = {int(row["step"]): float(row["feature_spread"]) for row in rows}
    assert spreads[2] > COLLAPSED
    assert max(spreads[4], spreads[6]) < COLLAPSED
    assert len(said) == 1
    assert "at step 4" in said[0]


def test_without_a_hook_the_warning_is_pythons():
    with pytest.warns(UserWarning, match="collapsed"):
        Hooks().warn("collapsed")
