"""What the discriminator is shown, pixel by pixel."""

from typing import Any

import pytest
import torch

from ssl_ce.methods.adversary import AdversarialConfig, Adversary
from ssl_ce.methods.base import Batch
from ssl_ce.methods.context_encoder import ContextEncoder, ContextEncoderConfig


def outputs_of(output_size: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    holes = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    holes[..., 10:20, 12:22] = True
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    return {
        "images": images,
        "holes": holes,
        "context": images.masked_fill(holes, 0.125),
        "predicted": torch.rand(2, 3, output_size, output_size) * 2 - 1,
    }


def adversary(output_size: int, **config: Any) -> Adversary:
    return Adversary(AdversarialConfig(width=0.1, **config), 32, output_size)


def test_it_sees_the_whole_output_and_the_true_pixels_in_its_place():
    outputs = outputs_of(16)
    one = adversary(16)
    assert torch.equal(one.view(outputs["predicted"], outputs), outputs["predicted"])
    assert torch.equal(one.view(outputs["images"], outputs), outputs["images"][..., 8:24, 8:24])


def test_it_sees_the_hole_alone():
    outputs = outputs_of(32)
    one = adversary(32, sees="hole")
    for values in (outputs["predicted"], outputs["images"]):
        shown = one.view(values, outputs)
        assert torch.equal(shown[..., 10:20, 12:22], values[..., 10:20, 12:22])
        assert not shown.masked_fill(outputs["holes"], 0.0).any()


@pytest.mark.parametrize("output_size", [16, 32])
def test_it_sees_the_completed_image_at_full_size(output_size: int):
    outputs = outputs_of(output_size)
    one = adversary(output_size, sees="completed")
    shown = one.view(outputs["predicted"], outputs)
    margin = (32 - output_size) // 2
    part = outputs["predicted"][..., 10 - margin : 20 - margin, 12 - margin : 22 - margin]
    assert torch.equal(shown[..., 10:20, 12:22], part)
    outside = (~outputs["holes"]).expand_as(shown)
    assert torch.equal(shown[outside], outputs["images"][outside])
    assert torch.equal(one.view(outputs["images"], outputs), outputs["images"])


@pytest.mark.parametrize("sees", ["hole", "output", "completed"])
def test_conditioned_it_is_given_the_mean_filled_image_beside_it(sees: str):
    outputs = outputs_of(16)
    one = adversary(16, sees=sees, condition="context")
    shown = one.view(outputs["predicted"], outputs)
    assert shown.shape == (2, 6, 32, 32)
    assert torch.equal(shown[:, 3:], outputs["context"])
    assert one.build()(shown).shape == (2,)


@pytest.mark.parametrize("sees", ["hole", "output", "completed"])
@pytest.mark.parametrize("condition", ["none", "context"])
@pytest.mark.parametrize("output", ["image", "center"])
def test_every_view_trains_both_players(sees: str, condition: str, output: str):
    method = ContextEncoder(
        ContextEncoderConfig.model_validate(
            {
                "size": 32,
                "encoder": {"name": "dcgan", "width": 0.1},
                "decoder": {"kind": "dcgan", "width": 0.1, "output": output},
                "holes": {"strategy": "center"},
                "adversarial": {"sees": sees, "condition": condition, "width": 0.1},
            }
        )
    )
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    outputs = method.forward(method.prepare(Batch(images, torch.arange(4), 0, 0)))
    for player, names in method.players.items():
        method.loss(player, outputs)[0].backward(retain_graph=True)
        assert all(p.grad is not None for name in names for p in method.networks[name].parameters())
