"""`ce evaluate EVALUATOR SUBJECT...`: one sub-command for each registered evaluator, plug-ins included."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssl_ce.cli.data import data_options
from ssl_ce.errors import UserError

if TYPE_CHECKING:
    from ssl_ce.data.packing import PackedImages
    from ssl_ce.evaluators.base import EvaluationData, Evaluator
    from ssl_ce.records.record import Record

LOCAL_RESULTS = Path("results/local")

_EXAMPLES = {
    "linear-probe": """\b
    Examples:
      ce evaluate linear-probe runs/mine --data photos/
      ce evaluate linear-probe runs/mine@conv3 gist random:alexnet --data photos/
      ce evaluate linear-probe runs/mine --data digits --set labels_per_class=10 --set draws=10
    """,
    "knn": """\b
    Examples:
      ce evaluate knn runs/mine --data photos/
      ce evaluate knn hog?cell=4 color-histogram --data cifar10 --data-root ~/data --download
    """,
    "inpainting": """\b
    Examples:
      ce evaluate inpainting runs/mine --data photos/
      ce evaluate inpainting runs/mine navier-stokes --data photos/ --holes center --holes random-block
    """,
    "nn-inpainting": """\b
    Examples:
      ce evaluate nn-inpainting runs/mine gist --data photos/
      ce evaluate nn-inpainting runs/mine@conv3 --test photos/ --index more-photos/ --holes center
    """,
}


class _EvaluatorGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        from ssl_ce.evaluators import evaluators

        return evaluators.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from ssl_ce.evaluators import evaluators

        return _make_command(cmd_name) if cmd_name in evaluators else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from ssl_ce.evaluators import evaluators

        with formatter.section("Evaluators"):
            formatter.write_dl([(entry.name, entry.summary) for entry in evaluators])


@click.group(cls=_EvaluatorGroup)
def evaluate() -> None:
    """Judge subjects under a named, versioned protocol, floors beside them, and write records.

    A subject is written REF[@TAP][?key=value&...]: runs/mine, runs/mine@conv3, init:runs/mine, random:alexnet,
    torchvision:alexnet, timm:resnet18, file:weights.pt?encoder=alexnet, hog?cell=4, gist, pixels, telea, nearest:hog.

    \b
    Examples:
      ce evaluate linear-probe runs/mine --data photos/
      ce evaluate inpainting runs/mine --data photos/ --holes center
      ce list evaluators
    """


def _make_command(name: str) -> click.Command:
    from ssl_ce.evaluators import evaluators

    parameters: list[click.Parameter] = [
        click.Argument(["subjects"], nargs=-1, required=True, metavar="SUBJECT..."),
        click.Option(["--data", "source"], metavar="REF", help="Train and test images: a dataset's name or a folder."),
        click.Option(["--train"], metavar="REF", help="Train images, instead of --data's."),
        click.Option(["--test"], metavar="REF", help="Test images, instead of --data's."),
        click.Option(
            ["--index"],
            metavar="REF",
            help="What nearest neighbours are searched in. Default: the train images.",
        ),
        click.Option(
            ["--results"],
            type=click.Path(path_type=Path),
            default=LOCAL_RESULTS,
            show_default=True,
            help="Where records go.",
        ),
        click.Option(
            ["--seed"],
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Decides splits, draws and holes.",
        ),
        click.Option(
            ["--device"],
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where networks run.",
        ),
        click.Option(["--no-floors"], is_flag=True, help="Leave the floors out of the table."),
        click.Option(["--set", "assignments"], multiple=True, metavar="KEY=VALUE", help="A setting of the protocol."),
    ]
    if "inpainting" in name:
        parameters.append(
            click.Option(
                ["--holes"],
                multiple=True,
                metavar="STRATEGY",
                help="Region strategy; may be repeated. Default: all three of the paper.",
            )
        )
    help_text = f"{evaluators.entry(name).summary.capitalize()}.\n\n{_EXAMPLES.get(name, '')}"

    def callback(**options: Any) -> None:
        _evaluate(name, **options)

    command = click.Command(name, params=parameters, callback=callback, help=help_text)
    return data_options(command)


def _evaluate(
    name: str,
    subjects: tuple[str, ...],
    source: str | None,
    train: str | None,
    test: str | None,
    index: str | None,
    results: Path,
    seed: int,
    device: str,
    no_floors: bool,
    assignments: tuple[str, ...],
    holes: tuple[str, ...] = (),
    **data: Any,
) -> None:
    from rich.console import Console

    from ssl_ce.evaluators import evaluators
    from ssl_ce.evaluators.judge import with_floors
    from ssl_ce.report.tables import print_table
    from ssl_ce.settings import override, parse

    evaluator_class = evaluators.get(name)
    settings: dict[str, Any] = {"holes": list(holes)} if holes else {}
    config = parse(evaluator_class.Config, override(settings, assignments), f"the settings of {name}")
    evaluator = evaluator_class(config)
    references = [evaluator.reference(subject) for subject in subjects]
    if not no_floors:
        references = with_floors(evaluator, references)
    sets = open_evaluation_sets(
        evaluator,
        source=source,
        train=train if index is None else index,
        test=test,
        size=_size_for(references, data),
        options=data,
    )
    records = judge_with_progress(evaluator, references, sets, results, seed=seed, device=device)
    print_table(records, Console())
    click.echo(f"{len(records)} records added to {results / 'records.jsonl'}. Show them all: ce results show {results}")


def judge_with_progress(
    evaluator: Evaluator,
    references: list[str],
    data: EvaluationData,
    results: Path,
    *,
    seed: int,
    device: str = "auto",
) -> list[Record]:
    """Judge `references`, appending to the store in `results` as records come, with a line of progress."""
    from ssl_ce.cli.progress import status_line
    from ssl_ce.devices import choose_device
    from ssl_ce.evaluators.base import Env
    from ssl_ce.evaluators.judge import judge
    from ssl_ce.records.store import RecordStore

    chosen = choose_device(device)
    store = RecordStore(results)
    with status_line(evaluator.protocol) as say:
        return judge(evaluator, references, data, Env(seed=seed, device=chosen, say=say), store.append)


def open_evaluation_sets(
    evaluator: Evaluator,
    *,
    source: str | None,
    train: str | None,
    test: str | None,
    size: int | None,
    options: dict[str, Any],
) -> EvaluationData:
    """The image sets of an evaluation, opened and packed at one size."""
    from ssl_ce.evaluators.base import EvaluationData

    test_reference, train_reference = test or source, train or source
    if test_reference is None:
        raise UserError("Say which images to judge on: --data REF, or --test REF (and --train REF).")
    test_set = _open(test_reference, "test", size, options)
    train_set = None
    if train_reference is not None:
        train_set = _open(train_reference, "train", test_set.metadata.size, options)
    elif evaluator.needs.train:
        raise UserError(
            f"{evaluator.name} needs train images too: give --data REF, or --train REF (--index REF) beside --test."
        )
    return EvaluationData(test=test_set, train=train_set)


def _open(reference: str, role: str, default_size: int | None, options: dict[str, Any]) -> PackedImages:
    """Open the split that plays `role` ("train", "test"). What has one split only plays any role with it."""
    from ssl_ce.cli.data import make_data_options
    from ssl_ce.data import open_set, splits_of

    prepared = make_data_options({**options, "default_size": default_size})
    splits = splits_of(reference, prepared)
    return open_set(reference, splits[0] if len(splits) == 1 else role, prepared)


def _size_for(references: list[str], options: dict[str, Any]) -> int | None:
    """The size asked for, else the input size of the first run among the subjects, else the data's own."""
    from ssl_ce.methods.saved import is_run, read_run_recipe
    from ssl_ce.references import parse_reference

    if options.get("size") is not None:
        return int(options["size"])
    for text in references:
        reference = parse_reference(text)
        if reference.scheme == "nearest":
            reference = parse_reference(reference.target)
        if reference.scheme in (None, "init") and is_run(Path(reference.target)):
            return int(read_run_recipe(Path(reference.target))["method"]["size"])
    return None
