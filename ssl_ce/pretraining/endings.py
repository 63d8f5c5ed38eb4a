"""What a training that does not come to its end says: how far it came, what is kept, and how to go on."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from ssl_ce.errors import MachineError, MemoryFullError, Stopped
from ssl_ce.pretraining.recipe import Recipe


@dataclass(frozen=True)
class Ending:
    """The errors of a training of `recipe` in `run` that stands at `step` of `total`.

    Attributes
    ----------
    saved_step
        The step of the last checkpoint; -1 for none.
    on_gpu
        Whether it trains on a GPU.
    """

    recipe: Recipe
    run: Path
    step: int
    total: int
    saved_step: int
    on_gpu: bool

    def stopped(self, number: int) -> Stopped:
        """On signal `number`, after saving."""
        name = signal.Signals(number).name
        return Stopped(
            f"Stopped by {name} at step {self.step} of {self.total}, after saving. {self._go_on('Go on with')}"
        )

    def disk_full(self) -> MachineError:
        """No space is left for a file."""
        return MachineError(
            f"The disk is full at step {self.step} of {self.total}. {self._kept()}. "
            f"{self._go_on('Free some space and go on with')}"
        )

    def data_lost(self, error: Exception) -> MachineError:
        """Images cannot be read any more, as `error` says."""
        return MachineError(f"{error} {self._kept()}. {self._go_on('Go on with')}")

    def without_another(self) -> MachineError:
        """Another process that trains along is gone."""
        return MachineError(
            f"Another process of this training ended at step {self.step} of {self.total}; its own message says why. "
            f"{self._kept()}. {self._go_on('Go on with')}"
        )

    def not_compiled(self) -> MachineError:
        """torch.compile failed."""
        return MachineError(
            "torch.compile does not work on this machine (it needs a C++ compiler that torch supports). "
            f"Go on without it: ce pretrain ... --set compile=false --out another than {self.run}."
        )

    def non_finite(self, what: str) -> MachineError:
        """`what` is not a number: "generator_loss is not finite"."""
        every = self.recipe.log.every
        late = f" (a GPU is asked every {every} steps)" if self.on_gpu and every > 1 else ""
        again = self._go_on("Go on from it") if self.saved_step > 0 else "Start anew"
        return MachineError(
            f"At step {self.step}{late}, {what}: the training diverged. {self._kept()}. "
            f"{again} with a smaller rate (--set optim.lr={self.recipe.optim.lr / 10:g}) or --set optim.clip_norm=1."
        )

    def memory_full(self) -> MemoryFullError:
        """A step did not fit."""
        batch = self.recipe.optim.batch_size
        smaller = f"--set optim.batch_size={batch // 2}, --auto-batch, " if batch > 1 else ""
        return MemoryFullError(
            f"The memory{' of the GPU' if self.on_gpu else ''} is full at step {self.step} of {self.total}, with "
            f"{batch} images a step. {self._kept()}. Start anew in another folder "
            f"with {smaller}--precision bf16 or a smaller network."
        )

    def _kept(self) -> str:
        saved = f"The checkpoint of step {self.saved_step} is kept" if self.saved_step >= 0 else "Nothing was saved yet"
        return f"{saved} in {self.run}"

    def _go_on(self, how: str) -> str:
        return f"{how}: ce pretrain --resume {self.run}"
