"""`ce hub`: runs to and from the Hugging Face Hub (extra `hub`)."""

from __future__ import annotations

from pathlib import Path

import click

from ssl_ce.cli.groups import Group


@click.group(cls=Group)
def hub() -> None:
    """Upload a run to the Hugging Face Hub, and download one.

    Needs the extra hub: pip install 'ssl-ce[hub]'. To upload, log in first: hf auth login.

    \b
    Examples:
      ce hub push runs/mine me/my-encoder --private
      ce hub pull me/my-encoder -o runs/theirs
    """


@hub.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("repo", metavar="USER/NAME")
@click.option("--private", is_flag=True, help="Make the repository private, if it is not there yet.")
@click.option("--samples", is_flag=True, help="Upload the pictures of fills too: they show your images.")
@click.option("--results", type=click.Path(path_type=Path), help="A folder of records: the run's own go onto its card.")
def push(run: Path, repo: str, private: bool, samples: bool, results: Path | None) -> None:
    """Upload RUN: recipe, weights, log, and a model card. Not what --resume needs, nor where your images lie.

    \b
    Examples:
      ce hub push runs/mine me/my-encoder --private
      ce hub push runs/mine me/my-encoder --results results/local
    """
    from ssl_ce.cli.stores import open_store
    from ssl_ce.pretraining.hub import push_run

    records = [] if results is None else open_store(results).records()
    address = push_run(run, repo, private=private, samples=samples, records=records)
    click.echo(f"Uploaded {run} to {address}. Its card states no license: choose one there.")


@hub.command()
@click.argument("repo", metavar="USER/NAME")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The new run directory.  [default: runs/NAME]")
@click.option("--revision", metavar="REV", help="A branch, tag or commit. Default: the newest.")
def pull(repo: str, out: Path | None, revision: str | None) -> None:
    """Download the run in the repository USER/NAME. It can be evaluated and exported, not resumed.

    \b
    Examples:
      ce hub pull me/my-encoder
      ce hub pull me/my-encoder -o runs/theirs --revision v1
    """
    from ssl_ce.pretraining.hub import pull_run

    out = Path("runs") / repo.rpartition("/")[2] if out is None else out
    pull_run(repo, out, revision)
    click.echo(f"{out}: a run. Judge it: ce evaluate knn {out} --data REF")
