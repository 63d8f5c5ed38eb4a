"""Structural similarity of two images: the SSIM map (Wang et al., 2004) and MS-SSIM (Wang et al., 2003)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

SCALES = 5
_RADIUS = 5
_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
_C1, _C2 = 0.01**2, 0.03**2

MS_SSIM_SIDE: int = (2 * _RADIUS + 1) * 2 ** (SCALES - 1)
"""Sides in pixels below which the window of 11 pixels does not fit into the coarsest of the five scales: 176."""


def _gaussian() -> Values:
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / 1.5) ** 2)
    return np.asarray(weights / weights.sum())


_WINDOW = _gaussian()


def ssim_maps(first: Values, second: Values, border: int = cv2.BORDER_REFLECT) -> tuple[Values, Values]:
    """SSIM at each pixel, and its second factor alone, which compares contrast and structure.

    Wang et al., IEEE TIP 13(4), 2004: a Gaussian window of sigma 1.5 and 11 x 11 pixels, K1 = 0.01, K2 = 0.03, each
    channel apart. The first map equals `skimage.metrics.structural_similarity(...,
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, full=True)`.

    Parameters
    ----------
    first, second
        float64 (c, h, w) in [0, 1].
    border
        How images go on beyond their borders, one of OpenCV's ways: mirrored.

    Returns
    -------
    two float64 (c, h, w)
        Values in [-1, 1]; exactly 1 where the windows are equal.
    """
    mean_1, mean_2 = _blur(first, border), _blur(second, border)
    product, squares = mean_1 * mean_2, mean_1 * mean_1 + mean_2 * mean_2
    covariance = _blur(first * second, border) - product
    variances = _blur(first * first + second * second, border) - squares
    structure = (2 * covariance + _C2) / (variances + _C2)
    return (2 * product + _C1) / (squares + _C1) * structure, structure


def ms_ssim(first: Values, second: Values, structure: Values | None = None) -> float:
    """MS-SSIM of two images (Wang et al., Asilomar 2003), with the paper's five scales and weights.

    Each scale halves the last by 2 x 2 means. Equal to torchmetrics'
    `multiscale_structural_similarity_index_measure(..., data_range=1.0)`: a scale's factor is a mean over channels and
    pixels, at the coarsest scale over all of them (borders mirrored at the outermost pixels' centres), else over those
    whose whole window lies in the image; below 0 it counts as 0.

    Parameters
    ----------
    first, second
        float64 (c, h, w) in [0, 1], both sides at least `MS_SSIM_SIDE`.
    structure
        The second of `ssim_maps(first, second)`, where that is known already.
    """
    factors = []
    for scale in range(SCALES - 1):
        if scale > 0 or structure is None:
            structure = ssim_maps(first, second)[1]
        factors.append(structure[:, _RADIUS:-_RADIUS, _RADIUS:-_RADIUS].mean())
        first, second = _halved(first), _halved(second)
    factors.append(ssim_maps(first, second, cv2.BORDER_REFLECT_101)[0].mean())
    return float(np.prod(np.maximum(factors, 0.0) ** _WEIGHTS))


def _blur(image: Values, border: int) -> Values:
    return np.stack([cv2.sepFilter2D(plane, -1, _WINDOW, _WINDOW, borderType=border) for plane in image])


def _halved(image: Values) -> Values:
    channels, height, width = image.shape
    even = image[:, : height // 2 * 2, : width // 2 * 2]
    halved: Values = even.reshape(channels, height // 2, 2, width // 2, 2).mean((2, 4))
    return halved
