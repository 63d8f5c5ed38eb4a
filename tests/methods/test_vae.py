import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ssl_ce.methods.base import Batch
from ssl_ce.methods.vae import Vae, VaeConfig

SMALL = {
    "size": 32,
    "encoder": {"name": "dcgan", "width": 0.1},
    "bottleneck": {"dim": 6},
    "decoder": {"kind": "dcgan", "width": 0.1},
}


def outputs_of(method: Vae) -> dict[str, torch.Tensor]:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return method.forward(method.prepare(Batch(images, torch.arange(4), 0, 0)))


@pytest.mark.parametrize("kl_weight", [1.0, 0.1])
def test_the_loss_is_the_squared_norm_and_torchs_own_kl_divergence(kl_weight: float):
    method = Vae(VaeConfig(**SMALL, kl_weight=kl_weight))
    outputs = outputs_of(method)
    # A distribution that is not near the prior, so that the divergence is not near zero.
    outputs["mean"], outputs["log_variance"] = outputs["mean"] * 40, outputs["log_variance"] * 40 - 1
    loss, logs = method.loss("generator", outputs)
    posterior = Normal(outputs["mean"], (outputs["log_variance"] / 2).exp())
    divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum((1, 2, 3)).mean()
    norm = torch.linalg.vector_norm((outputs["images"] - outputs["predicted"]).double().flatten(1), dim=1)
    expected = (norm.square().mean() + kl_weight * divergence) / (3 * 32 * 32)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert logs["kl"].item() == pytest.approx(divergence.item(), rel=1e-5)


def test_training_draws_z_with_the_samples_noise_and_a_fill_takes_the_mean():
    method = Vae(VaeConfig(**SMALL))
    for network in method.networks.values():
        network.eval()
    outputs = outputs_of(method)
    assert outputs["noise"].shape == (4, 6, 1, 1)
    z = outputs["mean"] + (outputs["log_variance"] / 2).exp() * outputs["noise"]
    assert torch.equal(outputs["predicted"], method.networks["decoder"](z))
    images = ((outputs["images"] + 1) * 127.5).round().to(torch.uint8)
    expected = method.networks["decoder"](outputs["mean"])
    assert torch.allclose(method.reconstruct(images, outputs["holes"]), expected, atol=1e-6)


def test_its_holes_are_the_reports_unless_told_otherwise():
    method = Vae(VaeConfig(**{**SMALL, "size": 64}))
    holes = method.prepare(Batch(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.arange(2), 0, 0))["holes"]
    assert holes.sum((1, 2, 3)).tolist() == [16 * 16] * 2
    assert bool(holes[:, :, 24:40, 24:40].all())
