"""How an image set is asked for: size, fit, split seed, where its files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ssl_ce.errors import UserError
from ssl_ce.files import cache_dir, expanded

Fit = Literal["crop", "squash", "pad"]
FITS: tuple[Fit, ...] = get_args(Fit)

MOST_SIZE = 8192
"""The longest side of packed images, in pixels."""


@dataclass(frozen=True)
class DataOptions:
    """How an image set is asked for.

    Attributes
    ----------
    size
        Side of the packed images in pixels. A packed file has its own: asking for another is an error.
    default_size
        Side where `size` is None and the reference is no packed file: a network's input size, say. None: the
        dataset's own (digits 32), 128 for folders.
    fit
        How an image becomes a square. "crop": the shorter side is resized to `size`, then the centre is cut
        out. "squash": both sides are resized. "pad": the longer side is resized, black is added around it.
    seed, test_share
        The split of what comes without one: `test_share` of each class becomes the test split, by `seed`. It also
        decides which images `?count=N` after a reference keeps.
    data_root, download
        Where registered datasets lie (`datasets` in the cache directory by default); whether to fetch them.
    allow_unreadable
        Go on where more than 1 % of the images cannot be read.
    cache
        Where packed sets are kept; `packed` below `ssl_ce.files.cache_dir()` by default.
    workers
        Threads that decode; the number of CPU cores by default.
    progress
        Show what is done on stderr.
    """

    size: int | None = None
    default_size: int | None = None
    fit: Fit = "crop"
    seed: int = 0
    test_share: float = 0.2
    data_root: Path | None = None
    download: bool = False
    allow_unreadable: bool = False
    cache: Path | None = None
    workers: int | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        for size in (self.size, self.default_size):
            if size is not None and not 1 <= size <= MOST_SIZE:
                raise UserError(f"The size of packed images is a number of pixels from 1 to {MOST_SIZE}, not {size}.")
        if self.fit not in FITS:
            raise UserError(f"There is no fit '{self.fit}': choose one of {', '.join(FITS)}.")
        if not 0.0 < self.test_share < 1.0:
            raise UserError(f"The test share must lie between 0 and 1; {self.test_share} does not.")

    def folder(self) -> Path:
        """Where the files of registered datasets lie."""
        return expanded(self.data_root) if self.data_root is not None else cache_dir() / "datasets"

    def cache_folder(self) -> Path:
        """Where packed sets are kept."""
        return self.cache if self.cache is not None else cache_dir() / "packed"
