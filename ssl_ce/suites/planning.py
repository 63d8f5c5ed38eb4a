"""From a suite to its cells, everything checked before anything starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssl_ce.data import DataOptions
from ssl_ce.data.imageset import ImageSet
from ssl_ce.devices import choose_device
from ssl_ce.errors import UserError
from ssl_ce.evaluators.opening import role_split, used_whole
from ssl_ce.files import check_folder
from ssl_ce.pretraining.held_out import hold_out
from ssl_ce.pretraining.recipe import Recipe, for_images, load_recipe
from ssl_ce.suites.cells import Plan, PretrainCell
from ssl_ce.suites.evaluations import plan_evaluations
from ssl_ce.suites.expansion import Pretraining, expand
from ssl_ce.suites.filling import as_assignments
from ssl_ce.suites.published import check_tables
from ssl_ce.suites.running import open_train_images
from ssl_ce.suites.standing_in import StandIns
from ssl_ce.suites.suite import Suite


def make_plan(
    suite: Suite,
    *,
    runs: Path,
    results: Path,
    device: str = "auto",
    options: DataOptions | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Plan:
    """The cells of `suite`, checked. Image sets are packed for it; nothing else is written.

    Parameters
    ----------
    runs, results
        Where run directories and records go.
    device
        "auto", "cpu" or "cuda", for every cell.
    options
        Where the images are (`data_root`, `download`); size, fit and split seed are the suite's.
    say
        Told what is being looked at; an empty text before images are opened, which show a progress of their own.

    Raises
    ------
    UserError
        Whatever is wrong with the suite, its subjects or its data.
    """
    options = options or DataOptions()
    check_folder(results)
    choose_device(device)
    if set("?@") & set(str(runs)):
        raise UserError(f"'{runs}' cannot stand in a subject's reference: choose --runs without '?' and '@'.")
    expanded = expand(suite)
    if expanded:
        check_folder(runs / suite.name)
    opened: dict[str, ImageSet] = {}
    cells = [
        _pretrain_cell(suite, pretraining, seed, runs, device, options, opened, say)
        for pretraining in expanded
        for seed in suite.seeds
    ]
    _refuse_equal(cells)
    stand_ins = StandIns(cells)
    for cell in cells:
        say(f"looking at {cell.label}")
        _check_fits(cell, stand_ins, opened[cell.name])
    evaluations = plan_evaluations(suite, expanded, cells, stand_ins, results, device, options, say)
    plan = Plan(suite, tuple(cells), tuple(evaluations), results, runs / suite.name)
    check_tables(plan)
    return plan


def _pretrain_cell(
    suite: Suite,
    pretraining: Pretraining,
    seed: int,
    runs: Path,
    device: str,
    options: DataOptions,
    opened: dict[str, ImageSet],
    say: Callable[[str], None],
) -> PretrainCell:
    recipe = _recipe(suite, pretraining, seed, device, options)
    key = json.dumps([recipe.data.model_dump(mode="json"), recipe.method.get("size")])
    if key not in opened:
        say("")
        opened[key] = open_train_images(recipe, options)
    images = opened[pretraining.name] = opened[key]
    try:
        recipe = for_images(recipe, images)
    except UserError as error:
        raise UserError(f"The pretraining '{pretraining.name}' does not fit its images: {error}") from error
    path = runs / suite.name / f"{pretraining.name}-s{seed}"
    trained_on, _ = hold_out(images, recipe.data.held_out, recipe.seed)
    return PretrainCell(
        name=pretraining.name,
        seed=seed,
        recipe=recipe,
        path=path,
        options=replace(options, progress=False),
        fingerprint=trained_on.fingerprint,
        entry_name=pretraining.entry,
        resources=pretraining.resources,
    )


def _recipe(suite: Suite, pretraining: Pretraining, seed: int, device: str, options: DataOptions) -> Recipe:
    """The recipe, then the suite's data, then the settings in their order, the seed last."""
    data = suite.data
    given: dict[str, Any] = {"data.source": data.train or data.source}
    if data.train is not None and "data.source" not in pretraining.settings:
        whole = used_whole(data.train, data.test, options)
        given["data.split"] = role_split(data.train, "train", options, whole=whole)
    given |= {"data.size": data.size} if data.size is not None else {}
    given |= {f"data.{key}": getattr(data, key) for key in ("fit", "split_seed") if key in data.model_fields_set}
    settings: dict[str, Any] = dict(given)
    for key, value in pretraining.settings.items():
        other = {"optim.epochs": "optim.steps", "optim.steps": "optim.epochs"}.get(key)
        if other is not None and value is not None:
            settings.pop(other, None)
            settings[other] = None
        settings.pop(key, None)
        settings[key] = value
    beside = suite.folder / pretraining.recipe
    reference = str(beside) if beside.suffix in {".yaml", ".yml"} and beside.is_file() else pretraining.recipe
    try:
        recipe = load_recipe(reference, [*as_assignments(settings), f"seed={seed}", f"device={device}"])
    except UserError as error:
        raise UserError(f"In suite {suite.name}, pretrain.{pretraining.name}: {error}") from error
    if recipe.data.source is None:
        raise UserError(
            f"In suite {suite.name}: data names no images to pretrain on. Give --set data.source=FOLDER, or --set "
            "data.train=FOLDER --set data.test=FOLDER."
        )
    return recipe


def _refuse_equal(cells: list[PretrainCell]) -> None:
    seen: dict[str, str] = {}
    for cell in cells:
        key = json.dumps(cell.recipe.model_dump(mode="json", exclude={"summary", "device"}), sort_keys=True)
        if key in seen:
            raise UserError(
                f"Duplicate cell: the pretrainings '{seen[key]}' and '{cell.key}' are the same, setting by setting. "
                "Leave one out; evaluations share it."
            )
        seen[key] = cell.key


def _check_fits(cell: PretrainCell, stand_ins: StandIns, images: ImageSet) -> None:
    wanted = stand_ins.method(cell).encoder.input.size
    if images.size is None or min(images.size) < wanted:
        given = "not packed" if images.size is None else f"packed at {images.size[0]} x {images.size[1]}"
        raise UserError(
            f"The pretraining '{cell.name}' trains on {wanted} x {wanted} pixels and its images are {given}. "
            f"Say data.size: {wanted}, or more."
        )
