"""Curves of training: what runs logged, one panel for each quantity, one line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_ce.errors import UserError, unknown
from ssl_ce.files import atomic_write
from ssl_ce.pretraining.logs import damaged, read_log

Curve = tuple[NDArray[np.int64], NDArray[np.float64]]

# What a quantity is called on its axis, and what it says.
_NAMES = {
    "log_d_real": "log D(x), true images",
    "log_d_filled": "log D(F(x)), filled images",
    "held_out_psnr": "PSNR of held-out holes (dB)",
    "online_knn": "k-NN accuracy, train images",
    "images_per_second": "images/s",
}


def read_curve(run: Path, quantity: str) -> Curve:
    """Steps, int64 (n,), and values, float64 (n,), of what `run` logged under `quantity`.

    Raises
    ------
    UserError
        If there is no log, or the quantity is not in it.
    """
    curves = read_curves(run)
    if quantity not in curves:
        raise unknown(f"quantity in {run / 'log.csv'}", quantity, curves)
    return curves[quantity]


def read_curves(run: Path) -> dict[str, Curve]:
    """Everything that `run` logged, {quantity: as `read_curve` gives it}. Raises `UserError` if there is no log."""
    path = run / "log.csv"
    if not path.is_file():
        raise UserError(f"{run} has no log.csv. Give the directory of a run, as ce pretrain --out named it.")
    rows = read_log(path)
    curves = {}
    for name in (name for name in (rows[0] if rows else {}) if name != "step"):
        try:
            points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        except (ValueError, TypeError) as error:
            raise damaged(path, error) from error
        curves[name] = (
            np.array([step for step, _ in points], dtype=np.int64),
            np.array([value for _, value in points], dtype=np.float64),
        )
    return curves


def losses_of(run: Path) -> list[str]:
    """The losses that `run` logged: on what it trained on, and on held-out images. `UserError` if it logged none."""
    found = [name for name in read_curves(run) if name and name.endswith("_loss")]
    if not found:
        raise UserError(f"{run / 'log.csv'} holds no losses. Say what to draw with --quantity, or train further.")
    return found


def quantity_name(quantity: str) -> str:
    """What a logged quantity is called on an axis: "PSNR of held-out holes (dB)"."""
    return _NAMES.get(quantity, quantity.replace("_", " "))


def draw_curves(path: Path, runs: Mapping[str, Path], quantities: Sequence[str]) -> None:
    """A PNG at `path`: a panel for each of `quantities` with a line for each of `runs`, {label: directory}.

    A run that did not log a quantity has no line in its panel; a quantity that none logged is a `UserError`.
    """
    from matplotlib.figure import Figure

    logged = {label: read_curves(run) for label, run in runs.items()}
    for quantity in quantities:
        if not any(quantity in curves for curves in logged.values()):
            everything = list(dict.fromkeys(name for curves in logged.values() for name in curves))
            raise unknown("quantity in these logs", quantity, everything)
    figure = Figure(figsize=(4.8 * len(quantities), 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(quantities)))
    for panel, quantity in zip(axes, quantities, strict=True):
        for number, (label, curves) in enumerate(logged.items()):
            if quantity in curves:
                panel.plot(*curves[quantity], label=label, color=f"C{number}", linewidth=1.4)
        panel.set(xlabel="step", title=quantity_name(quantity))
        panel.title.set_fontsize(10)
        panel.grid(alpha=0.3)
        if quantity.startswith("log_d"):
            # Where the discriminator cannot tell.
            panel.axhline(np.log(0.5), color="0.4", linestyle="--", linewidth=1)
            panel.annotate("log ½", (1.0, np.log(0.5)), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    lines = {line.get_label(): line for panel in axes for line in panel.get_lines() if line.get_label() in runs}
    axes[0].legend([lines[label] for label in runs if label in lines], [label for label in runs if label in lines],
                   fontsize=8)  # fmt: skip
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
