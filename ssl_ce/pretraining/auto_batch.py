"""`--auto-batch`: the largest batch that fits, found before the training begins."""

from __future__ import annotations

import multiprocessing
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet, Indices, Task
from ssl_ce.devices import choose_device
from ssl_ce.errors import MemoryFullError, SslCeError, is_out_of_memory
from ssl_ce.machine import available_memory, private_memory
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.loop import pretrain
from ssl_ce.pretraining.recipe import Recipe, for_images

# The share of the free memory that a trial may take: pictures, other batches' holes and the file cache want some too.
_CPU_SHARE = 0.8
_GPU_SHARE = 0.9
# The second step has the optimisers' state beside the gradients.
_STEPS = 2


def largest_batch(recipe: Recipe, images: ImageSet, memory: int | None = None) -> Recipe:
    """`recipe` with its batch halved until a training of it fits; never below 2. Nothing else in it changes.

    Each batch is tried by a process of its own that trains two steps of the recipe on made images, in a folder that is
    removed, so neither memory nor randomness of this process is touched. On a GPU the trial may take 9/10 of what is
    free there. A CPU's memory is not refused when it is used up, the kernel kills somebody: so on Linux the trial's
    private memory is bounded (`RLIMIT_DATA`) by 8/10 of what is available (`machine.available_memory`). Elsewhere a
    batch fits if its allocations do.

    Parameters
    ----------
    memory
        Bytes that a trial on a CPU may take; None: what is said above.

    Raises
    ------
    MemoryFullError
        If not even two images fit.
    UserError
        If the recipe cannot be trained on these images.
    """
    recipe = for_images(recipe, images)
    tried = recipe
    while not fits(tried, images, memory):
        # A batch is never larger than what there is to train on.
        batch = min(tried.optim.batch_size, len(images) - recipe.data.held_out)
        if batch <= 2:
            raise MemoryFullError(
                f"Not even a batch of {batch} fits into the memory. Nothing was written. Take smaller images "
                "(--set method.size=N), a smaller network, or --precision bf16."
            )
        tried = tried.with_batch(max(2, batch // 2))
    return tried


def fits(recipe: Recipe, images: ImageSet, memory: int | None = None) -> bool:
    """Whether two steps of the recipe find enough memory; what else they fail with is raised."""
    made = Made(len(images), images.size or (0, 0), images.task, images.classes)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="ssl-ce-auto-batch-") as folder:
        trial = context.Process(target=_try, args=(theirs, recipe, made, Path(folder) / "run", memory), daemon=True)
        trial.start()
        theirs.close()
        try:
            answer = ours.recv()
        except EOFError:
            answer = _how_it_died(trial)
        finally:
            trial.kill()
            trial.join()
            ours.close()
    if isinstance(answer, Exception):
        raise answer
    return bool(answer)


def _how_it_died(trial: BaseProcess) -> bool | RuntimeError:
    """False where a signal ended the trial: the kernel's for want of memory, or a library's that found none."""
    trial.join()
    if trial.exitcode is not None and trial.exitcode >= 0:
        return RuntimeError(f"A trial of --auto-batch could not be run: its process ended with {trial.exitcode}.")
    return False


@dataclass
class Made:
    """Black images of class 0, as many and as large as an image set's: what they weigh, without reading them."""

    count: int
    size: tuple[int, int] | None
    task: Task
    classes: tuple[str, ...]
    name: str = "made"
    split: str = "train"
    fingerprint: str = "made"
    source: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.count

    def read(self, indices: Indices) -> Tensor:
        """uint8 zeros (n, 3, height, width)."""
        assert self.size is not None
        return torch.zeros(len(indices), 3, *self.size, dtype=torch.uint8)

    def read_one(self, index: int) -> Tensor:
        """uint8 zeros (3, height, width)."""
        return self.read([index])[0]

    def targets(self, indices: Indices | None = None) -> NDArray[np.int64]:
        """int64 zeros (n,)."""
        return np.zeros(self.count if indices is None else len(indices), dtype=np.int64)


class _EnoughError(Exception):
    """The steps of a trial are done."""


def _try(connection: Connection, recipe: Recipe, made: Made, path: Path, memory: int | None) -> None:
    """In the trial's process: send True or False, or the error that it ended with."""

    def stop(state: Progress) -> None:
        if state.step == min(_STEPS, state.total):
            raise _EnoughError

    quiet = recipe.log.model_copy(update={"tensorboard": False})
    answer: object = True
    try:
        _bound_memory(choose_device(recipe.device), memory)
        with suppress(_EnoughError):
            pretrain(recipe.model_copy(update={"log": quiet}), made, path, hooks=Hooks(progress=stop))
    except SslCeError as error:
        answer = False if is_out_of_memory(error) else error
    except Exception as error:
        answer = False if is_out_of_memory(error) else RuntimeError(f"{type(error).__name__}: {error}")
    connection.send(answer)


def _bound_memory(device: torch.device, memory: int | None) -> None:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        torch.cuda.set_per_process_memory_fraction(_GPU_SHARE * free / total, device)
        return
    available, own = available_memory(), private_memory()
    if available is not None and own is not None:
        import resource

        bound = own + (int(_CPU_SHARE * available) if memory is None else memory)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
