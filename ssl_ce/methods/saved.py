"""Methods as recipes describe them and as runs keep them.

A run directory holds `recipe.yaml` (its `method` section and seed build the networks), `weights.safetensors`
(all networks), `encoder.safetensors` (the part that is judged) and `encoder-initial.safetensors` (the same before
training).
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ssl_ce.errors import UserError
from ssl_ce.files import atomic_write, digest
from ssl_ce.methods import methods
from ssl_ce.methods.base import Method
from ssl_ce.networks.encoder import InputSpec
from ssl_ce.settings import parse, read_yaml

RECIPE = "recipe.yaml"
WEIGHTS = "weights.safetensors"
ENCODER = "encoder.safetensors"
INITIAL_ENCODER = "encoder-initial.safetensors"
_INPUT = "ssl_ce.input"  # where a file's metadata say what the encoder is fed


def parse_method(section: Mapping[str, Any], where: str) -> tuple[str, Any]:
    """A recipe's `method` section -> (registered name, the method's frozen configuration)."""
    values = dict(section)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"In {where}: 'method.name' is missing. Known methods: {', '.join(methods.names())}.")
    config_class = methods.get(name).Config  # type: ignore[attr-defined]
    return name, parse(config_class, values, f"{where}, section 'method'")


def build_method(section: Mapping[str, Any], seed: int, where: str = "the recipe") -> Method:
    """The method that a recipe's `method` section describes, with the initial weights of `seed`."""
    name, config = parse_method(section, where)
    return methods.get(name)(config, seed)


def is_run(path: Path) -> bool:
    """Whether `path` is a directory that a pretraining left, with weights in it."""
    return (path / RECIPE).is_file() and (path / WEIGHTS).is_file()


def load_run(path: Path, *, initial: bool = False) -> Method:
    """The method of a run, in evaluation mode, trained; or (`initial`) its encoder as it was before training.

    Raises
    ------
    UserError
        If `path` is not a run, or its weights do not fit its recipe.
    """
    recipe = read_run_recipe(path)
    method = build_method(recipe["method"], int(recipe.get("seed", 0)), f"{path / RECIPE}")
    if initial:
        load_weights(method.networks["encoder"], read_safetensors(path / INITIAL_ENCODER), path / INITIAL_ENCODER)
    else:
        load_weights(nn.ModuleDict(method.networks), read_safetensors(path / WEIGHTS), path / WEIGHTS)
    for network in method.networks.values():
        network.eval()
    return method


def read_run_recipe(path: Path) -> dict[str, Any]:
    """The resolved recipe of a run, as a mapping with at least `method`."""
    if not path.is_dir():
        raise UserError(f"There is no run at {path}. Make one with: ce pretrain RECIPE --data REF --out {path}")
    if not (path / RECIPE).is_file():
        raise UserError(f"{path} is a directory, but not a run: it holds no {RECIPE}.")
    recipe = read_yaml(path / RECIPE)
    if not isinstance(recipe.get("method"), dict):
        raise UserError(f"{path / RECIPE} has no 'method' section; the run is damaged.")
    if not (path / WEIGHTS).is_file():
        raise UserError(f"The run {path} has no weights yet. Let it reach a checkpoint: ce pretrain --resume {path}")
    return recipe


def save_weights(networks: Mapping[str, nn.Module], path: Path) -> None:
    """Write {network.parameter: tensor} of `networks` to a safetensors file, atomically."""
    save_tensors(nn.ModuleDict(dict(networks)).state_dict(), path)


def save_encoder(encoder: nn.Module, path: Path) -> None:
    """Write an encoder's tensors to a safetensors file, atomically, with what it is fed (`read_input`) beside them."""
    save_tensors(encoder.state_dict(), path, input_metadata(encoder))


def input_metadata(encoder: nn.Module) -> dict[str, str]:
    """What the encoder is fed, as the metadata of a safetensors file that `read_input` reads."""
    spec = getattr(encoder, "input", None)
    return {_INPUT: json.dumps(asdict(spec))} if isinstance(spec, InputSpec) else {}


def save_tensors(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file, atomically."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    # Not save_file, which hides what the system says of a full disk.
    with atomic_write(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, dict(metadata) if metadata else None))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable safetensors file: {error}.") from error


def read_pickled(path: Path) -> Any:
    """What torch saved in `path`, on the CPU. Nothing that is in it is run.

    Raises
    ------
    pickle.UnpicklingError
        If it holds more than tensors and plain values.
    OSError, ValueError
        If it cannot be read, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles; what matters is an error
            _refuse_compressed(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError):
        raise
    except Exception as error:  # a damaged file can raise nearly anything inside torch's unpickler
        # Of a file that ends too soon it says nothing, or what helps nobody.
        cut = isinstance(error, EOFError | IndexError)
        raise ValueError("it is empty or cut off" if cut else str(error).partition("\n")[0]) from error


def _refuse_compressed(path: Path) -> None:
    """torch stores without compression: an archive that becomes larger than it is was made to fill the memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise ValueError("its archive is compressed, as torch's never is")


def read_input(path: Path) -> InputSpec | None:
    """What the encoder in a file that `save_encoder` wrote is fed; None for a file that does not say."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {})[_INPUT])
            return InputSpec(int(found["size"]), three(found["mean"]), three(found["std"]))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def three(values: Iterable[float]) -> tuple[float, float, float]:
    """One number for each of red, green and blue. Raises `ValueError` for another count."""
    red, green, blue = map(float, values)
    return red, green, blue


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse (`UserError`) weights of which one is NaN or infinite, by the first tensor's name."""
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"{path}: the tensor {key} holds NaN or infinite values. Take an earlier checkpoint.")


def load_weights(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load `state` into `module`, every key and shape of it, or raise a `UserError` that names the first misfit."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    misshapen = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or unexpected or misshapen:
        if misshapen:
            key = misshapen[0]
            example = f"{key} is {tuple(state[key].shape)} in the file and {tuple(own[key].shape)} in the network"
        else:
            example = f"{missing[0]} is missing" if missing else f"{unexpected[0]} has no place"
        raise UserError(
            f"The weights in {path} are of another architecture: {len(own) - len(missing) - len(misshapen)} of "
            f"{len(own)} tensors fit ({example})."
        )
    check_finite(state, path)
    module.load_state_dict(dict(state))


def state_hash(module: nn.Module) -> str:
    """Hash of a module's parameters and buffers, names and values."""
    parts: list[bytes | str] = []
    for key, value in module.state_dict().items():
        parts += [key, value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()]
    return digest(*parts)
