"""The run directory: what a pretraining leaves, and how it goes on.

recipe.yaml                  the resolved recipe
encoder.safetensors          the encoder, for everything that only reads features
encoder-initial.safetensors  the same before training: the floor it is compared with
weights.safetensors          all networks
checkpoint.pt                all networks, optimisers and counters: what --resume reads
log.csv, tensorboard/        losses, rates, images/s, online k-NN accuracy
samples/                     grids of fills
manifest.json                command, versions, device, commit, data fingerprint, seconds, peak memory
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ce.errors import UserError, one_line
from ssl_ce.files import TEMPORARY, atomic_write, check_folder, read_json, write_text
from ssl_ce.locks import LOCK, alone
from ssl_ce.methods.saved import ENCODER, INITIAL_ENCODER, RECIPE, WEIGHTS, read_pickled, save_encoder, save_weights
from ssl_ce.pretraining.recipe import RATES, Recipe, make_recipe
from ssl_ce.settings import dump_yaml, read_yaml

CHECKPOINT = "checkpoint.pt"
MANIFEST = "manifest.json"
# What a process that is killed while it begins a run leaves: the run can be begun as if it were not there.
_BEFORE_THE_RECIPE = frozenset((LOCK, INITIAL_ENCODER))


class RunDirectory:
    """Reads and writes the files of one run; every file is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / RECIPE).is_file()

    def saved(self) -> bool:
        """Whether a checkpoint is there to go on from."""
        return (self.path / CHECKPOINT).is_file()

    def alone(self, patience: float | None = None) -> AbstractContextManager[None]:
        """Nobody else trains here while the block runs. Refuses (`UserError`) where somebody does: `locks.alone`."""
        return alone(
            self.path,
            lambda who: (
                f"{self.path} is being trained by another process ({who}). Wait until it ends, or choose another --out."
            ),
            patience=patience,
        )

    def forget(self) -> None:
        """Take away what a run left that was begun and never saved, so that it can be begun again."""
        if self.exists() and not self.saved():
            for name in (RECIPE, INITIAL_ENCODER, MANIFEST, "log.csv"):
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
            shutil.rmtree(self.path / "samples", ignore_errors=True)

    def begin(self, recipe: Recipe, encoder: nn.Module) -> None:
        """Make the directory with its recipe and the untrained encoder. Refuses one that holds anything."""
        self.check_free()
        try:
            save_encoder(encoder, self.path / INITIAL_ENCODER)
            write_text(self.path / RECIPE, dump_yaml(recipe))
        except BaseException:
            # Half a run could neither go on nor be begun again.
            (self.path / INITIAL_ENCODER).unlink(missing_ok=True)
            raise

    def check_free(self) -> None:
        """Refuse (`UserError`) a directory that holds anything, or that cannot be made."""
        if self.exists():
            raise UserError(
                f"{self.path} exists already. Go on with it (ce pretrain --resume {self.path}) or choose another --out."
            )
        if self.path.is_dir() and any(_is_somebodys(path.name) for path in self.path.iterdir()):
            raise UserError(f"{self.path} exists already and is no run. Choose another --out.")
        check_folder(self.path)

    def recipe(self) -> Recipe:
        """The resolved recipe."""
        if not self.exists():
            raise UserError(f"There is no run to resume at {self.path}: it holds no {RECIPE}.")
        return make_recipe(read_yaml(self.path / RECIPE), str(self.path / RECIPE))

    def change(self, recipe: Recipe, step: int) -> list[dict[str, Any]]:
        """Take over the rates of `recipe` from `step` on; returns all such changes that were ever made.

        The manifest has them too: [{"step": 400, "optim.lr": [0.001, 0.0001]}].
        """
        own, wanted = (each.optim.model_dump(mode="json", include=set(RATES)) for each in (self.recipe(), recipe))
        changed = {f"optim.{key}": [own[key], wanted[key]] for key in RATES if own[key] != wanted[key]}
        manifest = self.manifest()
        changes: list[dict[str, Any]] = manifest.get("changes", [])
        if changed:
            changes = [*changes, {"step": step, **changed}]
            self.write_manifest({**manifest, "changes": changes})
            write_text(self.path / RECIPE, dump_yaml(recipe))
        return changes

    def save(self, networks: Mapping[str, nn.Module], state: Mapping[str, Any]) -> None:
        """Write a checkpoint, then the weights for those who only read them."""
        with atomic_write(self.path / CHECKPOINT) as temporary, temporary.open("wb") as file:
            torch.save({"networks": {name: net.state_dict() for name, net in networks.items()}, **state}, file)
        save_weights(networks, self.path / WEIGHTS)
        save_encoder(networks["encoder"], self.path / ENCODER)

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, on the CPU, or None if there is none yet."""
        path = self.path / CHECKPOINT
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = read_pickled(path)
        except (pickle.UnpicklingError, OSError, ValueError) as error:
            raise self.damaged(error) from error
        return state

    def damaged(self, reason: Exception) -> UserError:
        """The error to show where the checkpoint cannot be read, or does not hold what a run goes on from."""
        return UserError(
            f"{self.path / CHECKPOINT} is not a checkpoint of this program, or it is damaged; nothing was loaded from "
            f"it ({type(reason).__name__}: {one_line(str(reason), 100)}). Start the run again with another --out."
        )

    def manifest(self) -> dict[str, Any]:
        """The manifest, or an empty mapping if there is none yet."""
        path = self.path / MANIFEST
        try:
            return dict(read_json(path)) if path.is_file() else {}
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged: {error}. Delete it; the next checkpoint writes it anew.") from error

    def write_manifest(self, values: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        write_text(self.path / MANIFEST, json.dumps(dict(values), indent=2) + "\n")


def _is_somebodys(name: str) -> bool:
    return name not in _BEFORE_THE_RECIPE and not name.endswith(TEMPORARY)


def all_finite(networks: Mapping[str, nn.Module]) -> bool:
    """Whether every parameter and buffer is a finite number."""
    tensors: list[Tensor] = [tensor for net in networks.values() for tensor in net.state_dict().values()]
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors if tensor.is_floating_point())
