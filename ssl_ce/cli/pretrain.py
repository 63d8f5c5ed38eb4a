"""`ce pretrain`: a recipe on your images, or a run that goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssl_ce.cli.image_options import data_options
from ssl_ce.cli.processes import processes_options, several
from ssl_ce.errors import UserError

if TYPE_CHECKING:
    from ssl_ce.data import DataOptions
    from ssl_ce.data.imageset import ImageSet
    from ssl_ce.pretraining.recipe import Recipe
    from ssl_ce.processes import Strategy

# Options of the data that a recipe settles, by its own name for them.
_OWN_DATA = {"size": "size", "fit": "fit", "data_seed": "split_seed"}


@click.command()
@click.argument("recipe", required=False)
@click.option("--data", "source", metavar="REF", help="The images: a dataset's name, a folder, or a packed file.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's directory. Default: runs/RECIPE-DATA."
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with this run; with a recipe, start it there if it is not begun.",
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Train this many epochs.")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Train this many steps.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Images a step.")
@click.option(
    "--auto-batch", is_flag=True, help="Halve the batch until it fits into the memory; tried before training."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train.")
@processes_options
@click.option(
    "--strategy",
    type=click.Choice(["ddp", "fsdp"]),
    default="ddp",
    show_default=True,
    help="Of several processes: each with the whole networks (ddp), or with a part of each parameter (fsdp).",
)
@click.option(
    "--precision", type=click.Choice(["auto", "32", "bf16"]), help="auto: bf16 on a GPU that has it, else 32 bits."
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="Decides initial weights, order, crops and holes."
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting of the recipe, e.g. optim.lr=1e-3.",
)
@data_options
def pretrain(
    recipe: str | None,
    source: str | None,
    out: Path | None,
    resume: Path | None,
    epochs: int | None,
    steps: int | None,
    batch_size: int | None,
    auto_batch: bool,
    device: str | None,
    devices: int | None,
    nodes: int | None,
    strategy: Strategy,
    precision: str | None,
    seed: int | None,
    assignments: tuple[str, ...],
    **data: Any,
) -> None:
    """Pretrain RECIPE (a built-in name or a .yaml file) on images, leaving a run directory.

    \b
    Examples:
      ce pretrain quickstart --data digits --out runs/digits
      ce pretrain ce-alexnet-96 --data photos/ --epochs 20 --set optim.lr=5e-4
      ce pretrain --resume runs/digits
      ce pretrain --resume runs/diverged --set optim.lr=1e-4          # from its last checkpoint
      ce pretrain ce-alexnet-96 --data photos/ --resume runs/mine     # starts or goes on
      ce pretrain ce-alexnet-96 --data photos/ --devices 4            # on four GPUs
      ce list recipes
    """
    if epochs and steps:
        raise UserError("Give either --epochs or --steps, not both.")
    given = {
        "optim.epochs": epochs, "optim.steps": steps, "optim.batch_size": batch_size, "device": device,
        "precision": f"'{precision}'" if precision else None, "seed": seed,
    }  # fmt: skip
    settings = [f"{key}={value}" for key, value in given.items() if value is not None]
    if epochs:
        settings.append("optim.steps=null")
    if steps:
        settings.append("optim.epochs=null")
    settings += assignments
    if auto_batch and several(devices, nodes):
        raise UserError("--auto-batch tries the batch of one process. Leave it out, or --devices and --nodes.")
    if resume is not None and out is not None:
        raise UserError("Give either --out (a new run) or --resume (a run to go on with), not both.")
    wanted = _wanted_recipe(recipe, source, settings, data) if recipe is not None else None
    if wanted is None and resume is None:
        raise UserError("Name a recipe (ce list recipes) or a run to go on with (--resume RUN).")
    own_data = any(data[name] is not None for name in _OWN_DATA)
    if wanted is None and (auto_batch or source or own_data or not _are_rates(settings)):
        raise UserError(
            "A resumed run keeps its own settings and data, but for optim.lr, optim.players and optim.clip_norm. "
            "Leave the others out, or start a new run with a recipe."
        )
    if wanted is not None and out is None:
        out = _default_out(str(recipe), str(wanted.data.source))
    run(
        wanted, out=out, resume=resume, data=data, rates=settings if wanted is None else (), auto_batch=auto_batch,
        devices=devices, nodes=nodes, strategy=strategy,
    )  # fmt: skip


def run(
    wanted: Recipe | None,
    *,
    out: Path | None,
    resume: Path | None,
    data: dict[str, Any],
    rates: Sequence[str] = (),
    auto_batch: bool = False,
    devices: int | None = None,
    nodes: int | None = None,
    strategy: Strategy = "ddp",
) -> Path:
    """Pretrain `wanted` in the new directory `out`, or go on in `resume`, with progress; returns the run's path.

    With `wanted` and `resume` it goes on if the run was begun, and begins it there if not. `rates` are
    assignments to a resumed run's recipe. Of several processes (`ssl_ce.processes.launch`) rank 0 alone speaks.
    """
    from ssl_ce.cli.image_options import make_data_options
    from ssl_ce.cli.progress import training_progress
    from ssl_ce.devices import choose_device
    from ssl_ce.methods.saved import RECIPE, build_method
    from ssl_ce.pretraining.conditions import choose_precision
    from ssl_ce.pretraining.logs import tensorboard_missing
    from ssl_ce.pretraining.loop import pretrain as train
    from ssl_ce.pretraining.players import normalizes_apart
    from ssl_ce.pretraining.recipe import load_recipe
    from ssl_ce.pretraining.run import RunDirectory
    from ssl_ce.processes import launch
    from ssl_ce.suites.running import hooks_for, open_train_images

    path = resume or out
    assert path is not None
    options = make_data_options(data)
    directory = RunDirectory(path)
    going_on = wanted is None or (resume is not None and directory.exists())
    if wanted is None or going_on:
        recipe = directory.recipe()
        if wanted is not None and auto_batch:
            wanted = wanted.with_batch(recipe.optim.batch_size)
        _check_same(recipe, wanted or recipe, path, options)
        if rates:
            recipe = load_recipe(str(path / RECIPE), rates)
    else:
        recipe = wanted
        directory.check_free()
    manifest = directory.manifest()
    if going_on and manifest.get("done"):
        click.echo(
            f"{path} is finished: {manifest['step']} steps. "
            f"Judge it with: ce evaluate linear-probe {path} --data {recipe.data.source}"
        )
        return path
    method = build_method(recipe.method, recipe.seed)  # what cannot be built is refused before images are packed
    chosen = choose_device(recipe.device)
    precision = choose_precision(recipe, chosen)
    processes = launch(chosen, devices=devices, nodes=nodes, strategy=strategy, precision=precision)
    images = processes.main_first(lambda: open_train_images(recipe, options))
    if not processes.main:
        train(recipe, images, path, resume=going_on, processes=processes)
        return path
    if auto_batch and not going_on:
        recipe = _with_fitting_batch(recipe, images)
    if normalizes_apart(method, processes):
        click.echo(
            "BatchNorm sees each process's own images only: torch synchronises it on CUDA alone, not on CPUs.", err=True
        )
    if recipe.log.tensorboard and tensorboard_missing():
        click.echo(
            "TensorBoard is not installed, so log.csv is the only log (pip install 'ssl-ce[tensorboard]').",
            err=True,
        )
    with training_progress(str(path)) as show:
        hooks = hooks_for(recipe, images, show, lambda message: click.echo(f"Warning: {message}", err=True))
        train(recipe, images, path, resume=going_on, hooks=hooks, processes=processes)
    manifest = directory.manifest()
    click.echo(
        f"{path}: {manifest['step']} steps, {manifest['images_seen']:,} images in {manifest['seconds']:.0f} s; "
        f"encoder.safetensors, weights, log.csv and samples/ are in it."
    )
    return path


def _wanted_recipe(name: str, source: str | None, settings: list[str], data: dict[str, Any]) -> Recipe:
    from ssl_ce.pretraining.recipe import load_recipe

    for option, key in _OWN_DATA.items():
        if data.get(option) is not None:
            settings = [*settings, f"data.{key}={data[option]}"]
    recipe = load_recipe(name, settings)
    if source is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"source": source})})
    if recipe.data.source is None:
        raise UserError("Say which images to train on: --data REF (a dataset's name, a folder or a packed file).")
    return recipe


def _are_rates(settings: Sequence[str]) -> bool:
    """Whether each is one of those that a run may go on with otherwise than it was begun."""
    from ssl_ce.pretraining.recipe import RATES

    return all(re.match(rf"optim\.({'|'.join(RATES)})[.=]", setting) for setting in settings)


def _with_fitting_batch(recipe: Recipe, images: ImageSet) -> Recipe:
    from ssl_ce.pretraining.auto_batch import largest_batch

    asked = recipe.optim.batch_size
    click.echo(f"--auto-batch: trying whether {asked} images a step fit into the memory.", err=True)
    recipe = largest_batch(recipe, images)
    batch, optim = recipe.optim.batch_size, recipe.optim
    fewer = f"; optim.steps stays {optim.steps}, so fewer images are seen" if optim.steps and batch < asked else ""
    left = f"too many; optim.batch_size is {batch} in the run's recipe, optim.lr stays {optim.lr:g}{fewer}."
    click.echo(f"--auto-batch: {f'{asked} are {left}' if batch < asked else f'{batch} fit.'}", err=True)
    return recipe


def _default_out(recipe: str, source: str) -> Path:
    """runs/RECIPE-DATA: the names of both, without folders and suffixes, and what filters the images."""
    from ssl_ce.data.filters import split_filters

    whole, filters = split_filters(source)
    path = Path(whole)
    name = path.resolve().name if path.name in ("", "..") else path.name
    name = re.sub(r"[-_]?\{.*|\.(pack|tar|shards\.json)$", "", name) or "images"
    parts = [Path(recipe).stem, name, *re.findall(r"\w+", filters.where)]
    return Path("runs") / "-".join([*parts, *([str(filters.count)] if filters.count is not None else [])])


def _check_same(own: Recipe, wanted: Recipe, path: Path, options: DataOptions) -> None:
    """A run goes on only under the recipe it was begun with; where it runs may differ."""
    from ssl_ce.pretraining.recipe import for_images
    from ssl_ce.suites.running import first_difference, open_train_images

    if first_difference(own, wanted) is None:
        return
    # What a recipe leaves to its images (the number of classes), a run has in its own.
    found = first_difference(own, for_images(wanted, open_train_images(wanted, options)))
    if found is not None:
        key, ours, theirs = found
        raise UserError(
            f"{path} was begun with {key} = {ours} and the recipe now says {theirs}. Go on without a "
            f"recipe (ce pretrain --resume {path}), or start anew in another folder."
        )
