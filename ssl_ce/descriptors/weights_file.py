"""What a weights file holds, read without running anything that is in it."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.methods.saved import read_pickled, read_safetensors

_WRAPPERS = ("state_dict", "model")
_LIGHTNING = "pytorch-lightning_version"


def read_checkpoint(path: Path, key: str | None = None) -> tuple[dict[str, Tensor], str]:
    """The tensors of somebody's weights file by name, and what kind of file it is, in words.

    Parameters
    ----------
    path
        safetensors, or what torch saved: a state dict, or a mapping that holds one under "state_dict" or "model", as
        Lightning, timm and torch.hub write them.
    key
        Where in the mapping the state dict is, "." between the levels; None for these two places.

    Raises
    ------
    UserError
        If the file is not there, is unreadable, holds more than tensors, or does not say which of several state dicts
        is meant.
    """
    if path.suffix == ".safetensors":
        if key is not None:
            raise UserError(f"{path} is a safetensors file, which has no levels: leave out key={key}.")
        return read_safetensors(path), "safetensors"
    state = _load(path)
    kind = "a Lightning checkpoint" if isinstance(state, dict) and _LIGHTNING in state else "a torch file"
    if key is not None:
        state, taken = _at(state, key, path), key
    else:
        state, taken = _unwrapped(state, path)
    tensors = _tensors(state)
    if not tensors:
        inside = [str(name) for name, value in state.items() if _tensors(value)] if isinstance(state, dict) else []
        if inside:
            raise UserError(f"{path} holds several state dicts: {', '.join(inside)}. Say which with key={inside[0]}.")
        raise UserError(f"{path} holds no state dict (a mapping of names to tensors).")
    return tensors, f"{kind}, its '{taken}'" if taken else kind


def _load(path: Path) -> Any:
    try:
        return read_pickled(path)
    except FileNotFoundError as error:
        raise UserError(f"There is no weights file {path}.") from error
    except pickle.UnpicklingError as error:
        what, taken = (
            ("a Lightning checkpoint that", 'torch.load(FILE, weights_only=False)["state_dict"]')
            if (_is_lightning(path))
            else ("", "model.state_dict()")
        )
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(
            f"{path} {f'is {what} ' if what else ''}holds more than tensors{f' ({named[1]})' if named else ''}, so "
            "reading it could run code; it was not read. Save the state dict alone, where you trust it "
            f"(torch.save({taken}, OTHER)), or use safetensors."
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable weights file: {str(error).rstrip('.')}.") from error


def _is_lightning(path: Path) -> bool:
    """Whether the pickle in torch's archive names what Lightning writes. Nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            return any(_LIGHTNING.encode() in archive.read(name) for name in pickles)
    except Exception:  # none, or a damaged one, of which nearly anything can be raised
        return False


def _unwrapped(state: Any, path: Path) -> tuple[Any, str]:
    """What is in the wrappers that everybody knows, and under which keys it was."""
    taken: list[str] = []
    while isinstance(state, dict) and (inside := [name for name in _WRAPPERS if isinstance(state.get(name), dict)]):
        if len(inside) > 1:
            raise UserError(f"{path} holds several state dicts: {', '.join(inside)}. Say which with key={inside[0]}.")
        state = state[inside[0]]
        taken += inside
    return state, ".".join(taken)


def _at(state: Any, key: str, path: Path) -> Any:
    """What lies at `key`, where a dot goes one level down."""
    for level in key.split("."):
        if not isinstance(state, dict) or level not in state:
            known = (
                [str(name) for name, value in state.items() if isinstance(value, dict)]
                if isinstance(state, dict)
                else []
            )
            raise UserError(f"{path} has no '{level}' (key={key}); it has {', '.join(known) or 'no levels'}.")
        state = state[level]
    return state


def _tensors(state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict):
        return {}
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor) and _holds_values(value)}


def _holds_values(tensor: Tensor) -> bool:
    """Whether it is a plain array: neither sparse, quantised nor a shape without values."""
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
