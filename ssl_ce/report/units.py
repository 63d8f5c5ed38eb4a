"""How each metric is shown: in which unit, with how many decimals. The one place that knows."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """How numbers of one metric are shown: times `scale`, with `decimals`, in `symbol` ("%", "dB", "")."""

    symbol: str = ""
    scale: float = 1.0
    decimals: int = 3

    def show(self, value: float, *, signed: bool = False, decimals: int | None = None) -> str:
        """`value`, as it is in a record, as text without its symbol: 0.914 -> "91.4". `decimals` other than its own."""
        if math.isnan(value):
            return MISSING
        places = self.decimals if decimals is None else decimals
        text = f"{value * self.scale:{'+' if signed else ''}.{places}f}"
        return text.replace("inf", "∞").replace("-", "−")


MISSING = "–"

PERCENT = Unit("%", 100.0, 1)
UNITS = {
    "accuracy": PERCENT,
    "top1": PERCENT,
    "top5": PERCENT,
    "map": PERCENT,
    "nmi": PERCENT,
    "ari": PERCENT,
    "constant": PERCENT,
    "precision": PERCENT,
    "agreement": PERCENT,
    "miou": PERCENT,
    "pixel_accuracy": PERCENT,
    "iou": PERCENT,
    "ap50": PERCENT,
    "ap": PERCENT,
    "l1": Unit("%", 100.0, 2),
    "l2": Unit("%", 100.0, 2),
    "psnr": Unit("dB", 1.0, 2),
    "ssim": Unit("", 1.0, 3),
    "seam": Unit("%", 100.0, 2),
    "lpips": Unit("", 1.0, 3),
    "fid": Unit("", 1.0, 2),
}


def unit_of(metric: str) -> Unit:
    """The unit of a metric by its name, else by its first word: "accuracy_k10" is shown as "accuracy" is.

    "image_" before a name says over what it is, and changes no unit.
    """
    name = metric.removeprefix("image_")
    return UNITS.get(name) or UNITS.get(name.partition("_")[0], Unit())


def is_of_whole_image(metric: str) -> bool:
    """Whether a metric of fills looks at the whole image, context and all, and not at the hole."""
    return repeats_over_image(metric) or metric in ("lpips", "fid")


def repeats_over_image(metric: str) -> bool:
    """Whether a metric of fills says of the whole image what another says of the hole."""
    return metric.startswith("image_")


def show_p(p: float) -> str:
    """A p value with three decimals: 0.002, or <0.001."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
