"""Whether a hole mixes classes: what is missing shows several things, or one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.data.labels import UNLABELLED
from ssl_ce.data.packing import label_maps_of
from ssl_ce.errors import UserError

MOSTLY = 0.9
"""A hole of whose labelled pixels one class covers at least this share shows that class."""

KNOWN = 0.5
"""A hole of whose pixels fewer than this share are labelled is not known to mix or not."""


def mixes(test: ImageSet, indices: Tensor, holes: Tensor) -> NDArray[np.float64] | None:
    """Whether each hole mixes classes: float64 (n,), 1.0 or 0.0; None where the images have no label maps.

    NaN where it is not known: too few of its pixels are labelled, or the image's map cannot be read. A list of classes
    that cannot be read is an error (`UserError`).

    Parameters
    ----------
    indices
        int64 (n,), places in `test`.
    holes
        bool (n, 1, h, w), True = missing.
    """
    maps = label_maps_of(test)
    if maps is None or not maps.are_numbers():
        return None
    _ = maps.classes
    found = np.full(len(indices), np.nan)
    for place, (index, hole) in enumerate(zip(indices.tolist(), holes.cpu(), strict=True)):
        try:
            under = maps.read([index])[hole].numpy()
        except UserError:
            continue
        labelled = under[under != UNLABELLED]
        if len(labelled) > 0 and len(labelled) >= KNOWN * len(under):
            found[place] = float(np.bincount(labelled).max() < MOSTLY * len(labelled))
    return found
