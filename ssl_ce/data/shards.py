"""Sharded sets: encoded images in tar archives, decoded when they are read; the data may be larger than the disk."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.decode import Unreadable, decode, fit_square
from ssl_ce.data.imageset import Indices, Task
from ssl_ce.data.options import Fit
from ssl_ce.data.packing import Subset, rows_of
from ssl_ce.data.shards_fetching import WrongShardError
from ssl_ce.data.shards_files import ShardFiles
from ssl_ce.data.shards_index import ShardIndex
from ssl_ce.files import digest
from ssl_ce.randomness import sample_keys

WINDOW = 4
"""Shards that an epoch mixes with each other before it goes on to the next ones."""


class _Way:
    """The shards in the order in which they are met, and the windows of them that were fetched ahead."""

    def __init__(self, route: NDArray[np.int64]) -> None:
        self.route = route
        self.announced: set[int] = set()


class ShardedImages:
    """An image set in WebDataset shards (the `ImageSet` contract). `ssl_ce.data.open_set` opens one.

    Parameters
    ----------
    members
        Of each image, its place in its shard, its length and its targets: int64 (n, 2 + columns).
    size, fit
        The squares that `read` returns.
    source
        How the set was asked for.
    workers
        Threads that decode; the number of CPU cores by default.
    """

    def __init__(
        self,
        index: ShardIndex,
        members: NDArray[np.int64],
        files: ShardFiles,
        size: int,
        fit: Fit,
        source: dict[str, Any],
        workers: int | None = None,
    ) -> None:
        self.index = index
        self.name = index.name
        self.split = index.split
        self.task: Task = index.task
        self.classes = index.classes
        self.fingerprint = digest(index.fingerprint, str(size), fit)
        self.size: tuple[int, int] | None = (size, size)
        self.source = source
        self._members = members
        self._files = files
        self._side, self._fit = size, fit
        self._workers = workers
        self._ends = np.cumsum([shard.images for shard in index.shards])
        self._way = _Way(np.arange(len(index.shards)))

    def __len__(self) -> int:
        return self.index.n

    def read(self, indices: Indices) -> Tensor:
        """Images as uint8 (n, 3, size, size), on the CPU, decoded by threads.

        Raises
        ------
        IndexError
            Beyond the set.
        DataLostError
            If a shard is not there any more, or not the one that was indexed, or an image in it cannot be decoded.
        """
        rows = rows_of(indices, len(self))
        shards = np.searchsorted(self._ends, rows, side="right")
        self._fetch_ahead(shards)
        found = np.empty((len(rows), 3, self._side, self._side), dtype=np.uint8)

        def work(place: int) -> None:
            found[place] = self._decode(int(rows[place]), int(shards[place]))

        for _ in self._pool.map(work, range(len(rows))):
            pass
        return torch.from_numpy(found)

    def read_one(self, index: int) -> Tensor:
        """One image at the size that `read` returns: uint8 (3, size, size)."""
        return self.read([index])[0]

    def targets(self, indices: Indices | None = None) -> NDArray[np.int64]:
        """Targets of `indices` (all when None): int64 (n,) classes, (n, classes) multilabel, (n, 0) none."""
        chosen = self._members[:, 2:] if indices is None else self._members[rows_of(indices, len(self)), 2:]
        return np.array(chosen[:, 0] if self.index.columns is None else chosen)

    def subset(self, indices: Indices, split: str) -> Subset:
        """The images at `indices`, in that order, as an image set of their own that is called `split`."""
        return Subset(self, indices, split)

    def order(self, seed: int, epoch: int) -> Tensor:
        """The order of an epoch, in which few shards are needed at a time: a permutation, int64 (n,).

        The shards are shuffled; the images of `WINDOW` of them at a time are shuffled with each other.
        """
        route = self._route(seed, epoch)
        window = torch.empty_like(route)
        window[route] = torch.arange(len(route)) // WINDOW
        images = torch.tensor([shard.images for shard in self.index.shards])
        shuffled = torch.argsort(sample_keys(seed, epoch, torch.arange(len(self)), "order"), stable=True)
        return shuffled[torch.argsort(torch.repeat_interleave(window, images)[shuffled], stable=True)]

    def enter_epoch(self, seed: int, epoch: int) -> None:
        """From now on the images are read in the `order` of this epoch: what is fetched ahead follows it."""
        self._way = _Way(self._route(seed, epoch).numpy())

    def _route(self, seed: int, epoch: int) -> Tensor:
        """The shards in the order in which an epoch meets them: int64 (shards,)."""
        count = len(self.index.shards)
        return torch.argsort(sample_keys(seed, epoch, torch.arange(count), "shards"), stable=True)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers or os.cpu_count() or 1, "shards")

    def _decode(self, row: int, shard: int) -> NDArray[np.uint8]:
        offset, length = self._members[row, :2].tolist()
        try:
            return fit_square(decode(BytesIO(self._files.read(shard, offset, length))), self._side, self._fit)
        except Unreadable as reason:
            place = self._files.places[shard]
            raise WrongShardError(f"Image {row} of {self.name}, in {place}, cannot be decoded: {reason}.") from reason

    def _fetch_ahead(self, shards: NDArray[np.int64]) -> None:
        """The first time that a window is read, have the next one fetched."""
        way = self._way
        windows = np.flatnonzero(np.isin(way.route, shards)) // WINDOW
        if not len(windows) or windows[-1] - windows[0] > 1:  # not the epoch's order: held-out images, for example
            return
        following = int(windows[-1]) + 1
        if following not in way.announced:
            way.announced.add(following)
            route = way.route[(following - 1) * WINDOW : (following + 1) * WINDOW].tolist()
            self._files.fetch_ahead(route[WINDOW:], in_use=route[:WINDOW])
