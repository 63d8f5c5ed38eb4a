"""What is measured of completed images, and how it becomes the metrics of a record."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce import __version__
from ssl_ce.metrics import fill_metrics, has_ms_ssim, psnr_from_l2
from ssl_ce.records.record import Metric
from ssl_ce.records.statistics import bootstrap_of_mean, mean_metric
from ssl_ce.rings import l1_by_ring
from ssl_ce.ssim import MS_SSIM_SIDE

Values = NDArray[np.float64]

METRICS = (
    "psnr", "l1", "l2", "ssim", "psnr_of_mean_l2", "seam",
    "image_psnr", "image_l1", "image_l2", "image_ssim", "image_psnr_of_mean_l2", "image_ms_ssim", "lpips", "fid",
)  # fmt: skip
"""Names of all metrics of a fill: over the hole, at its edge, over the whole image."""

_OF_MEAN = "psnr_of_mean_l2"
_HIGHER_IS_BETTER = ("psnr", "ssim", "ms_ssim")


def outcomes_of(filled: Tensor, truth: Tensor, holes: Tensor) -> dict[str, Values]:
    """Numbers of single images, float64 (n,): metrics, then how much is missing and the error by distance.

    Images are uint8 (n, 3, h, w), holes bool (n, 1, h, w), True = missing. "missing" is the missing share of an image.
    """
    missing: Values = holes.double().mean((1, 2, 3)).numpy()
    return fill_metrics(filled, truth, holes) | {"missing": missing} | l1_by_ring(filled, truth, holes)


def metrics_of(outcomes: dict[str, Values], of_the_set: dict[str, float], seed: int) -> dict[str, Metric]:
    """The metrics, in the order of `METRICS`: means of outcomes, and numbers of the set of images as a whole."""
    found: dict[str, Metric] = {}
    for name in METRICS:
        if name in outcomes:
            better = name.removeprefix("image_") in _HIGHER_IS_BETTER
            found[name] = mean_metric(outcomes[name], seed=seed, higher_is_better=better)
        elif name.endswith(_OF_MEAN):
            found[name] = _psnr_of_mean(outcomes[name.replace(_OF_MEAN, "l2")], seed)
        elif name in of_the_set:
            found[name] = Metric(value=of_the_set[name], higher_is_better=False)
    return found


def notes_of(size: tuple[int, int], implementations: dict[str, str]) -> dict[str, Any]:
    """What a record says of its metrics: whose implementation each is, and why one is not there."""
    multiscale = has_ms_ssim(size)
    others = [name for name in METRICS if name not in ("lpips", "fid") and (multiscale or name != "image_ms_ssim")]
    notes: dict[str, Any] = {"implementations": {", ".join(others): f"ssl-ce {__version__}", **implementations}}
    if not multiscale:
        notes["image_ms_ssim"] = (
            f"left out: its five scales need at least {MS_SSIM_SIDE} pixels a side, these images have "
            f"{size[0]} x {size[1]}"
        )
    return notes


def _psnr_of_mean(l2: Values, seed: int) -> Metric:
    if len(l2) < 2:
        return Metric(value=float(psnr_from_l2(l2.mean())))
    of_mean = bootstrap_of_mean(l2, psnr_from_l2, seed=seed)
    return Metric(value=of_mean.value, low=of_mean.low, high=of_mean.high, spread="bootstrap over test images")
