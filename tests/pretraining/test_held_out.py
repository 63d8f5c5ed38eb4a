import math
from pathlib import Path

import pytest
import torch

from ssl_ce.data.packing import PackedImages
from ssl_ce.methods.base import Batch
from ssl_ce.methods.saved import build_method
from ssl_ce.pretraining.feed import Feed
from ssl_ce.pretraining.held_out import HeldOut, hold_out
from ssl_ce.pretraining.logs import read_log
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import load_recipe
from ssl_ce.seeds import derive_seed

SMALL = ["method.encoder.width=0.1", "method.decoder.width=0.1", "log.tensorboard=false"]


def test_held_out_images_are_never_trained_on(digits_train: PackedImages):
    kept, apart = hold_out(digits_train, 97, seed=1)
    assert apart is not None
    assert (len(kept), len(apart)) == (1200, 97)
    everything = torch.cat([kept.read(range(1200)), apart.read(range(97))]).flatten(1).unique(dim=0)
    assert len(everything) == len(digits_train.read(range(1297)).flatten(1).unique(dim=0))
    feed = Feed(kept, size=32, batch_size=100, flip=False, seed=1, device=torch.device("cpu"))
    trained = torch.cat([batch.images for batch in feed.batches(0, 12)]).flatten(1)
    distance = torch.cdist(apart.read(range(97)).flatten(1).double(), trained.double())
    assert bool((distance.min(1).values > 0).all())
    assert hold_out(digits_train, 0, seed=1) == (digits_train, None)


def test_the_numbers_are_the_methods_own_losses_and_the_psnr_of_its_fills(digits_train: PackedImages):
    _, apart = hold_out(digits_train, 200, seed=3)  # more than one batch, of different sizes
    assert apart is not None
    method = build_method(load_recipe("quickstart", SMALL).method, 3)
    for network in method.networks.values():
        network.eval()
    numbers = HeldOut(apart, 32, 3, torch.device("cpu")).numbers(method)
    batch = Batch(apart.read(range(200)), torch.arange(200), derive_seed(3, "held out"), 0)
    outputs = method.forward(method.prepare(batch))
    assert numbers["held_out_reconstruction"] == pytest.approx(method.loss("generator", outputs)[0].item(), rel=1e-5)
    filled = method.fill(batch.images, outputs["holes"])
    expected = []
    for fill, truth, hole in zip(filled, batch.images, outputs["holes"], strict=True):
        error = (fill.double() - truth.double())[:, hole[0]] / 255
        expected.append(-10 * math.log10(error.square().mean().item()))
    assert numbers["held_out_psnr"] == pytest.approx(sum(expected) / 200)


def test_an_image_that_corruption_spares_is_left_out_of_the_psnr(digits_train: PackedImages):
    settings = [*SMALL, "method.corruption.amount=0.0005"]
    method = build_method(load_recipe("quickstart-denoising", settings).method, 0)
    _, apart = hold_out(digits_train, 40, seed=3)
    assert apart is not None
    assert HeldOut(apart, 32, 3, torch.device("cpu")).numbers(method)["held_out_psnr"] > 0


def test_they_are_logged_from_before_the_first_step_to_the_last(digits_train: PackedImages, tmp_path: Path):
    settings = [*SMALL, "data.source=digits", "data.held_out=30", "log.held_out_every=2", "optim.epochs=null"]
    recipe = load_recipe("quickstart", [*settings, "optim.steps=5", "optim.batch_size=16"])
    run = pretrain(recipe, digits_train, tmp_path / "run")
    rows = {row["step"]: float(row["held_out_psnr"]) for row in read_log(run / "log.csv") if row.get("held_out_psnr")}
    assert list(rows) == ["0", "2", "4", "5"]
