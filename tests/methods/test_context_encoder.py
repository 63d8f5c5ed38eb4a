"""Losses and gradients against explicit float64 arithmetic, pixel by pixel."""

import math
from typing import Any

import pytest
import torch

from ssl_ce.errors import UserError
from ssl_ce.holes import draw, predicted_region
from ssl_ce.methods.base import Batch
from ssl_ce.methods.context_encoder import ContextEncoder, ContextEncoderConfig

SMALL: dict[str, Any] = {
    "size": 32,
    "encoder": {"name": "dcgan", "width": 0.1},
    "decoder": {"kind": "dcgan", "width": 0.1},
}


def method_of(**changes: Any) -> ContextEncoder:
    return ContextEncoder(ContextEncoderConfig(**{**SMALL, **changes}))


def batch_of(count: int = 3, size: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator),
        torch.arange(count),
        0,
        0,
    )


def explicit_l2(images, predicted, holes, scored, overlap_weight, published) -> float:
    """The reconstruction loss by a loop over pixels, in Python floats."""
    n, channels, height, width = images.shape
    predicted = predicted.detach()
    total, by_image = 0.0, []
    for i in range(n):
        image_sum, missing = 0.0, 0
        for y in range(height):
            for x in range(width):
                hole = bool(holes[i, 0, y, x])
                missing += hole
                weight = (1.0 if hole else overlap_weight) if bool(scored[i, 0, y, x]) else 0.0
                for c in range(channels):
                    image_sum += weight * (float(predicted[i, c, y, x]) - float(images[i, c, y, x])) ** 2
        total += image_sum
        by_image.append(image_sum / (3 * missing))
    return total / (n * channels * height * width) if published else sum(by_image) / n


