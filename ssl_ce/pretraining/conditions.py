"""How a training runs: precision, determinism, and signals that ask it to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from ssl_ce.pretraining.recipe import Recipe


def choose_precision(recipe: Recipe, device: torch.device) -> str:
    """ "32" or "bf16"; "auto" is bf16 on a GPU that has it."""
    if recipe.precision != "auto":
        return recipe.precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32"


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Deterministic algorithms while training; on CUDA a warning where an operation has none."""
    before, warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """SIGINT, SIGTERM and SIGHUP append their number to the list and do not end the process; a second SIGINT does.

    SIGHUP comes when the terminal closes. Under nohup it stays without effect.
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    try:
        before = {number: signal.signal(number, receive) for number in wanted}
    except ValueError:  # not the main thread: signals are its business
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
