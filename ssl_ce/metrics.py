"""How good a fill is, for each image, over the region that is scored. Values in [0, 1], float64 throughout.

Two conventions of PSNR are in use and differ: the *mean of the per-image PSNR* (the mean of `psnr` below;
what most papers print) and the *PSNR of the mean L2* (`psnr_from_l2(l2.mean())`), which large errors
dominate. By Jensen's inequality the first is never below the second. State which one a number is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ssl_ce.errors import UserError
from ssl_ce.images import as_holes, as_images

PSNR_CAP = 100.0
"""dB given to a fill without error, whose PSNR would be infinite."""

_IMAGES_AT_ONCE = 32
_SIGMA, _TRUNCATE = 1.5, 3.5  # pixels; sigmas
_K1, _K2 = 0.01, 0.03


def hole_metrics(filled: Any, truth: Any, region: Any) -> dict[str, NDArray[np.float64]]:
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
        [0, 1]. "psnr": dB, `psnr_from_l2(l2)`, at most `PSNR_CAP`. "ssim": the SSIM map (Wang et al., IEEE
        TIP 13(4), 2004: Gaussian window of sigma 1.5, each channel apart) of the whole images, averaged over
        the region and channels.

    Raises
    ------
    UserError
        If shapes or types differ, or a region is empty.
    """
    filled, truth = as_images(filled), as_images(truth)
    if filled.shape != truth.shape:
        raise UserError(f"Filled images {tuple(filled.shape)} and true ones {tuple(truth.shape)} differ in shape.")
    region = as_holes(region, truth)
    if not bool(region.flatten(1).any(1).all()):
        raise UserError("A region to score is empty. Give each image at least one pixel to score.")
    parts = [
        _metrics(*(x[at : at + _IMAGES_AT_ONCE].cpu() for x in (filled, truth, region)))
        for at in range(0, len(truth), _IMAGES_AT_ONCE)
    ]
    return {
        name: np.concatenate([part[name] for part in parts] or [np.empty(0)]) for name in ("l1", "l2", "psnr", "ssim")
    }


def psnr_from_l2(l2: ArrayLike) -> NDArray[np.float64]:
    """PSNR in dB of mean squared errors of values in [0, 1], elementwise: -10 log10(l2), at most
    `PSNR_CAP`."""
    floor = 10.0 ** (-PSNR_CAP / 10.0)
    return np.asarray(-10.0 * np.log10(np.maximum(np.asarray(l2, dtype=np.float64), floor)))


def ssim_map(first: Tensor, second: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """SSIM of float64 images (n, c, h, w) in [0, 1] at some `rows` and `columns` (int64): (n, c, rows,
    columns).

    Equal to `skimage.metrics.structural_similarity(..., gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1, full=True)`, whose blur with mirrored borders is here one
    matrix for each axis.
    """
    down, right = _blur(first.shape[2])[rows], _blur(first.shape[3])[columns].T

    def blur(x: Tensor) -> Tensor:
        return down @ x @ right

    mean_1, mean_2 = blur(first), blur(second)
    variance_1 = blur(first * first) - mean_1 * mean_1
    variance_2 = blur(second * second) - mean_2 * mean_2
    covariance = blur(first * second) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + _K1**2) / (mean_1 * mean_1 + mean_2 * mean_2 + _K1**2)
    return luminance * (2 * covariance + _K2**2) / (variance_1 + variance_2 + _K2**2)


def _metrics(filled: Tensor, truth: Tensor, region: Tensor) -> dict[str, NDArray[np.float64]]:
    x, y = filled.double() / 255.0, truth.double() / 255.0
    l1, l2 = _mean_over((x - y).abs(), region), _mean_over((x - y).square(), region)
    rows, columns = (region.any(0).any(0).any(axis).nonzero()[:, 0] for axis in (1, 0))
    ssim = _mean_over(ssim_map(x, y, rows, columns), region[:, :, rows][..., columns])
    return {"l1": l1, "l2": l2, "psnr": psnr_from_l2(l2), "ssim": ssim}


def _mean_over(values: Tensor, region: Tensor) -> NDArray[np.float64]:
    sums = (values * region).sum((1, 2, 3)) / (values.shape[1] * region.sum((1, 2, 3)))
    result: NDArray[np.float64] = sums.numpy()
    return result


@lru_cache(maxsize=8)
def _blur(size: int) -> Tensor:
    """The Gaussian blur along one axis, borders mirrored, as a matrix: float64 (size, size)."""
    return torch.from_numpy(gaussian_filter1d(np.eye(size), _SIGMA, axis=0, mode="reflect", truncate=_TRUNCATE))
