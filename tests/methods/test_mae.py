"""The masked autoencoder against torchvision's blocks, explicit loops and the reference's positions."""

import numpy as np
import pytest
import torch

from ssl_ce.errors import UserError
from ssl_ce.holes import draw
from ssl_ce.methods.base import Batch
from ssl_ce.methods.mae import Mae, MaeConfig, from_patches, to_patches, visible_patches
from ssl_ce.networks.vit import run_block, sine_cosine_positions, transformer_block

SMALL = {
    "size": 32,
    "encoder": {"name": "vit", "width": 0.17, "depth": 2},
    "decoder": {"channels": 32, "depth": 1},
}


def method_of(**changes: object) -> Mae:
    method = Mae(MaeConfig.model_validate({**SMALL, **changes}))
    for network in method.networks.values():
        network.eval()
    return method


def images_of(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_block_computes_what_torchvisions_own_forward_does():
    torch.manual_seed(0)
    block, tokens = transformer_block(64, 2).eval(), torch.randn(2, 5, 64)
    assert torch.allclose(run_block(block, tokens), block(tokens), atol=1e-6)


def test_an_absent_token_changes_nothing_for_the_others():
    torch.manual_seed(0)
    block, tokens = transformer_block(64, 2).eval(), torch.randn(1, 5, 64)
    absent = torch.tensor([[False, False, False, True, True]])
    assert torch.allclose(run_block(block, tokens, absent)[:, :3], block(tokens[:, :3]), atol=1e-6)


def test_positions_are_the_references_for_every_cell():
    """He et al.'s `get_2d_sincos_pos_embed`, written as loops: columns first, then rows."""
    side, channels = 3, 16
    expected = np.zeros((side * side, channels))
    for row in range(side):
        for column in range(side):
            for half, position in enumerate((column, row)):
                for i in range(channels // 4):
                    angle = position / 10_000 ** (i / (channels // 4))
                    at = half * channels // 2
                    expected[row * side + column, at + i] = np.sin(angle)
                    expected[row * side + column, at + channels // 4 + i] = np.cos(angle)
    assert np.allclose(sine_cosine_positions(side, channels)[0].numpy(), expected, atol=1e-6)


def test_patches_are_cut_row_by_row_and_put_together_again():
    images = torch.rand(2, 3, 8, 8)
    patches = to_patches(images, 4)
    for place, (top, left) in enumerate(((0, 0), (0, 4), (4, 0), (4, 4))):
        assert torch.equal(patches[:, place], images[:, :, top : top + 4, left : left + 4].flatten(1))
    assert torch.equal(from_patches(patches, 4), images)


def test_a_patch_that_a_hole_touches_with_one_pixel_is_missing_as_a_whole():
    holes = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    holes[0, 0, 5, 11] = True  # patches of 4 pixels: row 1, column 2
    inputs = method_of()._inputs(images_of(1), holes)
    assert inputs["missing"].nonzero().tolist() == [[0, 8 + 2]]
    assert inputs["visible"].tolist() == [[place for place in range(64) if place != 10]]


def test_visible_patches_are_in_order_and_padded():
    missing = torch.tensor([[True, False, False, True], [True, True, True, False]])
    assert visible_patches(missing).tolist() == [[1, 2], [3, -1]]


@pytest.mark.parametrize("normalize", [False, True])
def test_the_loss_is_the_mean_over_missing_patches_of_each_image(normalize: bool):
    method = method_of(holes={"strategy": "random-region"}, normalize_patches=normalize)
    outputs = method.forward(method.prepare(Batch(images_of(), torch.arange(3), 0, 0)))
    loss, _ = method.loss("autoencoder", outputs)
    images, predicted = outputs["images"].double(), outputs["predicted"].detach().double()
    by_image = []
    for i in range(3):
        errors = []
        for place in outputs["missing"][i].nonzero().flatten().tolist():
            top, left = 4 * (place // 8), 4 * (place % 8)
            patch = images[i, :, top : top + 4, left : left + 4].flatten()
            if normalize:
                patch = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
            errors.append((predicted[i, place] - patch).square().mean().item())
        by_image.append(np.mean(errors))
    assert loss.item() == pytest.approx(np.mean(by_image), rel=1e-5)


def test_what_is_predicted_for_an_image_does_not_depend_on_how_much_the_others_show():
    method = method_of(holes={"strategy": "random-block"})
    images = images_of()
    holes = draw("random-block", torch.arange(3) * 977, 32, 32)
    together = method.reconstruct(images, holes)
    alone = torch.cat([method.reconstruct(images[i : i + 1], holes[i : i + 1]) for i in range(3)])
    assert len({int(count) for count in holes.sum((1, 2, 3))}) > 1
    assert torch.allclose(together, alone, atol=1e-5)


def test_its_own_mask_leaves_out_three_quarters_of_the_patches():
    inputs = method_of().prepare(Batch(images_of(), torch.arange(3), 0, 0))
    assert inputs["missing"].sum(1).tolist() == [48, 48, 48]
    assert inputs["visible"].shape == (3, 16)


@pytest.mark.parametrize("patch", [2, 8])
def test_its_own_mask_is_on_the_encoders_grid(patch: int):
    method = method_of(encoder={**SMALL["encoder"], "patch": patch})
    inputs = method.prepare(Batch(images_of(), torch.arange(3), 0, 0))
    side = 32 // patch
    assert inputs["missing"].sum(1).tolist() == [round(0.75 * side * side)] * 3


def test_holes_that_touch_every_patch_are_refused():
    with pytest.raises(UserError, match="leave no patch"):
        method_of(encoder={**SMALL["encoder"], "patch": 16}, holes={"strategy": "patches", "options": {"cells": 16}})


def test_normalised_patches_fill_nothing_and_a_convolutional_encoder_is_refused():
    method = method_of(normalize_patches=True)
    assert method.capabilities == {"encode"}
    with pytest.raises(UserError, match="normalised patches"):
        method.fill(images_of(), draw("center", torch.arange(3), 32, 32))
    with pytest.raises(UserError, match=r"encoder\.name to vit"):
        Mae(MaeConfig.model_validate({**SMALL, "encoder": {"name": "dcgan"}}))


def test_the_encoders_map_is_the_tokens_of_a_whole_image_in_their_places():
    method = method_of()
    x = torch.randn(2, 3, 32, 32)
    every = torch.arange(64).expand(2, -1)
    tokens = method.networks["encoder"](x, every)[:, 1:]
    assert torch.allclose(method.networks["encoder"](x), tokens.transpose(1, 2).unflatten(2, (8, 8)), atol=1e-5)
