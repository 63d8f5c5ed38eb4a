"""From the entries of a suite to its pretrainings: inheritance, axes, and names filled in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from ssl_ce.errors import UserError, unknown
from ssl_ce.suites.filling import fill
from ssl_ce.suites.suite import RESERVED, PretrainEntry, Resources, Suite

# What is listed, hashed and kept track of cell by cell; nobody has the machines for more.
_MOST_CELLS = 10_000


@dataclass(frozen=True)
class Pretraining:
    """One pretraining of the matrix, before its seeds.

    Attributes
    ----------
    entry
        Its key in the suite's file.
    recipe
        The recipe's name or file.
    settings
        Settings of the recipe under dotted keys, in the order in which they are made.
    variables
        What "{...}" means in the evaluations of it.
    resources
        What it takes of a node.
    """

    name: str
    entry: str
    recipe: str
    settings: Mapping[str, Any]
    variables: Mapping[str, Any]
    resources: Resources


def expand(suite: Suite) -> list[Pretraining]:
    """All pretrainings of the suite, in its order.

    Raises
    ------
    UserError
        If an entry extends itself or what is not there, a "{name}" is unknown, or two have one name.
    """
    found: dict[str, Pretraining] = {}
    entries = {key: _inherited(suite, key) for key in suite.pretrain}
    cells = len(suite.seeds) * sum(math.prod(map(len, entry.over.values())) for entry in entries.values())
    if cells > _MOST_CELLS:
        raise UserError(f"Suite {suite.name} asks for {cells:,} pretrainings; {_MOST_CELLS:,} are the most it can.")
    for key, entry in entries.items():
        for pretraining in _matrix(suite, key, entry):
            if pretraining.name in found:
                raise UserError(
                    f"In suite {suite.name}: duplicate cell: two pretrainings are called '{pretraining.name}'. "
                    'Name every axis of a matrix in its key, as in "vae-{encoder}-{dim}".'
                )
            found[pretraining.name] = pretraining
    return list(found.values())


def _inherited(suite: Suite, key: str) -> PretrainEntry:
    """The entry with what it extends: its own settings come after, and so win."""
    chain = [key]
    while (parent := suite.pretrain[chain[-1]].extends) is not None:
        if parent not in suite.pretrain:
            raise unknown(f"pretraining for '{chain[-1]}' to extend", parent, suite.pretrain)
        if parent in chain:
            raise UserError(f"In suite {suite.name}: a cycle: {' extends '.join([*chain, parent])}.")
        chain.append(parent)
    merged = PretrainEntry()
    for name in reversed(chain):
        entry = suite.pretrain[name]
        merged = PretrainEntry.model_validate(
            {
                "recipe": entry.recipe or merged.recipe,
                "over": entry.over or merged.over,
                "settings": _after(merged.settings, entry.settings),
                "tap": entry.tap or merged.tap,
                "with": {**merged.variables, **entry.variables},
                "resources": entry.resources.over(merged.resources),
            }
        )
    return merged


def _after(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """`first`, then `then`: a key that is set again is set last."""
    return {**{key: value for key, value in first.items() if key not in then}, **then}


def _matrix(suite: Suite, key: str, entry: PretrainEntry) -> Iterator[Pretraining]:
    where = f"suite {suite.name}, pretrain.{key}"
    if entry.recipe is None:
        raise UserError(f"In {where}: 'recipe' is missing (or 'extends', another pretraining that has one).")
    given = {**({} if entry.tap is None else {"tap": entry.tap}), **entry.variables}
    for name in (*entry.over, *entry.variables):
        if name in suite.parameters or name in RESERVED or (name in entry.over and name in given):
            raise UserError(f"In {where}: '{name}' has a meaning already. Take another name.")
    for axis, values in entry.over.items():
        if not values:
            raise UserError(f"In {where}: the axis '{axis}' of 'over' has no values.")
    for values in product(*entry.over.values()):
        axes = {**suite.parameters, **dict(zip(entry.over, values, strict=True))}
        name = str(fill(key, axes, where))
        if not _is_plain(name):
            raise UserError(f"In {where}: '{name}' is no name for a folder. Use letters, digits, '-', '_' and '.'.")
        variables = {**axes, **fill(given, axes, f"{where}, with")}
        if "seed" in {**suite.settings, **entry.settings}:
            raise UserError(f"In {where}: 'seed' is not among the settings; name the seeds under 'seeds'.")
        settings = fill(_after(suite.settings, entry.settings), {**variables, "name": name}, f"{where}, settings")
        recipe = str(fill(entry.recipe, axes, f"{where}, recipe"))
        yield Pretraining(name, key, recipe, settings, variables, entry.resources.over(suite.resources))


def _is_plain(name: str) -> bool:
    return name[:1].isalnum() and all(letter.isalnum() or letter in "-_.+=" for letter in name)
