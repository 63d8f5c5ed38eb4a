"""A method's networks and optimisers while they train: on one device, copied to several, or in parts."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from ssl_ce.errors import UserError
from ssl_ce.methods.base import Batch, Method
from ssl_ce.pretraining.optimization import make_optimizers, set_rate
from ssl_ce.pretraining.recipe import Recipe
from ssl_ce.processes import Processes


class Players:
    """The players of `method`, set up for `processes`; the method's networks become Fabric's wrappers.

    Each process computes the mean loss of its share of a batch. Shares are equal and a method's loss is a mean over
    images, so the mean of the processes' gradients is that of the whole batch.

    Parameters
    ----------
    state
        A checkpoint to go on from (`RunDirectory.load`).

    Attributes
    ----------
    plain
        {name: whole network}: what is saved and judged. Where networks are in parts, `gather` brings it up to date.

    Raises
    ------
    UserError
        If the networks of several players are to be in parts.
    """

    def __init__(self, method: Method, recipe: Recipe, processes: Processes, state: dict[str, Any] | None) -> None:
        self.method, self.recipe, self.processes = method, recipe, processes
        self.plain: dict[str, nn.Module] = dict(method.networks)
        self._in_parts = processes.count > 1 and processes.strategy == "fsdp"
        if self._in_parts and len(method.players) != 1:
            raise UserError(
                f"--strategy fsdp trains methods of one player, and this recipe's has {len(method.players)}. "
                "Use --strategy ddp."
            )
        if state is not None:
            for name, network in self.plain.items():
                network.load_state_dict(state["networks"][name])
        self._trained = {name: self._set_up(name) for name in self.plain}
        self.optimizers: dict[str, Optimizer] = make_optimizers(method, recipe.optim)
        self._wrapped = {
            player: processes.fabric.setup_optimizers(optimizer) for player, optimizer in self.optimizers.items()
        }
        if state is not None:
            for player, optimizer in self.optimizers.items():
                rates = [group["base_lr"] for group in optimizer.param_groups]
                optimizer.load_state_dict(_in_parts_like(optimizer, state["optimizers"][player]))
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["base_lr"] = rate  # the recipe's, which may have been changed since
        if self._in_parts:  # torch's fused SGD knows no parts
            for group in (group for optimizer in self.optimizers.values() for group in optimizer.param_groups):
                group["fused"] = None

    def step(self, batch: Batch, factor: float) -> dict[str, Tensor]:
        """Move each player once, at `factor` times its rate; returns what to log, the mean over all processes."""
        numbers: dict[str, Tensor] = {}
        with torch.no_grad():
            inputs = self.method.prepare(batch)
        self._train_only(self.plain)
        outputs = self.method.forward(inputs)
        for player, names in self.method.players.items():
            self._train_only(names)
            optimizer = self.optimizers[player]
            set_rate(optimizer, factor)
            with self._average_only(names):
                loss, logs = self.method.loss(player, outputs)
                self._wrapped[player].zero_grad(set_to_none=True)
                self.processes.fabric.backward(loss)
            if self.recipe.optim.clip_norm is not None:
                parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                torch.nn.utils.clip_grad_norm_(parameters, self.recipe.optim.clip_norm)
            self._wrapped[player].step()
            numbers |= {f"{player}_loss": loss.detach(), **{name: value.detach() for name, value in logs.items()}}
        return self.processes.mean(numbers)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Plain networks in evaluation mode, and back. Call `gather` before."""
        wrapped = dict(self.method.networks)
        self.method.networks.update(self.plain)
        for network in self.plain.values():
            network.to(self.processes.device).eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.method.networks.update(wrapped)
            for network in self.plain.values():
                network.train()
                if self._in_parts:
                    network.cpu()

    def gather(self) -> None:
        """Bring `plain` up to date where networks are in parts. All processes must call it."""
        if self._in_parts:
            for name, network in self._trained.items():
                self.plain[name].load_state_dict({key: _whole(value) for key, value in network.state_dict().items()})

    def optimizer_states(self) -> dict[str, Any]:
        """{player: its optimiser's whole state}. All processes must call it."""
        states = {player: optimizer.state_dict() for player, optimizer in self.optimizers.items()}
        return _map_tensors(states, _whole) if self._in_parts else states

    def _set_up(self, name: str) -> nn.Module:
        network = self.plain[name].train()
        if self.processes.count > 1 and self.processes.device.type == "cuda":
            synchronise: Any = nn.SyncBatchNorm.convert_sync_batchnorm
            synchronise(network)
        if self._in_parts:
            network = copy.deepcopy(network)  # parts take contiguous parameters: no other memory format
        else:
            # A CPU convolves 1.4 to 4 times as fast in this layout.
            network.to(memory_format=torch.channels_last)
        compiled: Any = torch.compile(network) if self.recipe.compile else network
        self.method.networks[name] = self.processes.fabric.setup_module(compiled)
        return network

    def _train_only(self, names: Container[str]) -> None:
        for name, network in self._trained.items():
            network.requires_grad_(name in names)

    @contextmanager
    def _average_only(self, names: Container[str]) -> Iterator[None]:
        """While one player moves, no gradients of the other players' frozen networks are waited for."""
        with ExitStack() as stack:
            for name, network in self.method.networks.items():
                if self.processes.count > 1 and name not in names:
                    stack.enter_context(self.processes.fabric.no_backward_sync(network))
            yield


def normalizes_apart(method: Method, processes: Processes) -> bool:
    """Whether each process's BatchNorm sees its own share of a batch only: torch synchronises it on CUDA alone."""
    norms = (
        isinstance(module, nn.modules.batchnorm._BatchNorm)
        for network in method.networks.values()
        for module in network.modules()
    )
    return processes.count > 1 and processes.device.type != "cuda" and any(norms)


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value.cpu()


def _map_tensors(value: Any, change: Any) -> Any:
    """`value`, nested mappings and lists, with `change` made to each tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_tensors(item, change) for key, item in value.items()}
    return [_map_tensors(item, change) for item in value] if isinstance(value, list) else value


def _in_parts_like(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's whole state, in parts where its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def part(number: int, value: Any) -> Any:
        like = parameters[number]
        if not (isinstance(like, DTensor) and isinstance(value, Tensor) and value.shape == like.shape):
            return value
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)

    states = {
        number: {key: part(number, value) for key, value in values.items()} for number, values in state["state"].items()
    }
    return {**state, "state": states}
