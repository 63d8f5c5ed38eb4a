"""What the loop tells, and what it needs of higher rooms."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ssl_ce.methods.base import Method


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


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


@dataclass(frozen=True)
class Hooks:
    """What the loop needs of higher rooms. Of several processes, rank 0 alone calls them.

    Attributes
    ----------
    progress
        Called after every step.
    online
        Called every `log.online_every` steps; its numbers are logged ("online_knn").
    draw
        Called every `log.samples_every` steps with (path, images, holes, filled) to draw a grid of fills.
    warn
        Called with what people should know of a training that goes on: the encoder has collapsed.
    """

    progress: Callable[[Progress], None] | None = None
    online: Callable[[Method], Mapping[str, float]] | None = None
    draw: Callable[[Path, Tensor, Tensor, Tensor], None] | None = None
    warn: Callable[[str], None] = _warn
