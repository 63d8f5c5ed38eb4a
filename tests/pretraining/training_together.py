"""Pretrains a few recipes for five steps in as many processes as are asked for. Run by test_distributed.py:

python training_together.py PACKED OUT COUNT STRATEGY CASE...
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssl_ce.data.packing import PackedImages
from ssl_ce.methods.base import Batch
from ssl_ce.pretraining import loop
from ssl_ce.pretraining.recipe import Recipe, make_recipe
from ssl_ce.processes import Processes, launch

METHOD: dict[str, Any] = {
    "name": "context-encoder",
    "size": 32,
    "encoder": {"name": "dcgan", "width": 0.2},
    "decoder": {"kind": "dcgan", "width": 0.2},
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "center": ({"holes": {"strategy": "center"}}, {"momentum": 0.0}),
    "random-region": ({"holes": {"strategy": "random-region"}}, {"momentum": 0.9, "clip_norm": 0.5}),
    "adversarial": ({"adversarial": {"weight": 0.1, "width": 0.2}}, {"momentum": 0.9}),
}
STEPS = 5


def recipe_of(case: str, **optim: Any) -> Recipe:
    method, own = CASES[case]
    return make_recipe(
        {
            "method": {**METHOD, **method},
            "data": {"source": "digits", "held_out": 8},
            "optim": {"optimizer": "sgd", "lr": 0.05, "batch_size": 16, "steps": STEPS, **own, **optim},
            "log": {"every": 1, "samples_every": 0, "online_every": 0, "held_out_every": 2, "tensorboard": False},
        },
        "the test's recipe",
    )


def train(case: str, images: PackedImages, out: Path, processes: Processes) -> list[tuple[torch.Tensor, ...]]:
    """Pretrain without BatchNorm, whose statistics are each process's own; returns what was seen, step by step."""
    seen: list[tuple[torch.Tensor, ...]] = []
    build = loop.build_method

    def without_norm(*args: Any) -> Any:
        method = build(*args)
        torch.manual_seed(0)
        for network in method.networks.values():
            _strip(network)
        prepare = method.prepare

        def remember(batch: Batch) -> dict[str, torch.Tensor]:
            inputs = prepare(batch)
            if method.networks["encoder"].training:
                seen.append((batch.indices, batch.images, inputs["holes"]))
            return inputs

        method.prepare = remember
        return method

    loop.build_method = without_norm
    try:
        loop.pretrain(recipe_of(case), images, out, processes=processes)
    finally:
        loop.build_method = build
    return seen


def _strip(module: nn.Module) -> None:
    """Take BatchNorm out, and draw weights with which a network learns without it."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(child.weight)
        else:
            _strip(child)


if __name__ == "__main__":
    packed, folder, count, strategy, *cases = sys.argv[1:]
    torch.set_num_threads(1)
    device = torch.device("cpu")
    processes = launch(device, devices=int(count), strategy=strategy)  # type: ignore[arg-type]
    images = PackedImages.open(Path(packed))
    for case in cases:
        seen = train(case, images, Path(folder) / case, processes)
        torch.save(seen, Path(folder) / f"{case}-seen-{processes.rank}.pt")
