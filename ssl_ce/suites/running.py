"""What every pretraining needs, started by hand or by a suite: its images, its hooks, and whether it may go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ssl_ce.data import DataOptions, open_set
from ssl_ce.data.imageset import ImageSet
from ssl_ce.evaluators.online import online_knn
from ssl_ce.pretraining.hooks import Hooks, Progress
from ssl_ce.pretraining.recipe import Recipe
from ssl_ce.report.grids import fills_grid


def open_train_images(recipe: Recipe, options: DataOptions) -> ImageSet:
    """The recipe's images, in its own geometry; where they lie (`data_root`, ...) is what `options` say.

    A packed file keeps its size, unless `options.size` asks for another by name: crops may be smaller than the images.
    """
    assert recipe.data.source is not None
    settings = recipe.data
    own = replace(
        options, default_size=settings.size or int(recipe.method["size"]), fit=settings.fit, seed=settings.split_seed
    )
    return open_set(settings.source or "", settings.split, own)


def hooks_for(recipe: Recipe, images: ImageSet, show: Callable[[Progress], None], warn: Callable[[str], None]) -> Hooks:
    """Progress to `show`, warnings to `warn`, grids of fills, and the k-NN accuracy while training on classes."""
    online = online_knn(images, recipe.seed) if images.task == "classes" and recipe.log.online_every else None
    return Hooks(progress=show, online=online, draw=fills_grid, warn=warn)


def first_difference(own: Recipe, wanted: Recipe) -> tuple[str, Any, Any] | None:
    """The first setting in which two recipes differ, and its two values; where a run runs may differ."""
    ours, theirs = (flat(recipe.model_dump(mode="json", exclude={"device", "summary"})) for recipe in (own, wanted))
    differing = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    return (differing[0], ours.get(differing[0]), theirs.get(differing[0])) if differing else None


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted keys: {"optim": {"lr": 1}} -> {"optim.lr": 1}. An empty section is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found
