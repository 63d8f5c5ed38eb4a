"""What a subject's name tells of its standing: whether it learned anything, whose twin it is, and its method."""

from __future__ import annotations

import re

from ssl_ce.descriptors import descriptors
from ssl_ce.errors import UserError
from ssl_ce.inpainters import inpainters
from ssl_ce.references import made_of, parse_reference

_SEED = re.compile(r"-s(\d+)$")
_UNTRAINED = ("init", "random")


def is_floor(name: str) -> bool:
    """Whether nothing was learned in that subject: an untrained network, a descriptor or an inpainter of this package
    that goes by its name, or the nearest context by one of them."""
    try:
        return all(part.scheme in _UNTRAINED or (part.scheme is None and _ships(part.target)) for part in made_of(name))
    except UserError:
        return False


def twin_of(name: str) -> str | None:
    """The subject that the untrained `name` is the twin of: "init:runs/x@conv4" is that of "runs/x@conv4".

    None for what is no network's twin ("hog", "random:alexnet").
    """
    reference = parse_reference(name)
    if reference.scheme == "nearest":
        inner = twin_of(reference.target)
        return None if inner is None else f"{name.removesuffix(reference.target)}{inner}"
    if reference.scheme == "init":
        return name.removeprefix("init:")
    if name.startswith(("random:torchvision:", "random:timm:", "random:file:")):
        return name.removeprefix("random:")
    return None


def method_of(name: str) -> tuple[str, tuple[str, ...]]:
    """The subject with "-s*" for the pretraining seeds of its runs, and those seeds: ("runs/x-s*@conv4", ("0",)).

    A suite's runs are called NAME-s0, NAME-s1, ... What is no such run is its own method and has no seeds.
    """
    try:
        runs = [part.target for part in made_of(name) if part.scheme in (None, "init")]
    except UserError:
        return name, ()
    seeds = []
    for run in dict.fromkeys(runs):
        if found := _SEED.search(run):
            name = name.replace(run, f"{run[: found.start()]}-s*")
            seeds.append(found.group(1))
    return name, tuple(seeds)


def _ships(target: str) -> bool:
    registries = (registry for registry in (descriptors, inpainters) if target in registry)
    return any(registry.entry(target).target.startswith("ssl_ce.") for registry in registries)
