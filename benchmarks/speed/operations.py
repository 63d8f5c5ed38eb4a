"""Floating-point operations of a training step for each image, and parameters, of recipes.

    python benchmarks/speed/operations.py ce-alexnet ce-center-adv

Convolutions and matrix products, forward and backward, of all players, as torch counts them; two operations for each
multiplication with its addition.
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.flop_counter import FlopCounterMode

from ssl_ce.methods.base import Batch
from ssl_ce.methods.saved import build_method
from ssl_ce.pretraining.players import Players
from ssl_ce.pretraining.recipe import Recipe, load_recipe
from ssl_ce.processes import single

_BATCH = 4


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    for name in parser.parse_args().recipes:
        operations, parameters = count(load_recipe(name))
        print(f"{name}: {operations / 1e9:.2f} GFLOP an image, {parameters / 1e6:.1f} M parameters")


def count(recipe: Recipe) -> tuple[float, int]:
    """Operations of a step for each image, and parameters of all networks."""
    method = build_method(recipe.method, recipe.seed)
    size = method.encoder.input.size
    images = torch.zeros(_BATCH, 3, size, size, dtype=torch.uint8)
    labels = torch.zeros(_BATCH, dtype=torch.int64)
    players = Players(method, recipe, single(torch.device("cpu")), None)
    with FlopCounterMode(display=False) as counter:
        players.step(Batch(images, torch.arange(_BATCH), 0, 0, labels), 1.0)
    parameters = sum(each.numel() for network in players.plain.values() for each in network.parameters())
    return counter.get_total_flops() / _BATCH, parameters


if __name__ == "__main__":
    main()
