"""`ce export`: the encoder of a run, in a format that others read."""

from __future__ import annotations

from pathlib import Path

import click

from ssl_ce.errors import UserError
from ssl_ce.files import check_folder

_SUFFIXES = {"safetensors": "safetensors", "torchvision": "pt", "onnx": "onnx"}
_FOLDER = "timm"


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "layout",
    type=click.Choice([*_SUFFIXES, _FOLDER]),
    required=True,
    help="safetensors: our names; torchvision: weights for torchvision.models.alexnet; timm: a folder "
    "that timm loads; onnx: the network.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="The file to write; a folder for timm."
)
@click.option("--force", is_flag=True, help="Replace what is there.")
def export(run: Path, layout: str, out: Path, force: bool) -> None:
    """Export the encoder of RUN.

    \b
    Examples:
      ce export runs/mine --format safetensors -o encoder.safetensors
      ce export runs/mine --format torchvision -o alexnet.pt
        model = torchvision.models.alexnet(); model.load_state_dict(torch.load("alexnet.pt"), strict=False)
      ce export runs/mine --format timm -o encoder
        model = timm.create_model("local-dir:encoder", pretrained=True)
      ce export runs/mine --format onnx -o encoder.onnx
    """
    from ssl_ce.methods.export import export_encoder

    if out.is_dir() and layout != _FOLDER:
        raise UserError(
            f"{out} is a folder. Name the file to write, for example {out / 'encoder'}.{_SUFFIXES[layout]}."
        )
    if out.exists() and not force:
        raise UserError(f"{out} exists already. Choose another place, or give --force to replace it.")
    check_folder(out if layout == _FOLDER else out.parent)
    click.echo(export_encoder(run, layout, out))
