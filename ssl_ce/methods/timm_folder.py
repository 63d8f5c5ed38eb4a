"""The encoder of a run as a folder that timm loads: weights under timm's names, and what they are fed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.files import write_text
from ssl_ce.methods.saved import input_metadata, load_run, read_run_recipe, save_tensors
from ssl_ce.networks.timm_encoders import PREFIX, TimmEncoder, joined

FILES = ("config.json", "model.safetensors")
"""What timm looks for in a folder."""

_OURS = ("resnet18", "resnet50")
_NAMED = 3


def export_timm(run: Path, folder: Path) -> str:
    """Write the encoder of `run` into `folder` as timm's hub lays a model out; returns a line that says how to load it.

    Layers of timm's that come after the last tap were never trained, and are written with timm's initial weights.

    Raises
    ------
    UserError
        If `run` is not a run, timm has no such network or is not installed.
    """
    name = _timm_name(read_run_recipe(run))
    try:
        import timm
    except ImportError as error:
        raise UserError("Export to timm needs the extra 'timm': pip install 'ssl-ce[timm]'") from error
    encoder: Any = load_run(run).encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = timm.create_model(name, pretrained=False, num_classes=0)
    state = model.state_dict()
    trained = _under_timms_names(encoder, state)
    if trained is None:
        raise UserError(
            f"The encoder of {run} is not timm's {name} (below 64 pixels ResNets have another stem, and pool-free ones "
            "other layers). Use --format safetensors."
        )
    spec = encoder.input
    save_tensors({**state, **trained}, folder / "model.safetensors", input_metadata(encoder))
    fed = {"input_size": [3, spec.size, spec.size], "mean": list(spec.mean), "std": list(spec.std)}
    how = {"interpolation": "bicubic", "crop_pct": 1.0, "num_classes": 0, "fixed_input_size": False}
    layers = {key: model.pretrained_cfg.get(key) for key in ("first_conv", "classifier")}
    config = {"architecture": name, "num_classes": 0, "num_features": int(model.num_features)}
    write_text(
        folder / "config.json", json.dumps({**config, "pretrained_cfg": {**fed, **how, **layers}}, indent=2) + "\n"
    )
    after = [key for key in state if key not in trained]
    said = f" Never trained, and timm's initial weights: {', '.join(after[:_NAMED])}{', ...' * (len(after) > _NAMED)}."
    return (
        f'{folder}: {len(trained)} tensors. Load with timm.create_model("local-dir:{folder}", pretrained=True); mean, '
        f"standard deviation and size are in config.json.{said if after else ''}"
    )


def _timm_name(recipe: dict[str, Any]) -> str:
    """timm's name of the encoder that a recipe names."""
    encoder = recipe["method"].get("encoder")
    name = str(encoder.get("name")) if isinstance(encoder, dict) else "of this method"
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX)
    if name in _OURS:
        return name
    raise UserError(
        f"timm has no network like the encoder '{name}'; it has {', '.join(_OURS)} and what was trained as timm:NAME. "
        "Use --format safetensors, or torchvision for AlexNet."
    )


def _under_timms_names(encoder: Any, state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The encoder's tensors under the names of timm's whole model `state`; None if one has no place there."""
    own = encoder.state_dict()
    if isinstance(encoder, TimmEncoder):
        named = {joined(key.removeprefix("model.")): value for key, value in own.items()}
        found = {key: named[joined(key)] for key in state if joined(key) in named}
    else:
        stem = {"stages.stem.0.": "conv1.", "stages.stem.1.": "bn1."}
        found = {}
        for key, value in own.items():
            place = next((place for begin, place in stem.items() if key.startswith(begin)), None)
            found[key.removeprefix("stages.") if place is None else place + key.rpartition(".")[2]] = value
    fits = all(key in state and state[key].shape == value.shape for key, value in found.items())
    return found if fits and len(found) == len(own) else None
