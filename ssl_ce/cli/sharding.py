"""`ce data shard`: an image set as WebDataset shards."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssl_ce.cli.image_options import data_options, make_data_options
from ssl_ce.files import check_folder

if TYPE_CHECKING:
    from ssl_ce.data.shards_writing import Encoding


@click.command()
@click.argument("reference", metavar="REF")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write to.")
@click.option("--split", default="train", show_default=True, help="Which split: train, test, val, all, ...")
@click.option("--per-shard", type=click.IntRange(min=1), default=10_000, show_default=True, help="Images in a shard.")
@click.option(
    "--encoding",
    type=click.Choice(["png", "webp", "jpeg", "original"]),
    default="png",
    show_default=True,
    help="png and webp are lossless, jpeg has quality 95; original: the files as they are.",
)
@click.option("--force", is_flag=True, help="Replace the shards if they exist.")
@partial(data_options, seed_flag="--seed")
def shard(
    reference: str, out: Path, split: str, per_shard: int, encoding: Encoding, force: bool, **options: Any
) -> None:
    """Write one split of REF as WebDataset shards, for data that are larger than a disk.

    The images are shuffled by --seed. An interrupted command goes on where it was when it is given again. The folder
    opens as an image set, here or on a server (docs/scaling.md).

    \b
    Examples:
      ce data shard photos/ --size 128 --out shards/
      ce data shard photos/ --split test --size 128 --out shards/
      ce data shard imagenet --data-root ~/data --encoding original --out shards/
      ce pretrain ce-alexnet-96 --data shards/
    """
    from ssl_ce.data.shards_writing import write_shards

    check_folder(out)
    index = write_shards(
        reference, split, out, make_data_options(options), per_shard=per_shard, encoding=encoding, overwrite=force
    )
    size = f" of {index.size} x {index.size}" if index.size else ", files as they are"
    total = sum(written.bytes for written in index.shards)
    click.echo(
        f"{out}: {index.n:,} images{size} in {len(index.shards):,} shards, {total / 1e6:,.1f} MB "
        f"({total / max(index.n, 1) / 1e3:.1f} kB an image, {encoding}); fingerprint {index.fingerprint}"
    )
