"""Linear classifiers trained beside one another by SGD or LARS, in one pass over the same features.

LARS: You et al., "Large Batch Training of Convolutional Networks", arXiv 1708.03888; as in MAE's util/lars.py it leaves
biases unscaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from ssl_ce.randomness import fold, normal
from ssl_ce.settings import Settings

Norm = Literal["none", "feature", "channel"]
Optimizer = Literal["sgd", "lars"]


class HeadConfig(Settings):
    """What a linear head is, and how a step moves it.

    Attributes
    ----------
    weight_std
        Initial weights are normal with this deviation; 0 begins at even odds. Biases begin at 0.
    norm
        BatchNorm before the head: of each feature, without scale and shift; or of each channel of a map, with both.
    norm_eps
        What is added to a variance.
    optimizer
        "lars" scales each step of a head's weights to `trust` x |weights| / |gradient|.
    weight_decay
        Of weights and biases, not of the norm's scale and shift.
    """

    weight_std: NonNegativeFloat = 0.01
    norm: Norm = "none"
    norm_eps: PositiveFloat = 1e-5
    optimizer: Optimizer = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    trust: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0


class Heads(nn.Module):
    """Heads on the same features: each parameter has the heads as its first dimension.

    Parameters
    ----------
    dim, channels
        Numbers in a feature vector, and channels that it is made of, each dim / channels numbers in a row.
    keys
        int64 (heads,): what a head's initial weights are drawn from.
    """

    def __init__(self, dim: int, channels: int, classes: int, keys: Tensor, config: HeadConfig) -> None:
        super().__init__()
        heads = len(keys)
        weight = config.weight_std * normal(fold(keys, "weights"), classes, dim)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(heads, classes))
        self.norm: nn.BatchNorm1d | None = None
        self.scale: nn.Parameter | None = None
        self.shift: nn.Parameter | None = None
        if config.norm != "none":
            self.groups = dim if config.norm == "feature" else channels
            self.norm = nn.BatchNorm1d(self.groups, eps=config.norm_eps, affine=False)
        if config.norm == "channel":
            self.scale = nn.Parameter(torch.ones(heads, channels))
            self.shift = nn.Parameter(torch.zeros(heads, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Scores: float32 (n, dim) -> (heads, n, classes)."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if self.norm is not None:
            features = self.norm(features.view(len(features), self.groups, -1)).flatten(1)
        if self.scale is not None and self.shift is not None:  # folded into the weights: heads share the features
            cells = weight.shape[2] // self.groups
            bias = bias + torch.einsum("hkd,hd->hk", weight, self.shift.repeat_interleave(cells, dim=1))
            weight = weight * self.scale.repeat_interleave(cells, dim=1).unsqueeze(1)
        scores: Tensor = (features @ weight.flatten(0, 1).T).view(len(features), *bias.shape)
        return scores.transpose(0, 1) + bias.unsqueeze(1)


def summed_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """The heads' mean cross-entropies, summed: each head's gradient is that of its own. (heads, n, classes), (n,)."""
    return F.cross_entropy(scores.flatten(0, 1), labels.repeat(len(scores)), reduction="sum") / len(labels)


class HeadOptimizer:
    """One step for many heads, each at a learning rate of its own.

    Parameters
    ----------
    stacks, rates
        The heads, and the rate of each of every stack's heads.
    """

    def __init__(self, stacks: Iterable[Heads], rates: Sequence[float], config: HeadConfig) -> None:
        self.config = config
        self._moves = []
        for heads in stacks:
            for name, parameter in heads.named_parameters():
                each = torch.tensor(rates, device=parameter.device).view(-1, *[1] * (parameter.ndim - 1))
                self._moves.append((name, parameter, each, torch.zeros_like(parameter)))

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Move every head along its gradient, at `factor` times its rate, and forget the gradient."""
        config = self.config
        for name, parameter, rates, momentum in self._moves:
            assert parameter.grad is not None
            gradient = parameter.grad
            if config.weight_decay and name in ("weight", "bias"):
                gradient = gradient.add(parameter, alpha=config.weight_decay)
            if config.optimizer == "lars" and name == "weight":
                gradient = gradient * _trust(parameter, gradient, config.trust)
            momentum.mul_(config.momentum).add_(gradient)
            direction = gradient + config.momentum * momentum if config.nesterov else momentum
            parameter.sub_(factor * rates * direction)
            parameter.grad = None


def _trust(weights: Tensor, gradient: Tensor, trust: float) -> Tensor:
    """trust x |weights| / |gradient| of each head, (heads, 1, 1); 1 where either is 0."""
    size, slope = (each.flatten(1).norm(dim=1).view(-1, 1, 1) for each in (weights, gradient))
    return torch.where((size > 0) & (slope > 0), trust * size / slope, 1.0)
