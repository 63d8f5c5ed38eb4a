"""Images of a packed file by their numbers, read such that a file that fails is an error and not the end."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_ce.errors import DataLostError


class Rows:
    """The images that lie one after another in a file.

    They are read, not memory-mapped: the kernel kills a process (SIGBUS) that touches a mapped page of a file that was
    cut off or whose disk fails. The file stays open, so that it may even be deleted meanwhile.

    Parameters
    ----------
    start
        Where the first lies, in bytes.
    shape
        Of one: (3, height, width).
    """

    def __init__(self, path: Path, start: int, shape: tuple[int, ...]) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._start = start
        self._shape = shape
        self._length = int(np.prod(shape))

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Those called `numbers`, int64 (n,), in that order: uint8 (n, *shape).

        Raises
        ------
        DataLostError
            If the file is cut off, or cannot be read.
        """
        found = np.empty((len(numbers), *self._shape), dtype=np.uint8)
        if not len(numbers):
            return found
        into = found.reshape(-1).data
        # Neighbours are read in one go.
        edges = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
        for first, end in pairwise(edges):
            self._fill(into[first * self._length : end * self._length], int(numbers[first]))
        return found

    def _fill(self, into: memoryview, number: int) -> None:
        place = self._start + number * self._length
        while into:
            try:
                count = os.preadv(self._file.fileno(), [into], place)
            except OSError as error:
                raise self._lost(error.strerror or str(error)) from error
            if count == 0:
                raise self._lost("it was cut off after it was opened")
            into, place = into[count:], place + count

    def _lost(self, why: str) -> DataLostError:
        return DataLostError(f"The packed file {self._path} cannot be read any more: {why}. Restore it and run again.")
