"""The training loop. It moves players, keeps time, saves and resumes; it knows no losses."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_ce.data.imageset import ImageSet
from ssl_ce.devices import choose_device
from ssl_ce.errors import DiskFullError, MachineError, Stopped, UserError
from ssl_ce.manifest import describe_machine, peak_memory_mb
from ssl_ce.methods.base import Batch, Method
from ssl_ce.methods.saved import build_method
from ssl_ce.pretraining.conditions import choose_precision, deterministic, stop_signals
from ssl_ce.pretraining.feed import Feed
from ssl_ce.pretraining.held_out import HeldOut, hold_out
from ssl_ce.pretraining.logs import Log
from ssl_ce.pretraining.optimization import make_optimizers, schedule_factor, set_rate
from ssl_ce.pretraining.recipe import Recipe, for_images
from ssl_ce.pretraining.run import RunDirectory, all_finite


@dataclass(frozen=True)
class Progress:
    """Where a pretraining stands: `step` of `total`, the rate since the start, and the last logged numbers."""

    step: int
    total: int
    images_per_second: float
    numbers: Mapping[str, float]

    @property
    def losses(self) -> str:
        """The players' losses in words; "" where none are at hand."""
        logged = {name: value for name, value in self.numbers.items() if name.endswith("_loss")}
        return "loss: " + ", ".join(f"{name[:-5]} {value:.4f}" for name, value in logged.items()) if logged else ""


@dataclass(frozen=True)
class Hooks:
    """What the loop needs of higher rooms.

    Attributes
    ----------
    progress
        Called after every step.
    online
        Called every `log.online_every` steps; its numbers are logged ("online_knn").
    draw
        Called every `log.samples_every` steps with (path, images, holes, filled) to draw a grid of fills.
    """

    progress: Callable[[Progress], None] | None = None
    online: Callable[[Method], Mapping[str, float]] | None = None
    draw: Callable[[Path, Tensor, Tensor, Tensor], None] | None = None


def pretrain(recipe: Recipe, images: ImageSet, out: Path, *, resume: bool = False, hooks: Hooks | None = None) -> Path:
    """Pretrain the recipe's method on `images`, leaving a run in `out`; returns its path.

    Resuming is bit-exact on the same machine, build and thread count, in fp32 without compile.

    Raises
    ------
    UserError
        If `out` holds something else, the data do not fit the recipe, or a resumed run's data changed.
    Stopped
        On SIGINT or SIGTERM, after saving.
    MachineError
        On a loss that is not finite or a full disk; the last good checkpoint stays.
    """
    run = RunDirectory(out)
    recipe = for_images(recipe, images)
    method = build_method(recipe.method, recipe.seed)
    device = choose_device(recipe.device)
    size = _crop_size(method, images)
    images, kept_apart = hold_out(images, recipe.data.held_out, recipe.seed)
    held_out = None if kept_apart is None else HeldOut(kept_apart, size, recipe.seed, device)
    feed = Feed(
        images,
        size=size,
        batch_size=recipe.optim.batch_size,
        flip=recipe.data.flip,
        seed=recipe.seed,
        device=device,
    )
    total = recipe.optim.steps or (recipe.optim.epochs or 0) * feed.steps_per_epoch
    if not resume:
        run.begin(recipe, method.networks["encoder"])
    with deterministic(device):
        return _Training(recipe, method, run, feed, held_out, device, total, hooks or Hooks()).go()


