"""What every registered method promises, whichever it is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_ce.data.packing import PackedImages
from ssl_ce.descriptors import load_descriptor
from ssl_ce.holes import draw
from ssl_ce.inpainters import load_inpainter
from ssl_ce.methods import methods
from ssl_ce.methods.base import Batch, Method
from ssl_ce.methods.saved import build_method, read_safetensors
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.logs import read_log
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe, make_recipe

NAMES = methods.names()
# What a method needs to be small; one that is not here is built with a narrow DCGAN-like encoder alone.
OWN: dict[str, dict[str, Any]] = {
    "mae": {"encoder": {"name": "vit", "width": 0.17, "depth": 2}, "decoder": {"channels": 32, "depth": 1}},
    "vae": {"bottleneck": {"dim": 8}},
    "gan": {"bottleneck": {"dim": 8}, "adversarial": {"width": 0.1}},
    "supervised": {"classes": 10},
}


def section_of(name: str) -> dict[str, Any]:
    section: dict[str, Any] = {"name": name, "size": 32, "encoder": {"name": "dcgan", "width": 0.1}}
    if "decoder" in methods.get(name).Config.model_fields:  # type: ignore[attr-defined]
        section["decoder"] = {"kind": "dcgan", "width": 0.1}
    return section | OWN.get(name, {})


def method_of(name: str, seed: int = 0) -> Method:
    return build_method(section_of(name), seed)


def batch_of(indices: list[int], epoch: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator)
    chosen = torch.tensor(indices)
    return Batch(images[chosen], chosen, 5, epoch, chosen % 10)


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_are_a_function_of_the_seed_and_torchs_generator_stays(name: str):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two, other = (method_of(name, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    states = [torch.cat([p.flatten() for n in m.networks.values() for p in n.parameters()]) for m in (one, two, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_sample_is_given_does_not_depend_on_its_batch(name: str):
    method = method_of(name)
    together, alone = (method.prepare(batch_of(indices)) for indices in ([0, 1, 2, 3], [2]))
    for key in set(together) - {"visible"}:  # padded to the batch's longest
        assert torch.equal(together[key][2:3], alone[key]), key


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random-init"])  # which has no players
def test_each_players_loss_moves_its_own_networks_only(name: str):
    method = method_of(name)
    outputs = method.forward(method.prepare(batch_of([0, 1, 2, 3])))
    for player, own in method.players.items():
        for network in method.networks.values():
            network.zero_grad(set_to_none=True)
        for other, network in method.networks.items():
            network.requires_grad_(other in own)
        loss, logs = method.loss(player, outputs)
        assert loss.shape == ()
        assert torch.isfinite(loss)
        assert not any(value.requires_grad for value in logs.values())
        loss.backward(retain_graph=True)
        for other in set(method.networks) - set(own):
            assert all(p.grad is None for p in method.networks[other].parameters()), f"{player} moved {other}"
        assert any(p.grad is not None and bool(p.grad.any()) for n in own for p in method.networks[n].parameters())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random-init"])
def test_training_lowers_the_loss_of_who_is_trained(name: str):
    method = method_of(name)
    player = list(method.players)[-1]
    parameters = [p for network in method.players[player] for p in method.networks[network].parameters()]
    optimizer = torch.optim.Adam(parameters, 3e-3)
    losses = []
    for step in range(40):
        # Eight ramps of different slopes: what is missing follows from what is there.
        slopes = torch.linspace(0.2, 1.0, 8).view(8, 1, 1, 1) * torch.linspace(0, 255, 32)
        images = slopes.expand(8, 3, 32, 32).to(torch.uint8)
        indices = torch.arange(8)
        batch = Batch(images, indices, 0, step, indices)
        loss, _ = method.loss(player, method.forward(method.prepare(batch)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strategy", ["center", "random-region"])
def test_a_fill_leaves_the_context_and_never_sees_the_hole(name: str, strategy: str):
    method = method_of(name)
    if "fill" not in method.capabilities:
        pytest.skip("it does not fill")
    for network in method.networks.values():
        network.eval()
    batch = batch_of([0, 1, 2, 3])
    holes = draw(strategy, batch.keys("x"), 32, 32)
    filled = method.fill(batch.images, holes)
    assert filled.dtype == torch.uint8
    assert torch.equal(filled.masked_fill(holes, 0), batch.images.masked_fill(holes, 0))
    assert not torch.equal(filled, batch.images)
    assert torch.equal(filled, method.fill(batch.images.masked_fill(holes, 7), holes))


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_a_mean_over_images_so_that_processes_can_share_a_batch(name: str):
    method = method_of(name)
    for network in method.networks.values():
        network.eval()  # BatchNorm looks at the whole batch
    for player in method.players:
        whole, *halves = (
            method.loss(player, method.forward(method.prepare(batch_of(indices))))[0]
            for indices in ([0, 1, 2, 3], [0, 1], [2, 3])
        )
        torch.testing.assert_close(whole, torch.stack(halves).mean(), rtol=1e-5, atol=1e-7)


def short_recipe(name: str, steps: int) -> Recipe:
    values = {
        "method": section_of(name),
        "data": {"source": "digits", "held_out": 20},
        "optim": {"batch_size": 8, "steps": steps},
        "log": {"every": 1, "online_every": 0, "held_out_every": 2, "checkpoint_every": 2, "tensorboard": False},
    }
    return make_recipe(values, "the test's recipe")


def numbers_of(run: Path) -> list[dict[str, str]]:
    return [
        {key: value for key, value in row.items() if key != "images_per_second"} for row in read_log(run / "log.csv")
    ]


@pytest.mark.parametrize("died_at", [1, 3], ids=["before-a-checkpoint", "after-one"])
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_training_resumes_bit_for_bit(name: str, died_at: int, digits_train: PackedImages, tmp_path: Path):
    def die(state: Progress) -> None:
        if state.step == died_at:
            raise RuntimeError("killed")

    recipe = short_recipe(name, 4)
    whole = pretrain(recipe, digits_train, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        pretrain(recipe, digits_train, tmp_path / "parts", hooks=Hooks(progress=die))
    parts = pretrain(recipe, digits_train, tmp_path / "parts", resume=True)
    ours, theirs = (read_safetensors(run / "weights.safetensors") for run in (whole, parts))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert numbers_of(whole) == numbers_of(parts)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_trained_saved_and_judged_like_any_other(name: str, digits_train: PackedImages, tmp_path: Path):
    run = pretrain(short_recipe(name, 2), digits_train, tmp_path / "run")
    described = load_descriptor(str(run)).describe(digits_train.read([0, 1]))
    assert described.shape[0] == 2
    assert bool(torch.isfinite(described).all())
    if "fill" in method_of(name).capabilities:
        holes = draw("center", torch.arange(2), 32, 32)
        assert load_inpainter(str(run)).fill(digits_train.read([0, 1]), holes).shape == (2, 3, 32, 32)
