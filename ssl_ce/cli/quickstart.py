"""`ce quickstart`: the main job from start to end on scikit-learn's digits. No download, about two minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_ce.files import check_folder

if TYPE_CHECKING:
    from ssl_ce.evaluators.base import EvaluationData, Evaluator
    from ssl_ce.records.record import Record
    from ssl_ce.report.layout import Table

# The final recipe and this tap were picked on held-out *train* digits. That larger holes help was first seen in
# sweeps scored on another random split of all digits, which shares images with the test split.
TAP = "conv2"
STRATEGIES = ("center", "random-block", "random-region")


@click.command()
@click.option(
    "--run",
    "run_path",
    type=click.Path(path_type=Path),
    default=Path("runs/quickstart"),
    show_default=True,
    help="The run's directory.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results/quickstart"),
    show_default=True,
    help="Where records, tables and pictures go.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Train this many steps instead of the recipe's (a trial run).",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="Decides everything random.")
def quickstart(run_path: Path, results: Path, steps: int | None, seed: int) -> None:
    """Pretrain a small Context Encoder on 1,797 handwritten digits and judge it with every evaluator.

    Its features against its own initialisation, HOG, GIST and pixels; its fills against mean colour, Telea and
    Navier-Stokes. Called again, it goes on where it was stopped.

    \b
    Examples:
      ce quickstart
      ce quickstart --run /tmp/digits --results /tmp/digits-results --seed 1
    """
    from rich.console import Console

    from ssl_ce.cli.pretrain import run as pretrain
    from ssl_ce.pretraining.recipe import load_recipe
    from ssl_ce.report.terminal import print_tables
    from ssl_ce.report.write import write_report

    started = time.perf_counter()
    check_folder(results)
    length = [f"optim.steps={steps}", "optim.epochs=null"] if steps else []
    recipe = load_recipe("quickstart", [f"seed={seed}", "data.source=digits", *length])
    run_path = pretrain(recipe, out=None, resume=run_path, data={})
    data = _digits()
    records, tables = _judge_all(str(run_path), data, results, seed)
    print_tables(tables, Console())
    paths = write_report(results, records, tables)
    pictures = _draw(str(run_path), data, results, seed)
    click.echo(f"Records:  {results / 'records.jsonl'}")
    click.echo(f"Tables:   {', '.join(str(path) for path in paths)}")
    click.echo(f"Pictures: {', '.join(str(path) for path in pictures)}")
    click.echo(f"Run:      {run_path}   (whole quickstart: {time.perf_counter() - started:.0f} s)")
    click.echo(
        "Next:     ce pretrain quickstart --data YOUR_FOLDER --out runs/mine\n"
        "          ce evaluate linear-probe runs/mine --data YOUR_FOLDER"
    )


def _digits() -> EvaluationData:
    from ssl_ce.data import DataOptions, open_set
    from ssl_ce.evaluators.base import EvaluationData

    options = DataOptions(size=32)
    return EvaluationData(test=open_set("digits", "test", options), train=open_set("digits", "train", options))


def _judge_all(run: str, data: EvaluationData, results: Path, seed: int) -> tuple[list[Record], list[Table]]:
    """All evaluators on the run and its baselines: records and tables. The low-shot probe is compared draw by draw."""
    from ssl_ce.cli.evaluate import judge_with_progress
    from ssl_ce.evaluators.inpainting import (
        Inpainting,
        InpaintingConfig,
        NearestInpainting,
        NearestInpaintingConfig,
    )
    from ssl_ce.evaluators.judge import with_floors
    from ssl_ce.evaluators.knn import Knn, KnnConfig
    from ssl_ce.evaluators.linear_probe import LinearProbe, LinearProbeConfig
    from ssl_ce.report.comparisons import compare
    from ssl_ce.report.layout import arrange

    subject = f"{run}@{TAP}"

    def judge(evaluator: Evaluator, *subjects: str) -> list[Record]:
        references = with_floors(evaluator, [evaluator.reference(text) for text in subjects])
        return judge_with_progress(evaluator, references, data, results, seed=seed)

    few = judge(LinearProbe(LinearProbeConfig(labels_per_class=10, draws=10)), subject, "gist")
    records = [
        *judge(LinearProbe(LinearProbeConfig()), subject, "gist"),
        *few,
        *judge(Knn(KnnConfig()), subject, "gist"),
        *judge(Inpainting(InpaintingConfig(holes=STRATEGIES)), run, "navier-stokes"),
        *judge(NearestInpainting(NearestInpaintingConfig(holes=STRATEGIES)), subject, "gist"),
    ]
    (compared,) = compare(arrange(few), subjects=[subject], baselines=[f"init:{subject}", "pixels", "hog"])
    return records, [compared if table.key == compared.key else table for table in arrange(records)]


def _draw(run: str, data: EvaluationData, results: Path, seed: int) -> list[Path]:
    """Grids of fills for each strategy, and of nearest contexts."""
    import torch

    from ssl_ce.evaluators.inpainting import Inpainting, InpaintingConfig
    from ssl_ce.inpainters import load_inpainter
    from ssl_ce.inpainters.nearest import Nearest
    from ssl_ce.report.grids import inpainting_grid, retrieval_grid

    indices = torch.arange(6)
    truth = data.test.read(indices)
    assert data.train is not None
    holes_of = Inpainting(InpaintingConfig(holes=STRATEGIES)).holes
    names = (run, "mean-color", "telea", "navier-stokes")
    paths = []
    for strategy in STRATEGIES:
        holes = holes_of(strategy, indices, seed, data.test)
        fills = {name: load_inpainter(name).fill(truth.masked_fill(holes, 0), holes) for name in names}
        paths.append(results / f"fills-{strategy}.png")
        inpainting_grid(paths[-1], truth, holes, fills)
    holes = holes_of("center", indices, seed, data.test)
    rows = {}
    for name in (f"{run}@{TAP}", f"init:{run}@{TAP}", "hog", "pixels"):
        searcher = load_inpainter(f"nearest:{name}", data.train)
        assert isinstance(searcher, Nearest)
        found = searcher.neighbours(truth.masked_fill(holes, 0), holes, 5)
        rows[name] = torch.stack([data.train.read(list(row)) for row in found])
    paths.append(results / "nearest-contexts.png")
    retrieval_grid(paths[-1], truth, holes, rows)
    return paths
