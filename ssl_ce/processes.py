"""Several processes that work as one, each on its own device: who is who, and what they agree on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NoReturn, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.launchers import subprocess_script
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard

from ssl_ce.children import end_with_parent, watch
from ssl_ce.errors import MachineError, SslCeError, UserError
from ssl_ce.files import digest

Strategy = Literal["ddp", "fsdp"]

_Result = TypeVar("_Result")

# Rank 0 may evaluate or pack for hours while the others wait.
_PATIENCE = timedelta(days=7)


class LostError(MachineError):
    """Another process of the same command is gone."""

    def __init__(self) -> None:
        super().__init__("Another process of this command ended; its own message says why.")


@dataclass(frozen=True)
class Processes:
    """The processes of one command, as seen by one of them.

    Attributes
    ----------
    fabric
        Lightning Fabric, launched.
    rank, count
        This process's number, from 0, and how many there are. Rank 0 alone writes and speaks.
    nodes
        How many machines they are on.
    strategy
        "ddp": each holds the whole networks, and gradients are averaged. "fsdp": each holds a part of every parameter.
    agreement
        The process group (gloo) through which they agree, beside the one of the devices; None for one process.
    """

    fabric: Any
    rank: int = 0
    count: int = 1
    nodes: int = 1
    strategy: Strategy = "ddp"
    agreement: distributed.ProcessGroup | None = None

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        device: torch.device = self.fabric.device
        return device

    @property
    def main(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def highest(self, *numbers: int) -> list[int]:
        """The highest of each of `numbers` over all processes, which all wait for it."""
        try:
            return self._agree(numbers)
        except LostError as error:
            self.fail(error)

    def same(self, number: int, text: str) -> bool:
        """Whether `number` and `text` are the same in all processes."""
        code = int(digest(text)[:15], 16)
        top, bottom, high, low = self.highest(number, -number, code, -code)
        return top == -bottom and high == -low

    def describe(self) -> dict[str, Any]:
        """What the manifest says of them."""
        return {"processes": {"count": self.count, "nodes": self.nodes, "strategy": self.strategy}}

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of each scalar over all processes: float32, on the device."""
        values = {name: value.float() for name, value in values.items()}
        if self.count == 1 or not values:
            return values
        means: Tensor = self.fabric.all_reduce(torch.stack(list(values.values())), reduce_op="mean")
        return dict(zip(values, means, strict=True))

    def together(self, work: Callable[[], _Result]) -> _Result:
        """What `work` returns, when it is done everywhere. Where it fails, the first that failed raises its error and
        the others leave quietly with the same exit code. `work` holds no messages between the processes."""
        if self.count == 1:
            return work()
        error, results = None, []
        try:
            results.append(work())
        except BaseException as caught:  # an interrupt as well: the others must not wait for ever
            error = caught
        mine = 0 if error is None else self.count - self.rank
        try:
            first, code = self._agree((mine, _exit_code(error)))
        except LostError as lost:
            if error is None:
                self.fail(lost)
            first, code = mine, _exit_code(error)
        if error is not None and first == mine:
            raise error
        if first:
            raise SystemExit(code)
        return results[0]

    def on_main(self, work: Callable[[], object]) -> None:
        """Rank 0 works while the others wait. If it fails, they leave quietly."""
        self.together(work if self.main else _nothing)

    def main_first(self, work: Callable[[], _Result]) -> _Result:
        """What `work` returns; rank 0 goes first, and the others find what it left (a packed file)."""
        found: list[_Result] = []
        self.on_main(lambda: found.append(work()))
        return self.together(lambda: found[0] if found else work())

    def fail(self, error: SslCeError) -> NoReturn:
        """End with an error that every process has met: rank 0 raises it, the others leave quietly."""
        if self.main:
            raise error
        raise SystemExit(error.exit_code)

    def lost(self, error: Exception) -> bool:
        """Whether `error` means that another process is gone."""
        is_of_gloo = type(error) is RuntimeError and "gloo" in str(error).lower()
        return self.count > 1 and (isinstance(error, distributed.DistError | LostError) or is_of_gloo)

    def _agree(self, numbers: Sequence[int]) -> list[int]:
        """As `highest`. Raises `LostError` in each process."""
        if self.count == 1:
            return list(numbers)
        shared = torch.tensor(numbers)
        try:
            distributed.all_reduce(shared, distributed.ReduceOp.MAX, group=self.agreement)
        except RuntimeError as error:
            if self.lost(error):
                raise LostError from error
            raise
        return [int(number) for number in shared]


