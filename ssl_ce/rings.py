"""Where in a hole the error lies: by the distance to the nearest context pixel."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ssl_ce.images import as_holes, as_images

_LAST = (1, 2, 4, 8, 16, 32)
RINGS = ("l1_ring_1", "l1_ring_2", "l1_ring_3_4", "l1_ring_5_8", "l1_ring_9_16", "l1_ring_17_32", "l1_ring_33")
"""Names of the rings: the distances in pixels that belong to each; the last is open."""


def l1_by_ring(filled: Any, truth: Any, holes: Any) -> dict[str, NDArray[np.float64]]:
    """Mean absolute error of each image over the pixels of each ring.

    A hole's pixel belongs to a ring by its Euclidean distance to the nearest pixel of the context, between centres
    and rounded up. What lies beyond the image's border is not context.

    Parameters
    ----------
    filled, truth
        uint8 (n, 3, h, w).
    holes
        bool (n, 1, h, w), True = missing.

    Returns
    -------
    {ring: float64 (n,)}
        For each of `RINGS`, values in [0, 1]; NaN for an image that has no such pixel, and for one without context.
    """
    filled, truth = as_images(filled).cpu().numpy(), as_images(truth).cpu()
    places, truth = as_holes(holes, truth).cpu().numpy()[:, 0], truth.numpy()
    found = np.full((len(truth), len(RINGS)), np.nan)
    for row, given, true, hole in zip(found, filled, truth, places, strict=True):
        ring = _ring_of(hole.tobytes(), hole.shape)
        error = np.abs(given[:, hole].astype(np.int64) - true[:, hole]).sum(0)
        counts = np.bincount(ring, minlength=len(RINGS))
        sums = np.bincount(ring, error, len(RINGS))
        there = counts[: len(RINGS)] > 0
        row[there] = sums[: len(RINGS)][there] / (counts[: len(RINGS)][there] * len(true) * 255.0)
    return {name: found[:, number] for number, name in enumerate(RINGS)}


@lru_cache(maxsize=64)
def _ring_of(hole: bytes, shape: tuple[int, int]) -> NDArray[np.int64]:
    """The ring of each missing pixel, row by row; many images share a hole. Beyond all rings without context."""
    missing = np.frombuffer(hole, bool).reshape(shape)
    if missing.all():
        return np.full(missing.size, len(RINGS))
    distances = distance_transform_edt(missing)[missing]
    ring: NDArray[np.int64] = np.searchsorted(_LAST, distances)
    return ring
