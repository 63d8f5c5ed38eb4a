"""`ce evaluate EVALUATOR SUBJECT...`: one sub-command for each registered evaluator, plug-ins included."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssl_ce.cli.examples import EXAMPLES
from ssl_ce.cli.groups import Group
from ssl_ce.cli.image_options import data_options
from ssl_ce.cli.processes import processes_options, several
from ssl_ce.errors import UserError, unknown
from ssl_ce.files import check_folder

if TYPE_CHECKING:
    from ssl_ce.evaluators.base import EvaluationData, Evaluator
    from ssl_ce.records.record import Record

LOCAL_RESULTS = Path("results/local")

_FAILURES = (
    "--failures",
    0,
    "Draw the N test images that each subject fills worst, N median and the N best, a picture for each strategy.",
)
# Evaluators that draw pictures: the option that says of how many test images, its default, its help.
_PICTURES = {
    "retrieval": ("--panels", 6, "Draw what each descriptor finds for N test images, one picture for each strategy."),
    "inpainting": _FAILURES,
    "nn-inpainting": _FAILURES,
}


class _EvaluatorGroup(Group):
    kind = "evaluator"

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
      ce evaluate linear-probe runs/mine --data photos/ --devices 4     # described on four GPUs
      ce list evaluators
    """


def _make_command(name: str) -> click.Command:
    from ssl_ce.evaluators import evaluators
    from ssl_ce.evaluators.presets import PRESETS

    def callback(**options: Any) -> None:
        _evaluate(name, **options)

    data_options(callback)
    for option in reversed(_options(_has_holes(name))):
        option(callback)
    if name in _PICTURES:
        option, preset, picture_help = _PICTURES[name]
        click.option(option, "pictures", type=click.IntRange(min=0), default=preset, show_default=True, metavar="N",
                     help=f"{picture_help} 0 draws none.")(callback)  # fmt: skip
    if name in PRESETS:
        known = ", ".join(PRESETS[name])
        click.option("--preset", metavar="NAME[@N]",
                     help=f"The protocol: {known}. Default: the first.")(callback)  # fmt: skip
    summary = evaluators.entry(name).summary
    help_text = f"{summary[:1].upper()}{summary[1:]}."
    if name in EXAMPLES:
        help_text += "\n\n\b\nExamples:\n" + "\n".join(f"  ce evaluate {example}" for example in EXAMPLES[name])
    return click.command(name, help=help_text)(callback)


def _options(has_holes: bool) -> tuple[Callable[[Any], Any], ...]:
    devices = click.Choice(["auto", "cpu", "cuda"])
    index_help = (
        "Where nearest neighbours are searched. Default: the train images. The words full and bank set how they are "
        "described: once, as whole images, or under each hole. A REF and a word may both be given."
    )
    holes_help = (
        "Region strategy (ce list holes), a folder of mask images (white = missing) that go by the images' names or "
        "are drawn by seed, or one mask image; may be repeated. Default: the paper's three strategies."
    )
    about_holes = (
        click.option("--index", multiple=True, metavar="REF", help=index_help),
        click.option("--holes", multiple=True, metavar="HOLES", help=holes_help),
    )
    data_help = "Train and test images: a dataset's name or a folder. Without splits of its own it is split by seed."
    role_help = "{} images, instead of --data's. All of a folder without splits, where {} images are elsewhere."
    seed_help = "Decides draws of labels, and holes.  [default: 0]"
    return (
        click.argument("subjects", nargs=-1, required=True, metavar="SUBJECT..."),
        click.option("--data", "source", metavar="REF", help=data_help),
        click.option("--train", metavar="REF", help=role_help.format("Train", "test")),
        click.option("--test", metavar="REF", help=role_help.format("Test", "train")),
        *(about_holes if has_holes else ()),
        click.option("--results", type=click.Path(path_type=Path), default=LOCAL_RESULTS, show_default=True,
                     help="Where records go."),
        click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help=seed_help),
        click.option("--device", type=devices, default="auto", show_default=True, help="Where networks run."),
        processes_options,
        click.option("--no-floors", is_flag=True, help="Leave the floors out of the table."),
        click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A setting of the protocol."),
    )  # fmt: skip


def _has_holes(name: str) -> bool:
    """Whether an evaluator draws holes. For our own it is known without importing torch, so that --help is quick."""
    from ssl_ce.evaluators import evaluators

    if name in EXAMPLES:
        return "inpainting" in name or name == "retrieval"
    return "holes" in evaluators.get(name).Config.model_fields


