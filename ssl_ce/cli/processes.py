"""`--devices` and `--nodes`: one command in several processes. torchrun and SLURM say the same in their own way."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def processes_options(command: _Command) -> _Command:
    """Add both options to a command."""
    count = click.IntRange(min=1)
    nodes = click.option(
        "--nodes", type=count, metavar="M", help="Machines, each given the same command.  [default: 1]"
    )
    devices = click.option(
        "--devices", type=count, metavar="N", help="Processes on each machine, one GPU each.  [default: 1]"
    )
    return devices(nodes(command))


def several(devices: int | None, nodes: int | None) -> bool:
    """Whether several processes were asked for, here or of torchrun; known without importing torch."""
    return (devices or 1) * (nodes or 1) > 1 or "TORCHELASTIC_RUN_ID" in os.environ
