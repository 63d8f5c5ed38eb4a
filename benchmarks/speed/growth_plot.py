"""The picture of `growth.py`: time and anonymous memory, against images and records, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from ssl_ce.files import atomic_write

Rows = Sequence[Mapping[str, Any]]


def draw(tables: Mapping[str, Rows], path: Path) -> None:
    """Four panels, as an SVG file."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    for row, (table, amount, series) in enumerate((("Images", "images", "step"), ("Records", "records", "command"))):
        for axis, column in zip(axes[row], ("seconds", "anonymous MiB"), strict=True):
            _panel(axis, tables.get(table, ()), amount, series, column)
        axes[row][0].legend(fontsize=6, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    plt.close(figure)


def _panel(axis: Any, rows: Rows, amount: str, series: str, column: str) -> None:
    for name in dict.fromkeys(row[series] for row in rows):
        points = [(row[amount], row[column]) for row in rows if row[series] == name]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1, label=name)
    axis.set_xscale("log")
    axis.set_xlabel(amount)
    axis.set_ylabel(column)
    if column == "seconds":
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