def _evaluate(
    name: str,
    subjects: tuple[str, ...],
    source: str | None,
    train: str | None,
    test: str | None,
    results: Path,
    seed: int,
    device: str,
    devices: int | None,
    nodes: int | None,
    no_floors: bool,
    assignments: tuple[str, ...],
    index: tuple[str, ...] = (),
    holes: tuple[str, ...] = (),
    pictures: int = 0,
    preset: str | None = None,
    **data: Any,
) -> None:
    from rich.console import Console

    from ssl_ce.cli.image_options import make_data_options
    from ssl_ce.cli.remarks import remarks
    from ssl_ce.evaluators.judge import with_floors
    from ssl_ce.evaluators.opening import open_evaluation_sets
    from ssl_ce.evaluators.presets import evaluator_of
    from ssl_ce.report.terminal import print_table
    from ssl_ce.settings import override, parse

    check_folder(results)
    evaluator_class = evaluator_of(name, preset)
    settings: dict[str, Any] = {"holes": list(dict.fromkeys(holes))} if holes else {}
    searched, described = _index(index, train)
    if described is not None:
        settings["index"] = described
    config = parse(evaluator_class.Config, override(settings, assignments), f"the settings of {evaluator_class.name}")
    evaluator = evaluator_class(config)
    references = [evaluator.reference(subject) for subject in subjects]
    if not no_floors:
        references = with_floors(evaluator, references)
    options = make_data_options({**data, "default_size": _size_for(references, data)})

    def open_sets() -> EvaluationData:
        return open_evaluation_sets(evaluator, source=source, train=searched, test=test, options=options)

    if several(devices, nodes):
        sets, goes_on = _describe_together(evaluator, references, open_sets, seed, device, devices, nodes)
        if not goes_on:
            return
    else:
        sets = open_sets()
    records = judge_with_progress(evaluator, references, sets, results, seed=seed, device=device)
    print_table(records, Console())
    for line in remarks(records, source):
        click.echo(line)
    for path in _draw_pictures(evaluator, references, records, sets, results, pictures, seed=seed, device=device):
        click.echo(f"Picture: {path}")
    kept = "1 record" if len(records) == 1 else f"{len(records)} records"
    click.echo(f"{kept} kept in {results / 'records.jsonl'}. Show them all: ce results show {results}")


def _describe_together(
    evaluator: Evaluator,
    references: list[str],
    open_sets: Callable[[], EvaluationData],
    seed: int,
    device: str,
    devices: int | None,
    nodes: int | None,
) -> tuple[EvaluationData, bool]:
    """The features of all subjects put into the cache by several processes; whether this one goes on to judge."""
    from ssl_ce.cli.progress import status_line
    from ssl_ce.devices import choose_device
    from ssl_ce.evaluators.base import Env
    from ssl_ce.evaluators.together import describe_together
    from ssl_ce.processes import launch

    processes = launch(choose_device(device), devices=devices, nodes=nodes)
    sets = processes.main_first(open_sets)
    with status_line(evaluator.protocol) if processes.main else nullcontext(_say_nothing) as say:
        env = Env(seed=seed, device=processes.device, say=say)
        describe_together(evaluator, references, sets, env, processes)
    return sets, processes.main


def _say_nothing(message: str) -> None:
    """What all but one process say."""


def _index(given: tuple[str, ...], train: str | None) -> tuple[str | None, str | None]:
    """What --index says, one REF and one word at most: the train images, `train` if it names none, and the word."""
    if not given:
        return train, None
    from ssl_ce.inpainters.nearest import INDEXES

    words = [text for text in given if text in INDEXES]
    references = [text for text in given if text not in INDEXES]
    if len(words) > 1 or len(references) > 1:
        raise UserError(
            f"--index is given {', '.join(given)}: give one REF at most, and one of the words full and bank."
        )
    if references and train is not None:
        raise UserError(f"--train {train} and --index {references[0]} both name what is searched. Leave one out.")
    return (references[0] if references else train), (words[0] if words else None)


def _draw_pictures(
    evaluator: Evaluator,
    references: list[str],
    records: list[Record],
    data: EvaluationData,
    results: Path,
    count: int,
    *,
    seed: int,
    device: str,
) -> list[Path]:
    """The pictures of an evaluation, of `count` test images; none for an evaluator that draws none."""
    if count == 0:
        return []
    from ssl_ce.cli.progress import status_line
    from ssl_ce.devices import choose_device
    from ssl_ce.evaluators.base import Env
    from ssl_ce.evaluators.inpainting import Inpainting
    from ssl_ce.evaluators.retrieval import Retrieval
    from ssl_ce.report.failures import failure_pictures
    from ssl_ce.report.panels import retrieval_panels

    with status_line(evaluator.protocol) as say:
        env = Env(seed=seed, device=choose_device(device), say=say)
        if isinstance(evaluator, Retrieval):
            return retrieval_panels(evaluator, references, records, data, env, results, count)
        if isinstance(evaluator, Inpainting):
            return failure_pictures(evaluator, references, records, data, env, results, count)
    return []


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


def _size_for(references: list[str], options: dict[str, Any]) -> int | None:
    """The size asked for, else the input size of the first run among the subjects, else the data's own."""
    recipes = [recipe for text in references if (recipe := _recipe_of_run(text)) is not None]
    sizes = [options.get("size"), *(recipe["method"].get("size") for recipe in recipes)]
    return next((int(size) for size in sizes if size is not None), None)


def _recipe_of_run(text: str) -> dict[str, Any] | None:
    """The recipe of the run that a subject reference names, or of the first that it is made of; None without one.

    Raises
    ------
    UserError
        If it names nothing: a typo must not first cost the packing of the images.
    """
    from ssl_ce.descriptors import descriptors
    from ssl_ce.inpainters import inpainters
    from ssl_ce.methods.saved import read_run_recipe
    from ssl_ce.references import made_of

    named = [*descriptors.names(), *inpainters.names()]
    recipes = []
    for reference in made_of(text):
        if reference.scheme not in (None, "init") or (reference.scheme is None and reference.target in named):
            continue
        path = Path(reference.target)
        if len(path.parts) == 1 and not path.exists():
            raise unknown("subject", reference.target, named)
        recipes.append(read_run_recipe(path))
    return next(iter(recipes), None)
