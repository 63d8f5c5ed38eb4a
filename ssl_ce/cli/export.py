"""`ce export`: the encoder of a run, in a format that others read."""

from __future__ import annotations

from pathlib import Path

import click

from ssl_ce.errors import UserError
from ssl_ce.files import check_folder

_SUFFIXES = {"safetensors": "safetensors", "torchvision": "pt", "onnx": "onnx"}


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "layout",
    type=click.Choice(list(_SUFFIXES)),
    required=True,
    help="safetensors: our names; torchvision: weights for torchvision.models.alexnet; onnx: the network.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def export(run: Path, layout: str, out: Path, force: bool) -> None:
    """Export the encoder of RUN.

    \b
    Examples:
      ce export runs/mine --format safetensors -o encoder.safetensors
      ce export runs/mine --format torchvision -o alexnet.pt
        model = torchvision.models.alexnet(); model.load_state_dict(torch.load("alexnet.pt"), strict=False)
      ce export runs/mine --format onnx -o encoder.onnx
    """
    from ssl_ce.methods.export import export_encoder

    if out.is_dir():
        raise UserError(
            f"{out} is a folder. Name the file to write, for example {out / 'encoder'}.{_SUFFIXES[layout]}."
        )
    if out.exists() and not force:
        raise UserError(f"{out} exists already. Choose another file, or give --force to replace it.")
    check_folder(out.parent)
    click.echo(export_encoder(run, layout, out))
