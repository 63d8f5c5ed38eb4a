"""The pretraining runs that subjects name, as far as they are still there: their time, their log, their last fills."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_ce.descriptors import descriptors
from ssl_ce.errors import UserError
from ssl_ce.files import read_json
from ssl_ce.inpainters import inpainters
from ssl_ce.references import Reference, made_of
from ssl_ce.report.curves import Curve, read_curves
from ssl_ce.report.standing import method_of

_NOT_RUNS = frozenset(descriptors.names()) | frozenset(inpainters.names())


@dataclass(frozen=True)
class Run:
    """A run that is there.

    Attributes
    ----------
    name
        As subjects name it: "runs/x".
    label
        Its name without the folder that all runs share.
    path
        Its directory.
    manifest
        What its manifest.json holds.
    curves
        What its log.csv holds; empty without one.
    """

    name: str
    label: str
    path: Path
    manifest: Mapping[str, Any]
    curves: Mapping[str, Curve] = field(repr=False)

    @property
    def seconds(self) -> float | None:
        """How long it trained, where its manifest says so."""
        seconds = self.manifest.get("seconds")
        return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None

    @property
    def last_sample(self) -> Path | None:
        """The picture of fills that it drew last."""
        return max(self.path.glob("samples/step-*.png"), default=None)


def find_runs(subjects: Iterable[str], root: Path) -> tuple[dict[str, Run], dict[str, str]]:
    """The runs that `subjects` name, by name; and those that cannot be read, with why.

    A relative name is looked up in `root`.
    """
    names = sorted({reference.target for subject in subjects for reference in parts_of(subject) if _is_run(reference)})
    shared = _shared_folder(names)
    runs, missing = {}, {}
    for name in names:
        path = root / name
        try:
            manifest = read_json(path / "manifest.json")
            curves = read_curves(path) if (path / "log.csv").is_file() else {}
        except FileNotFoundError:
            if "/" in name or path.is_dir():  # else it is a descriptor that is not installed here
                missing[name] = "it has no manifest.json" if path.is_dir() else "it is not there"
        except (OSError, ValueError, UserError) as error:
            missing[name] = f"it cannot be read ({error})"
        else:
            runs[name] = Run(
                name, name.removeprefix(shared), path, manifest if isinstance(manifest, dict) else {}, curves
            )
    return runs, missing


def run_of(subject: str) -> str | None:
    """The name of the run whose training a subject profits from; None for one that has none, such as `init:runs/x`."""
    return next((reference.target for reference in parts_of(subject) if _trained(reference)), None)


def without_seed(run: str) -> str:
    """The name that the runs of one pretraining of a suite share: "runs/suite/vae-s2" -> "runs/suite/vae"."""
    return method_of(run)[0].removesuffix("-s*")


def parts_of(subject: str) -> tuple[Reference, ...]:
    """The simple references that a subject is made of; none where a record's text is no reference."""
    try:
        return tuple(made_of(subject))
    except UserError:
        return ()


def _trained(reference: Reference) -> bool:
    return reference.scheme is None and reference.target not in _NOT_RUNS


def _is_run(reference: Reference) -> bool:
    return _trained(reference) or (reference.scheme == "init" and reference.target not in _NOT_RUNS)


def _shared_folder(names: list[str]) -> str:
    """The folder that all names lie in, with its slash; empty if there is none."""
    if len({Path(name).is_absolute() for name in names}) != 1:
        return ""
    shared = os.path.commonpath([Path(name).parent for name in names])
    return f"{shared.rstrip('/')}/" if shared else ""
