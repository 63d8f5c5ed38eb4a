"""Which labels a fit sees and which are held out: functions of labels and seed alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_ce.errors import UserError
from ssl_ce.randomness import sample_keys

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers, ascending: what a fit sees, and what it is judged on."""

    fit: Rows
    held_out: Rows


def draw_labels(labels: Rows, per_class: int, seed: int, draw: int) -> Rows:
    """`per_class` rows of each class in labels (n,), drawn without replacement: ascending row numbers."""
    ranks, _ = _shuffled_ranks(labels, seed, draw, "labels drawn")
    return np.flatnonzero(ranks < per_class)


def draw_share(labels: Rows, share: float, seed: int, draw: int) -> Rows:
    """`share` of the rows of labels (n,), the same number of each class: ascending row numbers.

    They are `draw_labels`' own: the draw of a share is that of so many labels a class.

    Raises
    ------
    UserError
        If this is less than one label a class, or more than the rarest class has.
    """
    counts = np.bincount(labels)
    per_class = round(share * len(labels) / len(counts))
    if per_class < 1:
        raise UserError(
            f"share={share:g} of {len(labels)} train images is less than one label for each of {len(counts)} classes. "
            f"Take at least share={math.ceil(100 * len(counts) / len(labels)) / 100:g}."
        )
    if per_class > counts.min():
        raise UserError(
            f"share={share:g} of {len(labels)} train images is {per_class} labels a class, and the rarest class has "
            f"{counts.min()}. Take a smaller share, or all (share=1)."
        )
    return draw_labels(labels, per_class, seed, draw)


def held_out_split(labels: Rows, share: float, seed: int, draw: int = 0) -> Split:
    """Hold out `share` of each class, at least one row and never all."""
    ranks, counts = _shuffled_ranks(labels, seed, draw, "held out")
    quota = np.clip(np.rint(share * counts), 1, np.maximum(counts - 1, 1))
    held_out = ranks < quota[labels]
    return Split(np.flatnonzero(~held_out), np.flatnonzero(held_out))


def stratified_folds(labels: Rows, folds: int, seed: int, draw: int = 0) -> list[Split]:
    """`folds` splits, each row held out once; classes and their remainders are spread evenly."""
    ranks, counts = _shuffled_ranks(labels, seed, draw, "folds")
    before = np.cumsum(counts) - counts
    fold = (ranks + before[labels]) % folds
    return [Split(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(folds)]


def _shuffled_ranks(labels: Rows, seed: int, draw: int, purpose: str) -> tuple[Rows, Rows]:
    """The place of each row in a random order of its class, (n,), and the size of each class, (classes,)."""
    keys = sample_keys(seed, draw, torch.arange(len(labels)), f"linear-probe {purpose}").numpy()
    order = np.lexsort((keys, labels))
    counts = np.bincount(labels)
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks, counts