def single(device: torch.device, precision: str = "32") -> Processes:
    """This process by itself."""
    _hush()
    return Processes(Fabric(accelerator=device.type, devices=1, precision=_fabric_precision(precision)))


def launch(
    device: torch.device,
    *,
    devices: int | None = None,
    nodes: int | None = None,
    strategy: Strategy = "ddp",
    precision: str = "32",
) -> Processes:
    """Start `devices` processes on each of `nodes` machines, or join those that torchrun or SLURM started.

    Every process runs the command that was given from its beginning, so whatever comes before this call is done by
    all of them. On several machines without torchrun or SLURM the same command is given on each, with MASTER_ADDR,
    MASTER_PORT and NODE_RANK set.

    Parameters
    ----------
    device
        The kind of device; with "cuda", each process of a machine takes one GPU.
    devices, nodes
        None: as many as torchrun started, or one.
    precision
        "32" or "bf16".

    Raises
    ------
    UserError
        If the numbers do not fit the machine, or what torchrun or SLURM started.
    """
    devices, nodes = _numbers(devices, nodes)
    if devices * nodes == 1:
        return single(device, precision)
    if device.type == "cuda" and devices > torch.cuda.device_count():
        raise UserError(
            f"--devices {devices} was asked for, and this machine has {torch.cuda.device_count()} GPUs. Give fewer, "
            "or --device cpu."
        )
    _hush()
    end_with_parent()
    # Fabric's own kills this process before it can speak, and save, once a child has failed.
    subprocess_script._launch_process_observer = watch
    chosen = (
        DDPStrategy(forward_sync_buffers=False)
        if strategy == "ddp"
        else ModelParallelStrategy(_shard, data_parallel_size=devices * nodes, tensor_parallel_size=1)
    )
    try:
        fabric: Any = Fabric(
            accelerator=device.type,
            devices=devices,
            num_nodes=nodes,
            strategy=chosen,
            precision=_fabric_precision(precision),
        )
        fabric.launch()
    except (MisconfigurationException, ValueError) as error:
        raise UserError(f"--devices {devices} --nodes {nodes} cannot be had here: {error}") from error
    except distributed.DistError as error:
        raise MachineError(f"The processes did not find one another: {' '.join(str(error).split())}") from error
    group: Any = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    return Processes(fabric, fabric.global_rank, fabric.world_size, nodes, strategy, group)


def _numbers(devices: int | None, nodes: int | None) -> tuple[int, int]:
    """Processes a machine, and machines: as given, or as torchrun started them."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return devices or 1, nodes or 1
    here, total = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    if devices not in (None, here) or nodes not in (None, total // here):
        raise UserError(
            f"torchrun started {here} processes on each of {total // here} machines, and --devices or --nodes says "
            "otherwise. Leave both out."
        )
    return here, total // here


def _fabric_precision(precision: str) -> Any:
    return "bf16-mixed" if precision == "bf16" else "32-true"


def _hush() -> None:
    """Fabric announces what the manifest says."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def _shard(module: nn.Module, mesh: Any) -> nn.Module:
    fully_shard(module, mesh=mesh["data_parallel"])
    return module


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return error.exit_code if isinstance(error, SslCeError) else 1


def _nothing() -> None:
    """What the others do while rank 0 works."""
