"""`ce doctor`: is this installation well, on this machine? For oneself and for bug reports."""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ssl_ce.data.packing import PackedImages
    from ssl_ce.health import Finding

_STEPS = 10
# k-NN accuracy of `pixels` on digits; another machine's rounding may turn a vote or two.
_EXPECTED, _TOLERANCE = 0.970, 0.005


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path), metavar="DIR", help="Look at the disk of your data, too.")
@click.option("--json", "as_json", is_flag=True, help="All that was found, as JSON.")
@click.option("--quick", is_flag=True, help="Without the tiny run at the end, which takes about ten seconds.")
def doctor(data_root: Path | None, as_json: bool, quick: bool) -> None:
    """Check versions, devices, threads, memory, faiss, cache and disks; then train, fill, describe and judge.

    Each line is ok, warn or FAIL, with what to do. Exit code 1 if one is FAIL. Nothing is left behind, and home
    folder and user name are cut out, so that the output can be put into a bug report.

    \b
    Examples:
      ce doctor
      ce doctor --data-root /data --json > doctor.json
    """
    from ssl_ce.health import looks

    findings = []
    for finding in chain(looks(data_root), () if quick else tiny_run()):
        finding = replace(finding, said=anonymous(finding.said), advice=anonymous(finding.advice))
        findings.append(finding)
        if not as_json:
            _show(finding)
    failed = any(finding.status == "FAIL" for finding in findings)
    if as_json:
        checks = json.loads(anonymous(json.dumps([asdict(finding) for finding in findings])))
        click.echo(json.dumps({"status": "FAIL" if failed else "ok", "checks": checks}, indent=2))
    sys.exit(1 if failed else 0)


def anonymous(text: str) -> str:
    """`text` without the home folder (~) and the user's name (USER)."""
    text = text.replace(str(Path.home()), "~")
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return text
    return text if user == "root" else re.sub(rf"(?<!\w){re.escape(user)}(?!\w)", "USER", text)


def tiny_run() -> Iterator[Finding]:
    """A few steps of training, and what comes after it, in a folder that is removed; ends where one fails."""
    from ssl_ce.health import look

    stages = {"pack": _pack, "train": _train, "fill": _fill, "describe": _describe, "judge": _judge}
    with _scratch() as folder:
        for name, work in stages.items():
            finding = look(name, _timed(name, work, folder))
            yield finding
            if finding.status == "FAIL":
                return


def _timed(name: str, work: Callable[[Path], str], folder: Path) -> Callable[[], Finding]:
    def at() -> Finding:
        from ssl_ce.health import Finding

        started = time.perf_counter()
        said = work(folder)
        seconds = time.perf_counter() - started
        return Finding(name, f"{said} in {seconds:.1f} s", numbers={"seconds": round(seconds, 2)})

    return at


def _digits(split: str) -> PackedImages:
    from ssl_ce.data import DataOptions, open_set
    from ssl_ce.data.packing import PackedImages

    found = open_set("digits", split, DataOptions(size=32))
    assert isinstance(found, PackedImages)
    return found


def _pack(folder: Path) -> str:
    return f"{len(_digits('train')) + len(_digits('test')):,} digits"


def _train(folder: Path) -> str:
    from ssl_ce.pretraining.loop import pretrain
    from ssl_ce.pretraining.recipe import load_recipe

    settings = (f"optim.steps={_STEPS}", "optim.epochs=null", "log.tensorboard=false", "data.source=digits")
    recipe = load_recipe("quickstart", settings)
    pretrain(recipe, _digits("train"), folder / "run")
    return f"{_STEPS} steps of {recipe.optim.batch_size} images, saved"


def _fill(folder: Path) -> str:
    import torch

    import ssl_ce
    from ssl_ce.holes import draw

    images = _digits("test").read(range(8))
    holes = draw("center", torch.arange(8), 32, 32)
    for inpainter in (str(folder / "run"), "telea"):
        filled = ssl_ce.load(inpainter).fill(images, holes)
        if not torch.equal(filled.masked_fill(holes, 0), images.masked_fill(holes, 0)):
            raise RuntimeError(f"{inpainter} changed pixels that were not missing")
    return "8 images by the run and by telea"


def _describe(folder: Path) -> str:
    import ssl_ce

    images = _digits("test").read(range(100))
    dims = [ssl_ce.load(name).describe(images).shape[1] for name in (str(folder / "run"), "hog")]
    return f"100 images by the run ({dims[0]} numbers) and by hog ({dims[1]})"


def _judge(folder: Path) -> str:
    from ssl_ce.evaluators.base import Env, EvaluationData
    from ssl_ce.evaluators.judge import judge
    from ssl_ce.evaluators.knn import Knn, KnnConfig

    data = EvaluationData(test=_digits("test"), train=_digits("train"))
    (record,) = judge(Knn(KnnConfig()), ["pixels"], data, Env(), lambda _: None)
    accuracy = record.metrics["accuracy"].value
    if abs(accuracy - _EXPECTED) > _TOLERANCE:
        raise RuntimeError(f"k-NN on pixels is right for {accuracy:.1%} of the digits, not for {_EXPECTED:.1%}")
    return f"k-NN on pixels: {accuracy:.1%} as expected,"


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder with a cache of its own, removed at the end."""
    before = os.environ.get("SSL_CE_CACHE")
    with tempfile.TemporaryDirectory(prefix="ssl-ce-doctor-") as folder:
        os.environ["SSL_CE_CACHE"] = str(Path(folder) / "cache")
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["SSL_CE_CACHE"]
            else:
                os.environ["SSL_CE_CACHE"] = before


def _show(finding: Finding) -> None:
    click.echo(f"{finding.status:<5} {finding.name:<14} {finding.said}")
    if finding.advice:
        click.echo(f"{'':<21}{finding.advice}")
