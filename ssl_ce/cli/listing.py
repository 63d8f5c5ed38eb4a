"""`ce list`: what is there to choose from, plug-ins included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module, resources
from typing import Any

import click

from ssl_ce.registry import Entry, Registry

# Imported only when asked for: the region strategies bring torch along.
REGISTRIES = {
    "methods": "ssl_ce.methods:methods",
    "descriptors": "ssl_ce.descriptors:descriptors",
    "inpainters": "ssl_ce.inpainters:inpainters",
    "evaluators": "ssl_ce.evaluators:evaluators",
    "datasets": "ssl_ce.data:datasets",
    "holes": "ssl_ce.holes:strategies",
}

# What a table of names leaves out: subjects that are written with a scheme.
_ALSO = {
    "descriptors": "Also a run (runs/x@conv3), init:RUN, random:ENCODER, torchvision:MODEL, timm:MODEL and file:PATH.",
    "inpainters": "Also a run (runs/x), and nearest:DESCRIPTOR.",
}


@click.command("list")
@click.argument("kind", metavar="KIND", type=click.Choice(["recipes", "suites", *REGISTRIES]))
@click.option("--format", "layout", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_(kind: str, layout: str) -> None:
    """List what is there: recipes, suites, methods, descriptors, inpainters, evaluators, datasets or holes.

    \b
    Examples:
      ce list recipes
      ce list suites
      ce list descriptors
      ce list evaluators --format json
    """
    packaged = {"recipes": recipe_entries, "suites": suite_entries}
    entries = list(packaged[kind]() if kind in packaged else registry(kind))
    if layout == "json":
        click.echo(json.dumps([_row(entry) for entry in entries], indent=2, ensure_ascii=False))
    else:
        _print(kind, entries)


def registry(kind: str) -> Registry[Any]:
    """The registry of `kind`, one of `REGISTRIES`."""
    module, _, attribute = REGISTRIES[kind].partition(":")
    found: Registry[Any] = getattr(import_module(module), attribute)
    return found


def recipe_entries() -> Iterator[Entry]:
    """The recipes that come with the package, by name; their targets are the files."""
    return _packaged("recipes")


def suite_entries() -> Iterator[Entry]:
    """The suites that come with the package, as the recipes."""
    return _packaged("suites/builtin")


def _packaged(folder: str) -> Iterator[Entry]:
    import yaml

    files = {file.name.removesuffix(".yaml"): file for file in resources.files("ssl_ce").joinpath(folder).iterdir()}
    for name, file in sorted(files.items()):
        if file.name.endswith(".yaml"):
            summary = yaml.safe_load(file.read_text(encoding="utf-8")).get("summary", "")
            yield Entry(name, f"ssl_ce/{folder}/{file.name}", summary)


def _row(entry: Entry) -> dict[str, str]:
    return {"name": entry.name, "summary": entry.summary, "target": entry.target}


def _print(kind: str, entries: list[Entry]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "summary", box=SIMPLE_HEAD, pad_edge=False)
    for entry in entries:
        table.add_row(Text(entry.name, style="bold"), Text(entry.summary))
    console = Console()
    console.print(table if entries else f"There are no {kind}.")
    if kind in _ALSO:
        console.print(_ALSO[kind], style="dim", markup=False, highlight=False)
