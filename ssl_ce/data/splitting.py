"""Train and test splits of what comes without: stratified, a function of the seed and the images' names."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ssl_ce.files import digest


def split_by_seed(
    names: Sequence[str], labels: NDArray[np.int64], test_count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of train and of test, each ascending. Labels are class numbers (all 0 where there are none).

    Each class gives its proportional share of `test_count` (largest remainders are rounded up), and keeps at
    least one image for train. Within a class the images are taken in the order of a hash of (seed, name), so
    that an image that joins the folder leaves the others where they are, but for the few that make room.
    """
    classes, counts = np.unique(labels, return_counts=True)
    quotas = [Fraction(int(count) * test_count, len(names)) for count in counts]
    shares = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(classes)), key=lambda c: (shares[c] - quotas[c], c))
    for c in by_remainder[: test_count - sum(shares)]:
        shares[c] += 1
    test = np.zeros(len(names), dtype=bool)
    for label, count, share in zip(classes, counts, shares, strict=True):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=lambda i: digest(str(seed), names[i]))
        test[members[: min(share, int(count) - 1)]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)