class _Training:
    """The state of one pretraining while it runs."""

    def __init__(
        self,
        recipe: Recipe,
        method: Method,
        run: RunDirectory,
        feed: Feed,
        held_out: HeldOut | None,
        device: torch.device,
        total: int,
        hooks: Hooks,
    ) -> None:
        self.recipe, self.method, self.run, self.feed, self.held_out = recipe, method, run, feed, held_out
        self.device, self.total, self.hooks = device, total, hooks
        # The plain modules: what is saved and judged. The loop runs Fabric's wrappers of the same parameters.
        self.plain: dict[str, nn.Module] = dict(method.networks)
        self.step = 0
        self.started, self.seconds_before = 0.0, 0.0
        self.saved_step = -1
        self.sums: dict[str, Tensor] = {}
        self.summed = 0
        self.optimizers: dict[str, Optimizer] = {}

    def go(self) -> Path:
        self._set_up()
        self.started, first = time.perf_counter(), self.step
        # Before the first checkpoint nothing is kept, not even what was seen before the first step.
        log = Log(self.run.path, self.saved_step, self.recipe.log.tensorboard)
        try:
            with stop_signals() as stop:
                if self.step == 0:
                    self._look_at_held_out(log)
                for batch in self.feed.batches(self.step, self.total):
                    self._train_step(batch)
                    self.step += 1
                    self._report(log, first)
                    self._occasionally(batch, log)
                    if stop:
                        self._save()
                        raise Stopped(
                            f"Stopped by {signal.Signals(stop[0]).name} at step {self.step} of {self.total}, "
                            "after saving. "
                            f"Go on with: ce pretrain --resume {self.run.path}"
                        )
            self._save()
        except DiskFullError as error:
            raise MachineError(
                f"The disk is full at step {self.step} of {self.total}. {self._kept()}. "
                f"Free some space and go on with: ce pretrain --resume {self.run.path}"
            ) from error
        except Exception as error:
            if self.recipe.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise MachineError(
                    "torch.compile does not work on this machine (it needs a C++ compiler that torch supports). "
                    f"Go on without it: ce pretrain ... --set compile=false --out another than {self.run.path}."
                ) from error
            raise
        finally:
            log.close()
        return self.run.path

    def _set_up(self) -> None:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces what the manifest says
        precision = choose_precision(self.recipe, self.device)
        fabric: Any = Fabric(
            accelerator=self.device.type,
            devices=1,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        state = self.run.load()
        if state is not None:
            for name, network in self.plain.items():
                network.load_state_dict(state["networks"][name])
        for name, network in self.plain.items():
            # A CPU convolves 1.4 to 4 times as fast in this layout.
            network.train().to(memory_format=torch.channels_last)
            compiled = torch.compile(network) if self.recipe.compile else network
            self.method.networks[name] = fabric.setup_module(compiled)
        self.optimizers = make_optimizers(self.method, self.recipe.optim)
        self.fabric = fabric
        self.wrapped = {player: fabric.setup_optimizers(optimizer) for player, optimizer in self.optimizers.items()}
        if state is not None:
            if state["data_fingerprint"] != self.feed.images.fingerprint:
                raise UserError(
                    f"The images of {self.recipe.data.source} are not those that {self.run.path} was trained on. "
                    "Restore them, or start a new run with another --out."
                )
            for player, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][player])
            self.step, self.seconds_before = int(state["step"]), float(state["seconds"])
            self.sums = {key: value.to(self.device) for key, value in state["sums"].items()}
            self.summed = int(state["summed"])
            self.saved_step = self.step

    def _train_step(self, batch: Batch) -> None:
        factor = schedule_factor(self.step, self.total, self.recipe.optim)
        with torch.no_grad():
            inputs = self.method.prepare(batch)
        self._train_only(self.plain)
        outputs = self.method.forward(inputs)
        for player, names in self.method.players.items():
            self._train_only(names)
            optimizer = self.optimizers[player]
            set_rate(optimizer, factor)
            loss, logs = self.method.loss(player, outputs)
            self.wrapped[player].zero_grad(set_to_none=True)
            self.fabric.backward(loss)
            if self.recipe.optim.clip_norm is not None:
                parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, self.recipe.optim.clip_norm)
            self.wrapped[player].step()
            self._accumulate({f"{player}_loss": loss.detach(), **logs})
        self.summed += 1

    def _train_only(self, names: Container[str]) -> None:
        for name, network in self.plain.items():
            network.requires_grad_(name in names)

    def _accumulate(self, values: Mapping[str, Tensor]) -> None:
        for key, value in values.items():
            self.sums[key] = self.sums[key] + value.float() if key in self.sums else value.float().clone()

    def _report(self, log: Log, first: int) -> None:
        rate = (self.step - first) * self.feed.batch_size / (time.perf_counter() - self.started)
        numbers: dict[str, float] = {}
        due = self.step % self.recipe.log.every == 0 or self.step == self.total
        # A CPU has each loss at hand; on a GPU looking at every step would make it wait.
        if due or self.device.type == "cpu":
            numbers = {key: value.item() / self.summed for key, value in self.sums.items()}
            self._refuse_non_finite(numbers)
        if due:
            rates = {f"lr_{player}": optimizer.param_groups[0]["lr"] for player, optimizer in self.optimizers.items()}
            epoch = self.step / self.feed.steps_per_epoch
            log.add(self.step, {"epoch": epoch, **numbers, **rates, "images_per_second": rate})
            self.sums, self.summed = {}, 0
        if self.hooks.progress is not None:
            self.hooks.progress(Progress(self.step, self.total, rate, numbers))

    def _refuse_non_finite(self, numbers: Mapping[str, float]) -> None:
        wrong = [key for key, value in numbers.items() if value != value or value in (float("inf"), float("-inf"))]
        if wrong:
            raise self._non_finite(f"{wrong[0]} is not finite")

    def _non_finite(self, what: str) -> MachineError:
        return MachineError(
            f"At step {self.step}, {what}: the training diverged. {self._kept()}. "
            "Start anew with a smaller --set optim.lr, or --set optim.clip_norm=1."
        )

    def _kept(self) -> str:
        saved = f"The checkpoint of step {self.saved_step} is kept" if self.saved_step >= 0 else "Nothing was saved yet"
        return f"{saved} in {self.run.path}"

    def _occasionally(self, batch: Batch, log: Log) -> None:
        settings, last = self.recipe.log, self.step == self.total
        if self.hooks.online is not None and settings.online_every and (self.step % settings.online_every == 0 or last):
            with self._evaluating():
                log.add(self.step, self.hooks.online(self.method))
        if settings.held_out_every and (self.step % settings.held_out_every == 0 or last):
            self._look_at_held_out(log)
        if self.hooks.draw is not None and settings.samples_every and (self.step % settings.samples_every == 0 or last):
            self._draw(batch)
        if settings.checkpoint_every and self.step % settings.checkpoint_every == 0 and not last:
            self._save()

    def _look_at_held_out(self, log: Log) -> None:
        if self.held_out is not None and self.recipe.log.held_out_every:
            with self._evaluating():
                log.add(self.step, self.held_out.numbers(self.method))

    def _draw(self, batch: Batch) -> None:
        if "fill" not in self.method.capabilities or self.hooks.draw is None:
            return
        few = Batch(batch.images[:8], batch.indices[:8], batch.seed, batch.epoch)
        with self._evaluating():
            holes = self.method.prepare(few)["holes"]
            filled = self.method.fill(few.images, holes)
        path = self.run.path / "samples" / f"step-{self.step:07d}.png"
        self.hooks.draw(path, few.images.cpu(), holes.cpu(), filled.cpu())

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Plain networks in evaluation mode, and back."""
        wrapped = dict(self.method.networks)
        self.method.networks.update(self.plain)
        for network in self.plain.values():
            network.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.method.networks.update(wrapped)
            for network in self.plain.values():
                network.train()

    def _save(self) -> None:
        if not all_finite(self.plain):
            raise self._non_finite("a weight is not finite")
        seconds = self.seconds_before + time.perf_counter() - self.started
        self.run.save(
            self.plain,
            {
                "optimizers": {player: optimizer.state_dict() for player, optimizer in self.optimizers.items()},
                "step": self.step,
                "seconds": seconds,
                "sums": {key: value.cpu() for key, value in self.sums.items()},
                "summed": self.summed,
                "data_fingerprint": self.feed.images.fingerprint,
            },
        )
        self.saved_step = self.step
        self.run.write_manifest(
            {
                "step": self.step,
                "total_steps": self.total,
                "done": self.step == self.total,
                "images_seen": self.step * self.feed.batch_size,
                "seconds": round(seconds, 3),
                "peak_memory_mb": round(peak_memory_mb(), 1),
                "precision": choose_precision(self.recipe, self.device),
                "data": self.feed.describe(),
                **describe_machine(str(self.device)),
            }
        )


def _crop_size(method: Method, images: ImageSet) -> int:
    size = method.encoder.input.size
    if images.size is None or min(images.size) < size:
        packed = "not packed" if images.size is None else f"packed at {images.size[0]} x {images.size[1]}"
        raise UserError(
            f"The recipe trains on {size} x {size} pixels and the images are {packed}. "
            f"Pack them at {size} or more (ce data pack REF --size {size} --out FILE)."
        )
    return size
