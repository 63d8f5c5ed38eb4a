"""Cells: the units of work of a suite. Each holds all that a process needs to do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_ce.data import DataOptions
from ssl_ce.evaluators.opening import Role
from ssl_ce.pretraining.recipe import Recipe
from ssl_ce.suites.suite import Resources, Suite


@dataclass(frozen=True)
class Sets:
    """The image sets of an evaluation: references of both roles, the one that is reported on, and how to open them."""

    train: str | None
    test: str | None
    split: Role
    options: DataOptions


@dataclass(frozen=True)
class PretrainCell:
    """One pretraining with one seed.

    Attributes
    ----------
    name, seed
        The pretraining's name in the suite, and its seed.
    recipe
        Resolved, for the images it is for.
    path
        The run's directory.
    options
        How its images are opened, beyond what the recipe says.
    fingerprint
        Of the images that it trains on.
    entry_name
        The key of its entry in the suite's file.
    needs
        Keys of the cells that must be done before.
    resources
        What it takes of a node.
    """

    name: str
    seed: int
    recipe: Recipe
    path: Path
    options: DataOptions
    fingerprint: str
    entry_name: str
    needs: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)

    @property
    def key(self) -> str:
        """Unique within the suite."""
        return f"{self.name}-s{self.seed}"

    @property
    def label(self) -> str:
        """What people are shown."""
        return f"pretrain {self.key}"

    @property
    def device(self) -> str:
        """Where its networks run: "auto", "cpu" or "cuda"."""
        return self.recipe.device


@dataclass(frozen=True)
class EvaluationCell:
    """One subject under one protocol.

    Attributes
    ----------
    entry
        Place of the entry of the suite's `evaluate` that asked first for it.
    evaluator, protocol, config
        The evaluator's name, what its records carry, and its settings.
    reference, subject
        The subject's reference as the evaluator reads it, and its name in records.
    pretraining, run_seed
        Name and seed of the pretraining that is judged; None for a subject that none of the suite's made.
    floor
        It is there as a floor only.
    hash
        The `cell` of its records.
    label
        What people are shown.
    n
        How many images are judged.
    needs
        Keys of the cells that must be done before.
    resources
        What it takes of a node.
    """

    entry: int
    evaluator: str
    protocol: str
    config: dict[str, Any]
    reference: str
    subject: str
    sets: Sets
    seed: int
    results: Path
    device: str
    hash: str
    label: str
    n: int
    pretraining: str | None = None
    run_seed: int | None = None
    floor: bool = False
    needs: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)

    @property
    def key(self) -> str:
        """Unique within the suite."""
        return self.hash


Cell = PretrainCell | EvaluationCell


@dataclass(frozen=True)
class Plan:
    """All cells of a suite, in its order, checked; pretrainings first. `results` and `runs` are its own folders."""

    suite: Suite
    pretrainings: tuple[PretrainCell, ...]
    evaluations: tuple[EvaluationCell, ...]
    results: Path
    runs: Path

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Pretrainings, then evaluations."""
        return (*self.pretrainings, *self.evaluations)
