"""The options by which every command opens its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ssl_ce.data.options import FITS, DataOptions

C = TypeVar("C", bound=Callable[..., Any])


def data_options(command: C, seed_flag: str = "--data-seed") -> C:
    """Give a command the options by which images are opened.

    It gets the parameters data_root, download, size, fit, allow_unreadable and data_seed, None or False where
    they were not given; `make_data_options` makes a `DataOptions` of them.
    """
    folder = click.Path(file_okay=False, path_type=Path)
    size_help = "Side of the packed images in pixels. Default: the network's, or the dataset's own."
    seed_help = "Splits what has no train and test of its own.  [default: 0]"
    options = (
        click.option("--size", type=click.IntRange(min=1), metavar="N", help=size_help),
        click.option("--fit", type=click.Choice(FITS), help="How images become square.  [default: crop]"),
        click.option("--data-root", type=folder, help="Where registered datasets lie."),
        click.option("--download", is_flag=True, help="Fetch a registered dataset that is not there."),
        click.option("--allow-unreadable", is_flag=True, help="Go on if over 1 % of the images cannot be read."),
        click.option(seed_flag, "data_seed", type=click.IntRange(min=0), metavar="N", help=seed_help),
    )
    for option in reversed(options):
        command = option(command)
    return command


def make_data_options(values: Mapping[str, Any]) -> DataOptions:
    """The `DataOptions` of a command's parameters; what is missing or None has its default."""
    names = {"data_seed": "seed"}
    known = ("data_root", "download", "size", "default_size", "fit", "allow_unreadable", "data_seed")
    given = {names.get(key, key): values[key] for key in known if values.get(key) is not None}
    return DataOptions(**given, progress=True)
