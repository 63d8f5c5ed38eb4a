"""Optimisers and learning-rate schedules, one optimiser for each player of a method."""

from __future__ import annotations

import math

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from ssl_ce.errors import UserError
from ssl_ce.methods.base import Method
from ssl_ce.pretraining.recipe import OptimConfig


def make_optimizers(method: Method, config: OptimConfig) -> dict[str, Optimizer]:
    """{player: its optimiser}. Each group remembers its base rate under "base_lr"."""
    for player in config.players:
        if player not in method.players:
            known = f"players are {', '.join(method.players)}" if method.players else "method has no players"
            raise UserError(f"optim.players names '{player}'; the recipe's {known}.")
    return {player: _make_optimizer(method, player, config) for player in method.players}


def schedule_factor(step: int, total: int, config: OptimConfig) -> float:
    """Factor on every base rate at `step` (from 0) of `total`: linear warm-up, then constant or cosine to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def set_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group's rate to `factor` times its base rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def _make_optimizer(method: Method, player: str, config: OptimConfig) -> Optimizer:
    parameters: list[torch.nn.Parameter] = [
        parameter for name in method.players[player] for parameter in method.networks[name].parameters()
    ]
    rate = config.players[player].lr if player in config.players else config.lr
    group = [{"params": parameters, "base_lr": rate}]
    # Fused: one pass over parameters, gradients and moments instead of one for each operation.
    if config.optimizer == "sgd":
        return SGD(group, lr=rate, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)
    kind = Adam if config.optimizer == "adam" else AdamW
    return kind(group, lr=rate, betas=config.betas, weight_decay=config.weight_decay, fused=True)
