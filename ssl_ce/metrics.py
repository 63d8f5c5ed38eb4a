"""How good a fill is, for each image: over its hole, at the hole's edge, and over the whole image.

Values are in [0, 1], float64 throughout. Two conventions of PSNR are in use and differ: the *mean of the
per-image PSNR* (the mean of `psnr` below; what most papers print) and the *PSNR of the mean L2*
(`psnr_from_l2(l2.mean())`), which large errors dominate. By Jensen's inequality the first is never below the
second. State which one a number is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ce.errors import UserError
from ssl_ce.images import as_holes, as_images
from ssl_ce.ssim import MS_SSIM_SIDE, ms_ssim, ssim_maps

Values = NDArray[np.float64]

PSNR_CAP = 100.0
"""dB given to a fill without error, whose PSNR would be infinite."""


def hole_metrics(filled: Any, truth: Any, region: Any) -> dict[str, Values]:
    """L1, L2, PSNR and SSIM of each image over its region.

    Parameters
    ----------
    filled, truth
        uint8 (n, 3, h, w).
    region
        bool (n, 1, h, w), True = scored: the hole, or what is predicted (`ssl_ce.holes.predicted_region`).

    Returns
    -------
    dict of float64 (n,)
        "l1", "l2": mean absolute and mean squared error over the region's pixels and channels, of values in
        [0, 1]. "psnr": dB, `psnr_from_l2(l2)`, at most `PSNR_CAP`. "ssim": the SSIM map
        (`ssl_ce.ssim.ssim_maps`) of the whole images, averaged over the region and channels.

    Raises
    ------
    UserError
        If shapes or types differ, or a region is empty.
    """

    def scores(given: Values, true: Values, inside: NDArray[np.bool_]) -> dict[str, float]:
        return _over((given - true)[:, inside], ssim_maps(given, true)[0][:, inside])

    return _each(scores, filled, truth, region, ("l1", "l2", "psnr", "ssim"))


def fill_metrics(filled: Any, truth: Any, holes: Any) -> dict[str, Values]:
    """Everything that is measured of a completed image against the true one.

    Parameters
    ----------
    filled, truth
        uint8 (n, 3, h, w).
    holes
        bool (n, 1, h, w), True = missing.

    Returns
    -------
    dict of float64 (n,)
        "l1", "l2", "psnr" and "ssim" over the hole, as `hole_metrics` has them; "image_l1", "image_l2", "image_psnr"
        and "image_ssim", the same over the whole image. "seam": of the step from a missing pixel to a known one among
        its four neighbours, |step in the fill - step in the truth|, the mean over all such pairs and channels; NaN
        where nothing is known. "image_ms_ssim" (`ssl_ce.ssim.ms_ssim`) only for images of at least 176 pixels a side.

    Raises
    ------
    UserError
        If shapes or types differ, or nothing is missing from an image.
    """
    truth = as_images(truth)
    names = ["l1", "l2", "psnr", "ssim", "seam", "image_l1", "image_l2", "image_psnr", "image_ssim"]
    multiscale = has_ms_ssim((truth.shape[2], truth.shape[3]))

    def scores(given: Values, true: Values, hole: NDArray[np.bool_]) -> dict[str, float]:
        error = given - true
        ssim, structure = ssim_maps(given, true)
        found = _over(error[:, hole], ssim[:, hole]) | {"seam": _seam(error, hole)}
        found |= {f"image_{name}": value for name, value in _over(error, ssim).items()}
        return found | ({"image_ms_ssim": ms_ssim(given, true, structure)} if multiscale else {})

    return _each(scores, filled, truth, holes, [*names, "image_ms_ssim"] if multiscale else names)


def has_ms_ssim(size: tuple[int, int]) -> bool:
    """Whether the five scales of MS-SSIM fit into images of (height, width)."""
    return min(size) >= MS_SSIM_SIDE


def psnr_from_l2(l2: ArrayLike) -> Values:
    """PSNR in dB of mean squared errors of values in [0, 1], elementwise: -10 log10(l2), at most
    `PSNR_CAP`."""
    floor = 10.0 ** (-PSNR_CAP / 10.0)
    return np.asarray(-10.0 * np.log10(np.maximum(np.asarray(l2, dtype=np.float64), floor)))


def _each(
    scores: Callable[[Values, Values, NDArray[np.bool_]], dict[str, float]],
    filled: Any,
    truth: Any,
    region: Any,
    names: Sequence[str],
) -> dict[str, Values]:
    """`scores` of one image after another, as arrays: of values (3, h, w) in [0, 1] and a region (h, w)."""
    filled, truth = as_images(filled), as_images(truth)
    if filled.shape != truth.shape:
        raise UserError(f"Filled images {tuple(filled.shape)} and true ones {tuple(truth.shape)} differ in shape.")
    region = as_holes(region, truth)
    if not bool(region.flatten(1).any(1).all()):
        raise UserError("A region to score is empty. Give each image at least one pixel to score.")
    rows = [
        scores(given / 255.0, true / 255.0, inside[0])
        for given, true, inside in zip(*(x.cpu().numpy() for x in (filled, truth, region)), strict=True)
    ]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in names}


def _over(error: Values, ssim: Values) -> dict[str, float]:
    """The four metrics, of all errors and SSIM values given."""
    l2 = float(np.square(error).mean())
    return {
        "l1": float(np.abs(error).mean()),
        "l2": l2,
        "psnr": float(psnr_from_l2(l2)),
        "ssim": float(ssim.mean()),
    }


def _seam(error: Values, hole: NDArray[np.bool_]) -> float:
    """The mean change of the error from a missing pixel to a known one beside, above or below it."""
    across, down = hole[:, 1:] != hole[:, :-1], hole[1:] != hole[:-1]
    steps = [(error[:, :, 1:] - error[:, :, :-1])[:, across], (error[:, 1:] - error[:, :-1])[:, down]]
    changes = np.abs(np.concatenate(steps, axis=1))
    return float(changes.mean()) if changes.size else float("nan")
