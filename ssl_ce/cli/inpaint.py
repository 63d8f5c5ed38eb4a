"""`ce inpaint`: fill holes in a user's own pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_ce.errors import UserError
from ssl_ce.files import check_folder, expanded

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_ce.inpainters.base import Inpainter


_RECTANGLE = re.compile(r"\s*-?\d+\s*(,\s*-?\d+\s*){3}")


@click.command()
@click.argument("subject")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="A .png file, or a folder for several."
)
@click.option(
    "--holes",
    default="center",
    show_default=True,
    metavar="WHERE",
    help="center; x,y,w,h in pixels; a mask image (white = missing), or a folder of masks that go by the pictures' "
    "names; or auto: what is transparent.",
)
@click.option("--compare", metavar="A,B,...", help="Other inpainters; all fills are drawn side by side as well.")
@click.option("--index", metavar="REF", help="Images that nearest:DESCRIPTOR searches: all of a folder, or its train/.")
@click.option("--size", type=click.IntRange(min=16), metavar="N", help="Size at which these are packed. Default: 128.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--force", is_flag=True, help="Replace files that exist.")
def inpaint(
    subject: str,
    images: tuple[Path, ...],
    out: Path,
    holes: str,
    compare: str | None,
    index: str | None,
    size: int | None,
    device: str,
    force: bool,
) -> None:
    """Fill a hole in each IMAGE with SUBJECT: a run, telea, navier-stokes, nearest:hog ... (ce list inpainters).

    Pictures may have any size. A network works on the square around the hole, at its own size, and its fill is laid
    back (a run with decoder.output: center fills no hole at the picture's border); what is known comes back bit for
    bit, as PNG of 8 bits (16 bits are scaled, transparency is laid on white).

    \b
    Examples:
      ce inpaint telea holiday.png --holes 120,80,64,40 -o filled.png
      ce inpaint runs/mine holiday.png --holes mask.png -o filled.png --compare telea,navier-stokes
      ce inpaint telea photos/*.jpg --holes masks/ -o filled/
      ce inpaint navier-stokes logos/*.png --holes auto -o filled/
      ce inpaint nearest:hog holiday.png --index photos/ -o filled.png
    """
    from ssl_ce.devices import choose_device
    from ssl_ce.inpainters.pictures import check_hole, fill_picture

    targets = _targets(images, out, compare is not None, force)
    chosen = str(choose_device(device))
    names = list(dict.fromkeys([subject, *(name for name in (compare or "").split(",") if name)]))
    inpainters = {name: _load(name, index, size, chosen) for name in names}
    masks = _masks(holes, images)
    jobs = []
    for path in images:
        picture, alpha = _read(path)
        hole = _hole(holes, masks.get(path), path, picture, alpha)
        try:
            for inpainter in inpainters.values():
                check_hole(inpainter, hole)
        except UserError as error:
            raise UserError(f"{path}, --holes {masks.get(path, holes)}: {error}") from error
        jobs.append((path, picture, hole))
    for path, picture, hole in jobs:
        fills = {name: fill_picture(inpainter, picture, hole) for name, inpainter in inpainters.items()}
        filled, strip = targets[path]
        _write(fills[subject], filled)
        click.echo(f"{filled}: {int(hole.sum()):,} of {hole.numel():,} pixels filled by {subject}.")
        if strip is not None:
            _draw(strip, picture, hole, fills)
            click.echo(f"{strip}: {', '.join(names)} side by side.")


def _targets(images: tuple[Path, ...], out: Path, strips: bool, force: bool) -> dict[Path, tuple[Path, Path | None]]:
    """{image: its filled picture's path, its strip's or None}; every path is checked before anything is read."""
    single = out.suffix.lower() == ".png" and not out.is_dir()
    if out.suffix and not single and not out.is_dir():
        raise UserError(f"{out}: filled pictures are PNG, which changes no pixel. Give a name ending in .png.")
    if single and len(images) > 1:
        raise UserError(
            f"{len(images)} pictures do not fit into one file {out}. Give a folder: -o {out.with_suffix('')}"
        )
    names = [path.stem for path in images]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"Two of the pictures are called {twice}; their fills would have one name. Fill them apart.")
    check_folder(out.parent if single else out)
    found: dict[Path, tuple[Path, Path | None]] = {}
    for path in images:
        if path.is_dir():
            raise UserError(f"{path} is a folder. Give its files: {path / '*'}")
        filled = out if single else out / f"{path.stem}.png"
        strip = filled.with_name(f"{filled.stem}-compare.png") if strips else None
        for target in (filled, strip):
            if target is not None and target.exists() and (not force or target.resolve() == path.resolve()):
                raise UserError(f"{target} exists already. Choose another --out, or replace it with --force.")
        found[path] = (filled, strip)
    return found


def _load(name: str, index: str | None, size: int | None, device: str) -> Inpainter:
    from ssl_ce.data import DataOptions, splits_of
    from ssl_ce.evaluators.opening import open_role
    from ssl_ce.inpainters import load_inpainter
    from ssl_ce.inpainters.loading import searches

    if index is None or not searches(name):
        return load_inpainter(name, None, device)
    options = DataOptions(size=size, default_size=128, progress=True)
    splits_of(index, options)  # what does not exist is said before anything is packed
    return load_inpainter(name, open_role(index, "train", options, whole=True), device)


def _read(path: Path) -> tuple[Tensor, Tensor | None]:
    """uint8 (3, h, w), and the opacity, uint8 (h, w), or None."""
    import torch

    from ssl_ce.data.decode import Unreadable, decode_with_alpha, quiet_pillow

    try:
        with quiet_pillow():
            picture, alpha = decode_with_alpha(path)
    except Unreadable as error:
        raise UserError(f"{path} cannot be read: {error}. Give pictures (PNG, JPEG, WebP ...).") from error
    return torch.from_numpy(picture), None if alpha is None else torch.from_numpy(alpha)


def _masks(where: str, images: tuple[Path, ...]) -> dict[Path, Path]:
    """{image: its mask} where the holes come from mask images."""
    from ssl_ce.data.masks import list_masks, masks_by_name

    place = expanded(where)
    if where in ("center", "auto") or _RECTANGLE.fullmatch(where):
        return {}
    if not place.exists():
        raise UserError(f"--holes {where} is neither center, auto, x,y,w,h, nor masks (an image, a folder) that exist.")
    if not place.is_dir():
        return dict.fromkeys(images, place)
    found = masks_by_name(list_masks(place), images)
    for path, mask in zip(images, found, strict=True):
        if mask is None:
            raise UserError(f"No mask in {where} is called {path.stem}, for {path}. Add one, or leave the picture out.")
    return {path: mask for path, mask in zip(images, found, strict=True) if mask is not None}


def _hole(where: str, mask: Path | None, path: Path, picture: Tensor, alpha: Tensor | None) -> Tensor:
    """bool (1, h, w), True = missing."""
    import torch

    from ssl_ce.data.masks import HALF, read_mask
    from ssl_ce.holes import center

    height, width = picture.shape[1:]
    if where == "center":
        return center(torch.zeros(1, dtype=torch.int64), height, width)[0]
    if where == "auto":
        if alpha is None:
            raise UserError(f"{path} has no transparent pixels for --holes auto. Give a mask image, or x,y,w,h.")
        return alpha[None] < HALF
    if mask is not None:
        missing = torch.from_numpy(read_mask(mask))
        if missing.shape != picture.shape[1:]:
            raise UserError(
                f"The mask {mask} is {missing.shape[1]} x {missing.shape[0]} pixels and {path} is {width} x {height}. "
                "Make them the same size."
            )
        return missing[None]
    x, y, w, h = (int(number) for number in where.split(","))
    if w < 1 or h < 1:
        raise UserError(f"The hole {where} (x,y,w,h) is {w} pixels wide and {h} high. Give at least 1 for each.")
    if x < 0 or y < 0 or x + w > width or y + h > height:
        raise UserError(f"The hole {where} (x,y,w,h) reaches beyond {path}, which is {width} x {height} pixels.")
    hole = torch.zeros(1, height, width, dtype=torch.bool)
    hole[:, y : y + h, x : x + w] = True
    return hole


def _write(picture: Tensor, path: Path) -> None:
    from PIL import Image

    from ssl_ce.files import atomic_write

    with atomic_write(path) as temporary:
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(temporary, format="PNG")


def _draw(path: Path, picture: Tensor, hole: Tensor, fills: Mapping[str, Tensor]) -> None:
    import torch

    from ssl_ce.report.drawing import MISSING_COLOR
    from ssl_ce.report.grids import fills_strip

    color = torch.from_numpy(MISSING_COLOR).view(3, 1, 1)
    fills_strip(path, {"hole": torch.where(hole, color, picture), **fills})