@pytest.mark.parametrize("overlap", [0, 2])
@pytest.mark.parametrize("normalization", ["hole", "published"])
@pytest.mark.parametrize("region", ["hole", "output"])
def test_the_masked_l2_equals_a_loop_over_pixels(overlap: int, normalization: str, region: str):
    method = method_of(reconstruction={"overlap": overlap, "normalization": normalization, "region": region})
    outputs = method.forward(method.prepare(batch_of(2)))
    loss, logs = method.loss("generator", outputs)
    scored = predicted_region(outputs["holes"], overlap) if region == "hole" else torch.ones_like(outputs["holes"])
    expected = explicit_l2(
        outputs["images"], outputs["predicted"], outputs["holes"], scored, 10.0, normalization == "published"
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert logs["reconstruction"].item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_the_formula_in_float64():
    """d/dp of sum w (p - x)^2 / (3 |hole|) / n is 2 w (p - x) / (3 |hole| n): zero wherever nothing is scored."""
    method = method_of(reconstruction={"overlap": 1})
    outputs = method.forward(method.prepare(batch_of()))
    predicted = outputs["predicted"].detach().requires_grad_(True)
    method.loss("generator", {**outputs, "predicted": predicted})[0].backward()
    holes = outputs["holes"].double()
    scored = predicted_region(outputs["holes"], 1).double()
    weight = scored * (holes + 10.0 * (1 - holes))
    difference = predicted.detach().double() - outputs["images"].double()
    expected = 2 * weight * difference / (3 * holes.sum((1, 2, 3), keepdim=True)) / len(holes)
    assert torch.allclose(predicted.grad.double(), expected, rtol=1e-5, atol=1e-9)


def test_the_adversarial_losses_are_cross_entropies_of_the_discriminators_sigmoid():
    method = method_of(adversarial={"weight": 0.25, "width": 0.1}, reconstruction={"weight": 0.75})
    outputs = method.forward(method.prepare(batch_of()))
    d_loss, d_logs = method.loss("discriminator", outputs)
    g_loss, g_logs = method.loss("generator", outputs)
    discriminator = method.networks["discriminator"]
    with torch.no_grad():
        real = torch.sigmoid(discriminator(outputs["images"]).double())
        filled = torch.sigmoid(discriminator(outputs["predicted"]).double())
    assert d_loss.item() == pytest.approx(-(real.log().mean() + (1 - filled).log().mean()).item(), rel=1e-4)
    assert d_logs["log_d_real"].item() == pytest.approx(real.log().mean().item(), rel=1e-4)
    assert d_logs["log_d_filled"].item() == pytest.approx(filled.log().mean().item(), rel=1e-4)
    expected = 0.75 * g_logs["reconstruction"].item() - 0.25 * filled.log().mean().item()
    assert g_loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_discriminators_loss_never_reaches_the_generator():
    method = method_of(adversarial={"width": 0.1})
    outputs = method.forward(method.prepare(batch_of()))
    method.loss("discriminator", outputs)[0].backward()
    generator = [p for name in method.players["generator"] for p in method.networks[name].parameters()]
    assert all(parameter.grad is None for parameter in generator)
    assert all(parameter.grad is not None for parameter in method.networks["discriminator"].parameters())


def test_what_is_under_a_hole_never_reaches_the_network():
    method = method_of()
    batch = batch_of()
    inputs = method.prepare(batch)
    other = torch.where(inputs["holes"], 255 - batch.images, batch.images)
    changed = method.prepare(Batch(other, batch.indices, 0, 0))
    assert torch.equal(inputs["context"], changed["context"])
    filled = inputs["context"][inputs["holes"].expand_as(inputs["context"])].reshape(-1)
    levels = {round(float(value), 4) for value in filled.unique()}
    assert levels == {round(value / 127.5 - 1, 4) for value in (117, 104, 123)}


@pytest.mark.parametrize("strategy", ["center", "random-block", "random-region"])
def test_a_fill_changes_the_hole_and_leaves_the_context_bit_for_bit(strategy: str):
    method = method_of()
    for network in method.networks.values():
        network.eval()
    batch = batch_of()
    holes = draw(strategy, batch.keys("x"), 32, 32)
    filled = method.fill(batch.images, holes)
    assert filled.dtype == torch.uint8
    assert torch.equal(filled.masked_fill(holes, 0), batch.images.masked_fill(holes, 0))
    assert not torch.equal(filled, batch.images)
    assert torch.equal(filled, method.fill(batch.images.masked_fill(holes, 7), holes))


def test_a_centre_network_fills_the_centre_and_refuses_other_holes():
    method = method_of(decoder={"kind": "dcgan", "width": 0.1, "output": "center"}, holes={"strategy": "center"})
    batch = batch_of()
    assert method.forward(method.prepare(batch))["predicted"].shape == (3, 3, 16, 16)
    center = draw("center", batch.keys("x"), 32, 32)
    assert torch.equal(method.fill(batch.images, center).masked_fill(center, 0), batch.images.masked_fill(center, 0))
    with pytest.raises(UserError, match="central 16 x 16 of 32 x 32 pixels only"):
        method.fill(batch.images, draw("random-region", batch.keys("x"), 32, 32))


def test_a_centre_network_refuses_holes_over_the_border_that_it_was_shown_in_training():
    """With an overlap more is predicted than was missing: 16 pixels for 12, and it leans on those between."""
    method = method_of(
        decoder={"kind": "dcgan", "width": 0.1, "output": "center"},
        holes={"strategy": "center", "options": {"side": 0.375}},
    )
    batch = batch_of()
    assert (method.output_size, method.fillable_size) == (16, 12)
    center = draw("center", batch.keys("x"), 32, 32, {"side": 0.375})
    assert not torch.equal(method.fill(batch.images, center), batch.images)
    with pytest.raises(UserError, match=r"central 12 x 12 of 32 x 32 pixels only.*options.side=0.375"):
        method.fill(batch.images, draw("center", batch.keys("x"), 32, 32))
    assert method_of().fillable_size == 32


def test_a_centre_networks_loss_scores_the_overlap_ten_times():
    method = method_of(
        decoder={"kind": "dcgan", "width": 0.1, "output": "center"},
        holes={"strategy": "center", "options": {"side": 0.375}},
        reconstruction={"region": "output", "overlap": 2, "normalization": "published"},
    )
    outputs = method.forward(method.prepare(batch_of()))
    loss, _ = method.loss("generator", outputs)
    square = (outputs["predicted"] - outputs["images"][..., 8:24, 8:24]).detach().double() ** 2
    weight = torch.full((16, 16), 10.0, dtype=torch.float64)
    weight[2:14, 2:14] = 1
    assert loss.item() == pytest.approx((square * weight).mean().item(), rel=1e-5)


def test_initial_weights_are_a_function_of_the_seed_and_leave_torchs_generator_alone():
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    one, two = (
        ContextEncoder(ContextEncoderConfig(**SMALL), seed=1),
        ContextEncoder(ContextEncoderConfig(**SMALL), seed=1),
    )
    assert torch.equal(torch.rand(1), before)
    other = ContextEncoder(ContextEncoderConfig(**SMALL), seed=2)
    weights = [m.networks["encoder"].state_dict()["stages.conv1.0.weight"] for m in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("seed", range(3))
def test_training_steps_lower_the_loss(seed: int):
    method = ContextEncoder(ContextEncoderConfig(**SMALL), seed=seed)
    parameters = [p for name in method.players["generator"] for p in method.networks[name].parameters()]
    optimizer = torch.optim.Adam(parameters, 2e-3)
    smooth = torch.linspace(0, 255, 32).view(1, 1, 1, 32).expand(16, 3, 32, 32).to(torch.uint8)
    losses = []
    for step in range(30):
        loss, _ = method.loss("generator", method.forward(method.prepare(Batch(smooth, torch.arange(16), 0, step))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert math.isfinite(losses[-1])
    assert losses[-1] < 0.5 * losses[0]
