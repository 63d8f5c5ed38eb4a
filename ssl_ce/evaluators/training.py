"""Training a network inside an evaluator: groups of parameters by depth, precision, randomness, the loop.

Layer-wise decay of learning rates follows ELECTRA (Clark et al., ICLR 2020), BEiT and MAE.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from ssl_ce.devices import has_bfloat16
from ssl_ce.errors import MachineError
from ssl_ce.methods.base import Batch
from ssl_ce.networks.encoder import Encoder
from ssl_ce.pretraining.conditions import deterministic
from ssl_ce.pretraining.feed import Feed
from ssl_ce.pretraining.optimization import schedule_factor, set_rate
from ssl_ce.pretraining.recipe import OptimConfig
from ssl_ce.settings import Precision, Settings

_SAY_EVERY = 10


class TrainingConfig(Settings):
    """How a network is trained on labels.

    Attributes
    ----------
    epochs, fewest_steps
        So many passes, and at least so many steps: a hundred images are few steps an epoch.
    steps
        So many steps, whatever these two say.
    batch_size
        At most; a smaller set is one batch. What an epoch leaves over is left out.
    rate
        Learning rate of the head for each 256 images of a batch: `rate` x batch / 256.
    layer_decay
        The rate of each layer is that of the layer above it times this.
    weight_decay
        Of weights; biases, scales and shifts have none.
    warmup
        Share of the steps in which the rate rises linearly.
    schedule
        "cosine" falls to 0; "halving" halves the rate after each eighth of the steps.
    clip_norm
        The largest norm of a step's gradient; None for any.
    precision
        Of the multiplications while training; "auto" is bf16 where the device multiplies it itself.
    """

    epochs: PositiveInt = 30
    fewest_steps: NonNegativeInt = 0
    steps: PositiveInt | None = None
    batch_size: Annotated[int, Field(ge=2)] = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: PositiveFloat = 1e-3
    momentum: NonNegativeFloat = 0.9
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    weight_decay: NonNegativeFloat = 0.05
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    schedule: Literal["cosine", "halving"] = "cosine"
    clip_norm: PositiveFloat | None = None
    precision: Precision = "auto"

    def length(self, feed: Feed) -> int:
        """How many steps on the images of `feed`."""
        return self.steps or max(self.epochs * feed.steps_per_epoch, self.fewest_steps)

    def factor(self, step: int, total: int) -> float:
        """Factor on every rate at `step` (from 0) of `total`."""
        warmup = round(self.warmup * total)
        if self.schedule == "halving" and step >= warmup:
            return 0.5 ** (step * 8 // total)
        return schedule_factor(step, total, OptimConfig(steps=total, warmup_steps=warmup))


def depths(encoder: Encoder, tap: str) -> dict[str, int]:
    """{parameter: its depth} of all that `tap` depends on, 0 for what the first tap depends on.

    A parameter belongs to the first tap that depends on it; taps without parameters of their own (pooling) do not
    count.
    """
    assert isinstance(encoder, nn.Module)
    training = encoder.training
    encoder.eval()
    parameters = dict(encoder.named_parameters())
    taps = list(encoder.taps)[: list(encoder.taps).index(tap) + 1]
    size, device = encoder.input.size, next(iter(parameters.values())).device
    maps = encoder.maps(torch.zeros(1, 3, size, size, device=device), taps)
    found: dict[str, int] = {}
    depth = 0
    for name in taps:
        gradients = torch.autograd.grad(
            maps[name].sum(), list(parameters.values()), retain_graph=True, allow_unused=True
        )
        own = [key for key, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
        new = [key for key in own if key not in found]
        found |= dict.fromkeys(new, depth)
        depth += bool(new)
    encoder.train(training)
    return found


def make_optimizer(encoder: Encoder, tap: str, head: nn.Module, config: TrainingConfig, batch_size: int) -> Optimizer:
    """An optimiser of `head` and of what `tap` depends on, rates falling with depth; what is above is frozen."""
    assert isinstance(encoder, nn.Module)
    rate = config.rate * batch_size / 256
    depth = depths(encoder, tap)
    top = max(depth.values(), default=-1) + 1
    groups: dict[tuple[int, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in depth)
        if name in depth:
            groups[depth[name], _is_weight(parameter)].append(parameter)
    for parameter in head.parameters():
        groups[top, _is_weight(parameter)].append(parameter)
    given: list[dict[str, Any]] = [
        {
            "params": parameters,
            "base_lr": rate * config.layer_decay ** (top - level),
            "weight_decay": config.weight_decay if weights else 0.0,
        }
        for (level, weights), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    if config.optimizer == "sgd":
        return SGD(given, lr=rate, momentum=config.momentum)
    return AdamW(given, lr=rate)


def train(
    loss_of: Callable[[Batch], Tensor],
    feed: Feed,
    optimizer: Optimizer,
    config: TrainingConfig,
    *,
    say: Callable[[str], None],
    name: str,
) -> None:
    """Train on the batches of `feed` for as long as `config` says. The last step is the result, never the best.

    Parameters
    ----------
    loss_of
        The scalar loss of a batch; autocast and augmentation are its business.
    say, name
        Called with a line of progress that begins with `name`.

    Raises
    ------
    MachineError
        If the loss is not finite.
    """
    total = config.length(feed)
    epochs = -(-total // feed.steps_per_epoch)
    started = time.perf_counter()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for step, batch in enumerate(feed.batches(0, total)):
        set_rate(optimizer, config.factor(step, total))
        loss = loss_of(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimizer.step()
        if (step + 1) % _SAY_EVERY == 0 or step + 1 == total:
            value = loss.item()
            if not torch.isfinite(loss):
                raise MachineError(f"{name}: the loss is {value} at step {step + 1} of {total}. Try a lower rate.")
            speed = (step + 1) * feed.batch_size / (time.perf_counter() - started)
            epoch = step // feed.steps_per_epoch + 1
            say(f"{name}: epoch {epoch} of {epochs}, loss {value:.3f}, {speed:,.0f} images/s")


@contextmanager
def repeatable(seed: int, device: torch.device) -> Iterator[None]:
    """Deterministic algorithms, and torch's own generators (dropout, mixing) begun from `seed`, for a while."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []), deterministic(device):
        torch.manual_seed(seed)
        yield


def precision_on(device: torch.device, config: TrainingConfig) -> str:
    """ "32" or "bf16": what the configuration's precision means on `device`."""
    if config.precision == "auto":
        return "bf16" if has_bfloat16(device) else "32"
    return config.precision


def autocast(device: torch.device, config: TrainingConfig) -> torch.autocast:
    """Forward passes within it multiply in the configuration's precision; parameters stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision_on(device, config) == "bf16")


def _is_weight(parameter: Tensor) -> bool:
    """More than a vector: what weight decay is for."""
    return parameter.numel() > max(parameter.shape)
