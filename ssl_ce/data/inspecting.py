"""An image set as its headers show it: counts, classes, native sizes, unreadable files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ssl_ce.data.decode import Unreadable, native_size, quiet_pillow
from ssl_ce.data.opening import find_dataset, read_source
from ssl_ce.data.options import DataOptions
from ssl_ce.data.source import Source

if TYPE_CHECKING:
    from ssl_ce.data.imageset import Task

# Headers that are read of one split; beyond, evenly spaced images stand for all.
_EXAMINED = 10_000


@dataclass(frozen=True)
class SplitInfo:
    """What one split holds.

    Attributes
    ----------
    class_counts
        Images of each class, in the order of `classes` (with several classes to an image, each is counted).
    sizes
        (height, width) of the smallest, the median and the largest image by area; empty if none can be read.
    examined
        Images whose header was read.
    unreadable
        "path: reason" of those of them that cannot be read. A cut-off file shows only when it is decoded.
    ignored
        Files that are not images.
    """

    split: str
    task: Task
    n: int
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    examined: int
    unreadable: tuple[str, ...]
    ignored: int


def inspect_split(reference: str, split: str, options: DataOptions) -> SplitInfo:
    """What `split` of the dataset or folder `reference` holds. Raises `UserError` like `open_set`."""
    source = read_source(find_dataset(reference), reference, split, options)
    spaced = np.linspace(0, len(source) - 1, min(len(source), _EXAMINED))
    chosen = np.unique(spaced.round().astype(int)).tolist()
    sizes, unreadable = _read_headers(source, chosen, options.workers or os.cpu_count() or 1)
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    three = (by_area[0], by_area[(len(by_area) - 1) // 2], by_area[-1]) if by_area else ()
    return SplitInfo(
        split=split,
        task=source.task,
        n=len(source),
        classes=source.classes,
        class_counts=_count(source),
        sizes=three,
        examined=len(chosen),
        unreadable=tuple(unreadable),
        ignored=source.ignored,
    )


def _read_headers(source: Source, indices: Sequence[int], workers: int) -> tuple[list[tuple[int, int]], list[str]]:
    def look(index: int) -> tuple[int, int] | str:
        try:
            return native_size(source.images[index])
        except Unreadable as reason:
            return f"{source.label(index)}: {reason}"

    with quiet_pillow(), ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(look, indices))
    sizes = [size for size in found if not isinstance(size, str)]
    return sizes, [text for text in found if isinstance(text, str)]


def _count(source: Source) -> tuple[int, ...]:
    if source.targets is None:
        return ()
    if source.targets.ndim == 2:
        return tuple((source.targets == 1).sum(axis=0).tolist())
    return tuple(np.bincount(source.targets, minlength=len(source.classes)).tolist())
