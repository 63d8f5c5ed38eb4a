"""Presets: the protocols among which `ce evaluate linear-probe --preset NAME@VERSION` chooses.

Each is an evaluator of its own too: `ce evaluate linear-sgd-mae` is the same. Its constants are the defaults of its
`Config`, and one that changes raises its version (tests/evaluators/test_presets.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ssl_ce.errors import UserError, unknown
from ssl_ce.evaluators import evaluators

if TYPE_CHECKING:
    from ssl_ce.evaluators.base import Evaluator

PRESETS: Mapping[str, Mapping[str, str]] = {
    "linear-probe": {
        "linear-probe": "linear-probe",
        "linear-sgd-dinov2": "linear-sgd-dinov2",
        "linear-sgd-mae": "linear-sgd-mae",
        "linear-sgd-simclr": "linear-sgd-simclr",
        "linear-layers-goyal19": "linear-layers-goyal19",
    },
    "knn": {"knn-dino": "knn", "knn-instdisc": "knn-instdisc"},
}
"""{evaluator: {preset: the evaluator of that protocol}}, the default first."""


def evaluator_of(name: str, preset: str | None) -> type[Evaluator]:
    """The evaluator called `name`, or the one that its preset `NAME` or `NAME@VERSION` names.

    Raises
    ------
    UserError
        If there is no such preset, or it has another version here.
    """
    if preset is None:
        return evaluators.get(name)
    known = PRESETS.get(name, {})
    wanted, at, version = preset.partition("@")
    if wanted not in known:
        raise unknown(f"preset of {name}", wanted, known)
    found = evaluators.get(known[wanted])
    if at and version != str(found.version):
        raise UserError(
            f"--preset {preset}: here {wanted} has version {found.version}, with other constants than version "
            f"{version}. Take --preset {wanted}@{found.version}, or install the release that had {preset}."
        )
    return found
