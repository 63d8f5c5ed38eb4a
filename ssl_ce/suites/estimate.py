"""How long cells will take, from what was timed before, or by trying one step."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from ssl_ce.devices import choose_device
from ssl_ce.errors import is_out_of_memory
from ssl_ce.methods.base import Batch
from ssl_ce.methods.saved import build_method
from ssl_ce.pretraining.conditions import choose_precision
from ssl_ce.pretraining.optimization import make_optimizers
from ssl_ce.pretraining.recipe import Recipe
from ssl_ce.pretraining.run import RunDirectory
from ssl_ce.records.record import Record
from ssl_ce.suites.cells import Plan, PretrainCell
from ssl_ce.suites.running import open_train_images
from ssl_ce.suites.status import State

# Images of the step that is tried; its time is scaled to the batch. A GPU is not filled by fewer.
_CPU_BATCH = 8
_GPU_BATCH = 64


def estimates(
    plan: Plan, chosen: Collection[str], states: Mapping[str, State], records: Iterable[Record]
) -> dict[str, float | None]:
    """{key: seconds} that each of the `chosen` cells will still take, one after another; None where nothing is known.

    A pretraining goes by the images a second of a finished run of the suite with the same method, or by one step that
    is tried now. An evaluation goes by the records of its protocol: the median of seconds for each image judged.
    """
    timed: dict[str, float] = {}
    for cell in plan.pretrainings:
        if states[cell.key].kind == "done" and (rate := _rate_of(RunDirectory(cell.path).manifest())):
            timed.setdefault(_kind(cell.recipe), rate)
    found: dict[str, float | None] = {}
    for cell in plan.pretrainings:
        if cell.key not in chosen:
            continue
        state = states[cell.key]
        if state.kind == "done":
            found[cell.key] = 0.0
            continue
        if _kind(cell.recipe) not in timed:
            timed[_kind(cell.recipe)] = try_step(cell.recipe)
        left = 1 - state.step / state.total if state.total else 1.0
        rate = timed[_kind(cell.recipe)]
        found[cell.key] = _images_of(cell) * left / rate if rate else None
    paces = _paces(records)
    for evaluation in plan.evaluations:
        done = states[evaluation.key].kind == "done"
        pace = paces.get(evaluation.protocol)
        found[evaluation.key] = 0.0 if done else None if pace is None else pace * evaluation.n
    return found


def try_step(recipe: Recipe) -> float:
    """Images a second of one training step of the recipe, after one to warm up, on random images.

    0 if the step finds too little memory.
    """
    try:
        return _try_step(recipe)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return 0.0


def _try_step(recipe: Recipe) -> float:
    device = choose_device(recipe.device)
    method = build_method(recipe.method, recipe.seed)
    for network in method.networks.values():
        network.to(device).to(memory_format=torch.channels_last).train()
    optimizers = make_optimizers(method, recipe.optim)
    count = min(recipe.optim.batch_size, _GPU_BATCH if device.type == "cuda" else _CPU_BATCH)
    size = method.encoder.input.size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator).to(device)
    batch = Batch(images, torch.arange(count, device=device), 0, 0, torch.zeros(count, dtype=torch.long, device=device))
    bf16 = choose_precision(recipe, device) == "bf16"
    started = 0.0
    for _ in range(2):
        _synchronize(device)
        started = time.perf_counter()
        with torch.no_grad():
            inputs = method.prepare(batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs = method.forward(inputs)
        for player, optimizer in optimizers.items():
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss, _ = method.loss(player, outputs)
            optimizer.zero_grad(set_to_none=True)
            loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        # Only then: a step changes what another player's gradient still needs.
        for optimizer in optimizers.values():
            optimizer.step()
        _synchronize(device)
    return count / max(time.perf_counter() - started, 1e-6)


def _images_of(cell: PretrainCell) -> int:
    """How many images its whole pretraining shows."""
    optim = cell.recipe.optim
    images = len(open_train_images(cell.recipe, cell.options)) - cell.recipe.data.held_out
    batch = min(optim.batch_size, images)
    return batch * (optim.steps or (optim.epochs or 0) * (images // batch))


def _kind(recipe: Recipe) -> str:
    """Recipes of one kind are equally fast."""
    return repr((sorted(recipe.method.items(), key=str), recipe.precision, recipe.optim.batch_size))


def _rate_of(manifest: Mapping[str, Any]) -> float:
    seconds, images = float(manifest.get("seconds", 0)), int(manifest.get("images_seen", 0))
    return images / seconds if seconds > 0 else 0.0


def _paces(records: Iterable[Record]) -> dict[str, float]:
    """{protocol: median seconds of its cells for each image judged}; a cell's records are added up."""
    paces: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for record in records:
        paces[record.protocol][record.cell] += record.seconds / max(1, record.dataset.n)
    return {protocol: statistics.median(cells.values()) for protocol, cells in paces.items()}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
