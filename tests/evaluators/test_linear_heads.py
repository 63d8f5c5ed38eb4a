from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_ce.evaluators.linear_heads import HeadConfig, HeadOptimizer, Heads, summed_loss

RATES = (0.5, 0.1, 0.02)


def batches(count: int = 6) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(16, 12, generator=generator) + 1.0, torch.randint(0, 4, (16,), generator=generator))
        for _ in range(count)
    ]


def trained(config: HeadConfig, channels: int = 12) -> tuple[Heads, Heads]:
    """Heads before and after training on `batches`, at rates that halve at each step."""
    keys = torch.tensor([3, 5, 7])
    before, heads = (Heads(12, channels, 4, keys, config) for _ in range(2))
    optimizer = HeadOptimizer([heads], RATES, config)
    for step, (features, labels) in enumerate(batches()):
        summed_loss(heads(features), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step(0.5**step)
    return before, heads


def alone(before: Heads, head: int, norm: nn.Module | None = None, **options: Any) -> nn.Sequential:
    """One head of the same initial weights, behind `norm` of three channels, trained by torch's own SGD."""
    linear = nn.Linear(12, 4)
    with torch.no_grad():
        linear.weight.copy_(before.weight[head])
        linear.bias.copy_(before.bias[head])
    model = nn.Sequential(nn.Identity() if norm is None else norm, nn.Flatten(), linear)
    groups: list[dict[str, Any]] = [{"params": linear.parameters()}]
    if norm is not None:
        groups.append({"params": norm.parameters(), "weight_decay": 0.0})
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9, **options)
    for step, (features, labels) in enumerate(batches()):
        for group in optimizer.param_groups:
            group["lr"] = RATES[head] * 0.5**step
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(features.view(16, 3, 4)), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_heads_trained_in_one_pass_are_those_trained_alone_by_torch(nesterov: bool, decay: float) -> None:
    before, heads = trained(HeadConfig(nesterov=nesterov, weight_decay=decay))
    for head in range(3):
        model = alone(before, head, nesterov=nesterov, weight_decay=decay)
        torch.testing.assert_close(heads.weight[head], model[-1].weight)
        torch.testing.assert_close(heads.bias[head], model[-1].bias)


def test_batchnorm_of_channels_is_torchs_with_scale_and_shift() -> None:
    before, heads = trained(HeadConfig(norm="channel", weight_decay=0.01), channels=3)
    heads.eval()
    features = batches(1)[0][0]
    for head in range(3):
        model = alone(before, head, nn.BatchNorm1d(3), weight_decay=0.01)
        torch.testing.assert_close(heads(features)[head], model(features.view(16, 3, 4)), rtol=1e-4, atol=1e-5)


def test_batchnorm_of_features_is_torchs_without_scale_and_shift() -> None:
    _, heads = trained(HeadConfig(norm="feature", norm_eps=1e-6))
    norm = nn.BatchNorm1d(12, affine=False, eps=1e-6)
    for features, _ in batches():
        norm(features)
    heads.eval()
    features = batches(1)[0][0]
    expected = norm.eval()(features) @ heads.weight[1].T + heads.bias[1]
    torch.testing.assert_close(heads(features)[1], expected)
    assert heads.scale is None


def test_lars_takes_steps_of_the_papers_length() -> None:
    """You et al. 2017, equation 6, written out with NumPy: lr x trust x |w| / |g| along g; biases as in plain SGD."""
    config = HeadConfig(optimizer="lars", trust=0.02)
    before, heads = trained(config)
    for head, rate in enumerate(RATES):
        weight, bias = (part[head].detach().double().numpy() for part in (before.weight, before.bias))
        moved, shifted = np.zeros_like(weight), np.zeros_like(bias)
        for step, (features, labels) in enumerate(batches()):
            x = features.double().numpy()
            scores = x @ weight.T + bias
            residuals = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            residuals[np.arange(16), labels] -= 1
            gradient = residuals.T @ x / 16
            moved = 0.9 * moved + gradient * 0.02 * np.linalg.norm(weight) / np.linalg.norm(gradient)
            shifted = 0.9 * shifted + residuals.mean(axis=0)
            weight, bias = weight - rate * 0.5**step * moved, bias - rate * 0.5**step * shifted
        np.testing.assert_allclose(heads.weight[head].detach().numpy(), weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(heads.bias[head].detach().numpy(), bias, rtol=1e-4, atol=1e-6)


def test_initial_weights_are_normal_and_each_heads_own() -> None:
    heads = Heads(500, 500, 20, torch.tensor([1, 2]), HeadConfig())
    assert heads.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert heads.weight.mean().item() == pytest.approx(0.0, abs=3e-4)
    assert torch.corrcoef(heads.weight.detach().flatten(1))[0, 1].abs() < 0.05
    assert not heads.bias.any()
