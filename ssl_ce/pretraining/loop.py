"""The training loop. It keeps time, logs, saves, resumes and stops; it knows no losses."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.devices import choose_device
from ssl_ce.errors import DataLostError, DiskFullError, SslCeError, UserError, is_out_of_memory
from ssl_ce.manifest import describe_machine, peak_memory_mb
from ssl_ce.methods.base import Batch, Method
from ssl_ce.methods.saved import build_method
from ssl_ce.pretraining.allocation import kept_memory
from ssl_ce.pretraining.conditions import choose_precision, deterministic, stop_signals
from ssl_ce.pretraining.endings import Ending
from ssl_ce.pretraining.feed import Feed, crop_size
from ssl_ce.pretraining.held_out import HeldOut, hold_out
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.logs import Log
from ssl_ce.pretraining.looks import Looks
from ssl_ce.pretraining.optimization import schedule_factor
from ssl_ce.pretraining.players import Players
from ssl_ce.pretraining.recipe import Recipe, for_images
from ssl_ce.pretraining.run import RunDirectory, all_finite
from ssl_ce.processes import LostError, Processes, single


def pretrain(
    recipe: Recipe,
    images: ImageSet,
    out: Path,
    *,
    resume: bool = False,
    hooks: Hooks | None = None,
    processes: Processes | None = None,
) -> Path:
    """Pretrain the recipe's method on `images`, leaving a run in `out`; returns its path.

    Resuming is bit-exact on the same machine, build and thread count, in fp32 without compile. A recipe with other
    rates than the run's own (`recipe.RATES`) takes its place, and the manifest says from which step on.

    Parameters
    ----------
    processes
        Those that train together (`ssl_ce.processes.launch`); each of them calls this. None: this one alone.

    Raises
    ------
    UserError
        If `out` holds something else, another process trains there, the data do not fit the recipe, a batch does not
        divide among the processes, or a resumed run's data changed.
    Stopped
        On SIGINT or SIGTERM, after saving.
    MachineError
        On a loss that is not finite, too little memory (`MemoryFullError`) or a full disk; the last good checkpoint
        stays.
    """
    if processes is None:
        device = choose_device(recipe.device)
        processes = single(device, choose_precision(recipe, device))
    run = RunDirectory(out)
    together = processes
    training = processes.together(lambda: _prepare(recipe, images, run, hooks or Hooks(), together))
    if not resume:
        processes.on_main(run.check_free)
    with ExitStack() as stack:
        processes.on_main(lambda: stack.enter_context(run.alone()))
        stack.enter_context(deterministic(processes.device))
        if processes.device.type == "cpu":
            stack.enter_context(kept_memory())
        if not resume:
            processes.on_main(training.begin)
        return training.go()


def _prepare(recipe: Recipe, images: ImageSet, run: RunDirectory, hooks: Hooks, processes: Processes) -> _Training:
    recipe = for_images(recipe, images)
    method = build_method(recipe.method, recipe.seed)
    size = crop_size(method, images)
    images, kept_apart = hold_out(images, recipe.data.held_out, recipe.seed)
    held_out = None if kept_apart is None else HeldOut(kept_apart, size, recipe.seed, processes.device)
    feed = Feed(
        images,
        size=size,
        batch_size=recipe.optim.batch_size,
        flip=recipe.data.flip,
        seed=recipe.seed,
        device=processes.device,
        rank=processes.rank,
        processes=processes.count,
    )
    return _Training(recipe, method, run, feed, held_out, hooks, processes)


class _Training:
    """The state of one pretraining while it runs."""

    def __init__(
        self,
        recipe: Recipe,
        method: Method,
        run: RunDirectory,
        feed: Feed,
        held_out: HeldOut | None,
        hooks: Hooks,
        processes: Processes,
    ) -> None:
        self.recipe, self.method, self.run, self.feed, self.held_out = recipe, method, run, feed, held_out
        self.hooks, self.processes = hooks, processes
        self.total: int = recipe.optim.steps or (recipe.optim.epochs or 0) * feed.steps_per_epoch
        self.step = 0
        self.started, self.seconds_before = 0.0, 0.0
        self.saved_step = -1
        self.sums: dict[str, Tensor] = {}
        self.summed = 0
        self.log: Log | None = None  # rank 0 has one
        self.changes: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Write what a run has before its first step."""
        self.run.begin(self.recipe, self.method.networks["encoder"])

    def go(self) -> Path:
        """Train to the end."""
        self._set_up(self.processes.together(self._load))
        self.started, first = time.perf_counter(), self.step
        self.processes.on_main(self._open_files)
        try:
            with stop_signals() as stop:
                if self.saved_step < 0:
                    self.looks.before_the_first()
                for batch in self.feed.batches(self.step, self.total):
                    factor = schedule_factor(self.step, self.total, self.recipe.optim)
                    self._accumulate(self.players.step(batch, factor))
                    self.step += 1
                    self._report(first)
                    self._occasionally(batch)
                    (number,) = self.processes.highest(stop[0] if stop else 0)
                    if number:
                        self._save()
                        self.processes.fail(self._ending.stopped(number))
            self._save()
        except DiskFullError as error:
            raise self._ending.disk_full() from error
        except DataLostError as error:
            if self.processes.count == 1:  # the others wait for gradients
                self._save()
            raise self._ending.data_lost(error) from error
        except Exception as error:
            if self.processes.lost(error):
                self.processes.fail(self._ending.without_another())
            if is_out_of_memory(error):
                raise self._ending.memory_full() from error
            if self.recipe.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise self._ending.not_compiled() from error
            raise
        finally:
            if self.log is not None:
                self.log.close()
        return self.run.path

    def _load(self) -> dict[str, Any] | None:
        state = self.run.load()
        if state is not None:
            with self._reading(state):
                self.step, self.seconds_before = int(state["step"]), float(state["seconds"])
                self.sums = {key: value.to(self.processes.device) for key, value in state["sums"].items()}
                self.summed = int(state["summed"])
                self.saved_step = self.step
        return state

    def _set_up(self, state: dict[str, Any] | None) -> None:
        if not self.processes.same(self.saved_step, self.feed.images.fingerprint):
            self.processes.fail(
                UserError(
                    f"The processes do not see the same images, or not the same {self.run.path}. "
                    "Both must lie where every machine reads them."
                )
            )
        try:
            with self._reading(state):
                self._take_up(state)
        except SslCeError as error:
            self.processes.fail(error)

    @contextmanager
    def _reading(self, state: dict[str, Any] | None) -> Iterator[None]:
        """What fails in the block is laid to the checkpoint, where there is one, or to another process that is gone."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if self.processes.lost(error):
                raise LostError from error
            if state is None or is_out_of_memory(error):
                raise
            raise self.run.damaged(error) from error

    def _take_up(self, state: dict[str, Any] | None) -> None:
        if state is not None and state["data_fingerprint"] != self.feed.images.fingerprint:
            raise UserError(
                f"The images of {self.recipe.data.source} are not those that {self.run.path} was trained on. "
                "Restore them, or start a new run with another --out."
            )
        self.players = Players(self.method, self.recipe, self.processes, state)
        self.looks = Looks(
            self.method, self.players, self.recipe.log, self.hooks, self.held_out, self._add_to_log, self.run.path
        )

    def _open_files(self) -> None:
        self.changes = self.run.change(self.recipe, max(0, self.saved_step))
        # Before the first checkpoint nothing is kept, not even what was seen before the first step.
        self.log = Log(self.run.path, self.saved_step, self.recipe.log.tensorboard)

    def _add_to_log(self, step: int, values: Mapping[str, float]) -> None:
        if self.log is not None:
            self.log.add(step, values)

    def _accumulate(self, values: dict[str, Tensor]) -> None:
        for key, value in values.items():
            self.sums[key] = self.sums[key] + value if key in self.sums else value.clone()
        self.summed += 1

    def _report(self, first: int) -> None:
        rate = (self.step - first) * self.feed.batch_size / (time.perf_counter() - self.started)
        numbers: dict[str, float] = {}
        due = self.step % self.recipe.log.every == 0 or self.step == self.total
        # A CPU has each loss at hand; on a GPU looking at every step would make it wait.
        if due or self.processes.device.type == "cpu":
            numbers = {key: value.item() / self.summed for key, value in self.sums.items()}
            self._refuse_non_finite(numbers)
        if due:
            optimizers = self.players.optimizers.items()
            rates = {f"lr_{player}": optimizer.param_groups[0]["lr"] for player, optimizer in optimizers}
            epoch = self.step / self.feed.steps_per_epoch
            self._add_to_log(self.step, {"epoch": epoch, **numbers, **rates, "images_per_second": rate})
            self.sums, self.summed = {}, 0
        if self.processes.main and self.hooks.progress is not None:
            self.hooks.progress(Progress(self.step, self.total, rate, numbers))

    def _refuse_non_finite(self, numbers: dict[str, float]) -> None:
        wrong = [key for key, value in numbers.items() if value != value or value in (float("inf"), float("-inf"))]
        if wrong:
            self.processes.fail(self._ending.non_finite(f"{wrong[0]} is not finite"))

    @property
    def _ending(self) -> Ending:
        on_gpu = self.processes.device.type != "cpu"
        return Ending(self.recipe, self.run.path, self.step, self.total, self.saved_step, on_gpu)

    def _occasionally(self, batch: Batch) -> None:
        last = self.step == self.total
        self.looks.after(self.step, batch, last)
        every = self.recipe.log.checkpoint_every
        if every and self.step % every == 0 and not last:
            self._save()

    def _save(self) -> None:
        self.players.gather()
        optimizers = self.players.optimizer_states()
        self.processes.on_main(lambda: self._write(optimizers))
        self.saved_step = self.step

    def _write(self, optimizers: dict[str, Any]) -> None:
        if not all_finite(self.players.plain):
            raise self._ending.non_finite("a weight is not finite")
        if not all(bool(torch.isfinite(value)) for value in self.sums.values()):
            raise self._ending.non_finite("a loss was not finite")
        seconds = self.seconds_before + time.perf_counter() - self.started
        self.run.save(
            self.players.plain,
            {
                "optimizers": optimizers,
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
                "precision": choose_precision(self.recipe, self.processes.device),
                "data": self.feed.describe(),
                **({"changes": self.changes} if self.changes else {}),
                **self.processes.describe(),
                **describe_machine(str(self.processes.device)),
            }
        )
