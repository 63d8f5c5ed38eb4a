"""Recipes: a YAML file that says method + data transform + optimisation. Built in (by name) or the user's (by path)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ssl_ce.data.imageset import ImageSet
from ssl_ce.errors import UserError, unknown
from ssl_ce.methods.saved import parse_method
from ssl_ce.settings import Precision, Settings, override, parse, read_yaml


class DataConfig(Settings):
    """Where images come from and what happens to them.

    Attributes
    ----------
    source, split
        The image set: a REF as `--data` takes it. Written into the run, so that it can be resumed.
    size
        Side of the packed images; larger than the method's size means random crops. None: the method's size.
    fit
        How an image becomes a square: "crop" (shorter side resized, centre crop), "squash" or "pad".
    flip
        Mirror half of the images, chosen anew every epoch.
    held_out
        This many images of the split, drawn by the recipe's seed, are never trained on: the method's losses on them
        are logged as `held_out_...`.
    """

    source: str | None = None
    split: str = "train"
    size: PositiveInt | None = None
    fit: Literal["crop", "squash", "pad"] = "crop"
    flip: bool = True
    held_out: NonNegativeInt = 0
    split_seed: NonNegativeInt = 0


class PlayerConfig(Settings):
    """One player's own learning rate."""

    lr: PositiveFloat


class OptimConfig(Settings):
    """Optimisation. Either `epochs` or `steps` says how long; `players` gives single players another rate."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: PositiveFloat = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: NonNegativeFloat = 0.9
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_steps: NonNegativeInt = 0
    clip_norm: PositiveFloat | None = None
    batch_size: PositiveInt = 128
    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    players: dict[str, PlayerConfig] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps, not both and not neither")
        return self


RATES = ("lr", "players", "clip_norm")
"""What a run may go on with otherwise than it was begun, of `optim`: how far it moves, not what it learns from."""


class LogConfig(Settings):
    """How often, in steps, something is logged, saved or drawn. 0 turns it off (a checkpoint at the end remains)."""

    every: PositiveInt = 20
    checkpoint_every: NonNegativeInt = 500
    samples_every: NonNegativeInt = 500
    online_every: NonNegativeInt = 500
    held_out_every: NonNegativeInt = 200
    tensorboard: bool = True


class Recipe(Settings):
    """All that decides a pretraining. The resolved recipe is written into the run."""

    summary: str = ""
    method: dict[str, Any]
    data: DataConfig = DataConfig()
    optim: OptimConfig
    log: LogConfig = LogConfig()
    seed: NonNegativeInt = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "auto"
    compile: bool = False

    def with_batch(self, size: int) -> Recipe:
        """The same with another `optim.batch_size`."""
        return self.model_copy(update={"optim": self.optim.model_copy(update={"batch_size": size})})


def builtin_recipes() -> dict[str, str]:
    """{name: one-line summary} of the recipes that ship with the package."""
    return {name: str(read_yaml(path).get("summary", "")) for name, path in _builtin_paths().items()}


def load_recipe(reference: str, assignments: Iterable[str] = ()) -> Recipe:
    """The recipe that `reference` names (built in) or points to (a .yaml file), with `key=value` assignments made.

    Raises
    ------
    UserError
        If there is no such recipe, or a key or value is wrong; the closest valid name is given.
    """
    path = Path(reference)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise UserError(
                f"There is no recipe file {path}. Built-in recipes go by name: {', '.join(_builtin_paths())}."
            )
    else:
        known = _builtin_paths()
        if reference not in known:
            raise unknown("recipe", reference, known)
        path = known[reference]
    return make_recipe(override(read_yaml(path), assignments), f"recipe {reference}")


def make_recipe(values: dict[str, Any], where: str) -> Recipe:
    """A recipe from a mapping, its method section checked and completed with defaults."""
    recipe = parse(Recipe, values, where)
    name, config = parse_method(recipe.method, where)
    size = getattr(config, "size", None)
    if size is not None and recipe.data.size is not None and recipe.data.size < size:
        raise UserError(
            f"In {where}: images of data.size = {recipe.data.size} pixels are smaller than the {size} that the method "
            f"trains on. Take {size} or more (--size), or leave it out."
        )
    return recipe.model_copy(update={"method": {"name": name, **config.model_dump(mode="json")}})


def for_images(recipe: Recipe, images: ImageSet) -> Recipe:
    """`recipe` with what its method leaves to the images, such as the number of classes; and that they are enough.

    Raises
    ------
    UserError
        If the method does not fit the images, or none would be left to train on.
    """
    if recipe.data.held_out >= len(images):
        raise UserError(
            f"The recipe holds out {recipe.data.held_out} images and {images.name} has {len(images)} to train on. "
            "Hold out fewer: --set data.held_out=0."
        )
    name, config = parse_method(recipe.method, "the recipe")
    if not hasattr(config, "for_images"):
        return recipe
    fitted = config.for_images(images)
    return recipe.model_copy(update={"method": {"name": name, **fitted.model_dump(mode="json")}})


def _builtin_paths() -> dict[str, Path]:
    folder = resources.files("ssl_ce") / "recipes"
    return {
        Path(str(item)).stem: Path(str(item))
        for item in sorted(folder.iterdir(), key=str)
        if str(item).endswith(".yaml")
    }
