import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ssl_ce.methods.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    DenoisingAutoencoder,
    DenoisingAutoencoderConfig,
)
from ssl_ce.methods.base import Batch

SMALL = {"size": 32, "encoder": {"name": "dcgan", "width": 0.1}, "decoder": {"kind": "dcgan", "width": 0.1}}
IMAGES = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BATCH = Batch(IMAGES, torch.arange(16), 0, 0)


def test_the_autoencoder_sees_everything_and_is_scored_on_everything():
    method = Autoencoder(AutoencoderConfig.model_validate(SMALL))
    outputs = method.forward(method.prepare(BATCH))
    assert torch.equal(outputs["context"], outputs["images"])
    loss, _ = method.loss("generator", outputs)
    expected = np.mean((outputs["predicted"].detach().numpy() - (IMAGES.numpy() / 127.5 - 1)) ** 2)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert method.capabilities == {"encode"}


def test_masking_drops_its_share_of_single_pixels_and_mean_fills_them():
    config = {**SMALL, "corruption": {"kind": "masking", "amount": 0.3}, "mean_fill": [10, 20, 30]}
    method = DenoisingAutoencoder(DenoisingAutoencoderConfig.model_validate(config))
    inputs = method.prepare(BATCH)
    share = inputs["holes"].float().mean().item()
    assert share == pytest.approx(0.3, abs=3 * (0.3 * 0.7 / (16 * 32 * 32)) ** 0.5)
    lost = ((inputs["context"] + 1) * 127.5).permute(0, 2, 3, 1)[inputs["holes"][:, 0]]
    assert torch.allclose(lost, torch.tensor([10.0, 20.0, 30.0]).expand_as(lost), atol=1e-3)
    assert method.capabilities == {"encode", "fill"}


def test_gaussian_corruption_has_its_deviation_and_fills_nothing():
    config = {**SMALL, "corruption": {"kind": "gaussian", "amount": 0.4}}
    method = DenoisingAutoencoder(DenoisingAutoencoderConfig.model_validate(config))
    inputs = method.prepare(BATCH)
    noise = inputs["context"] - inputs["images"]
    assert noise.std().item() == pytest.approx(0.4, rel=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)
    assert method.capabilities == {"encode"}


def test_masking_everything_is_refused():
    with pytest.raises(ValidationError, match="below 1"):
        DenoisingAutoencoderConfig.model_validate({**SMALL, "corruption": {"kind": "masking", "amount": 1.0}})
