"""The encoder of a run in other people's formats."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ssl_ce.errors import UserError
from ssl_ce.files import atomic_write
from ssl_ce.methods.saved import load_run, save_encoder
from ssl_ce.methods.timm_folder import export_timm
from ssl_ce.networks.alexnet import torchvision_state
from ssl_ce.networks.encoder import StagedEncoder


def export_encoder(run: Path, layout: str, out: Path) -> str:
    """Write the encoder of `run` to `out` as "safetensors", "torchvision", "timm" (a folder) or "onnx"; returns a line
    that says what.

    Raises
    ------
    UserError
        If `run` is not a run, its encoder does not fit the layout, or an extra is missing.
    """
    if layout == "timm":
        return export_timm(run, out)
    encoder: Any = load_run(run).encoder
    if layout == "safetensors":
        save_encoder(encoder, out)
        size = encoder.input.size
        return f"{out}: {len(encoder.state_dict())} tensors of the encoder, for values in [-1, 1] at {size} x {size}."
    if not isinstance(encoder, StagedEncoder):
        raise UserError(f"The encoder of {run} cannot be written as {layout}; use --format safetensors.")
    if layout == "torchvision":
        state = torchvision_state(encoder)
        with atomic_write(out) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        return (
            f"{out}: conv1 to conv5 under torchvision's names, for values in [-1, 1]. Load with "
            f'torchvision.models.alexnet().load_state_dict(torch.load("{out}"), strict=False).'
        )
    _write_onnx(encoder, out)
    size = encoder.input.size
    return f"{out}: input `images` (n, 3, {size}, {size}) in [-1, 1], output `features`, the last tap."


def _write_onnx(encoder: StagedEncoder, out: Path) -> None:
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise UserError("ONNX export needs the extra 'onnx': pip install 'ssl-ce[onnx]'")
    size = encoder.input.size
    with atomic_write(out) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("n")
        torch.onnx.export(
            encoder.eval(),
            (torch.zeros(2, 3, size, size),),
            str(temporary),
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
