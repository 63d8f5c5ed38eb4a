"""Test images that are among the train images: exactly, or nearly by a perceptual hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ce.data.imageset import ImageSet
from ssl_ce.errors import UserError
from ssl_ce.files import cache_dir, digest, read_json, write_text

THRESHOLD = 4
"""Most bits of 64 in which near duplicates differ. How it was chosen: docs/protocols.md, "Leakage"."""

_VERSION = 1  # of the counts in the cache; a change of what is counted raises it
_SIDE = 32  # of the grey image that is transformed
_LOW = 8  # frequencies a side that are kept: 8 x 8 bits
_FLAT = 2.0  # standard deviation in grey levels below which an image has no structure to hash
_PIXELS = 1 << 22  # read at once
_ROWS = 8  # test images compared at once: the block of distances stays in the processor's cache
_PAIRS = 20

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Duplicates:
    """How many test images are among the train images.

    Attributes
    ----------
    exact
        Test images whose pixels are those of a train image.
    near
        Test images that are not, and whose hash differs from a train image's in `threshold` bits or fewer.
    threshold
        `THRESHOLD`.
    pairs
        (test image, its nearest train image, bits that differ; -1 for exact) of the first 20, by test image.
    """

    exact: int
    near: int
    threshold: int
    pairs: tuple[tuple[int, int, int], ...]

    def __bool__(self) -> bool:
        return self.exact + self.near > 0

    def counts(self) -> dict[str, int]:
        """What a record says of them."""
        return {"exact": self.exact, "near": self.near, "threshold": self.threshold}


def find_duplicates(train: ImageSet, test: ImageSet, advance: Advance | None = None) -> Duplicates:
    """The test images that are among the train images. Found once for the two sets, then read from the cache.

    An image that is almost of one grey is compared exactly only: its hash would be noise.

    Parameters
    ----------
    advance
        Called with the number of images read, for progress.

    Raises
    ------
    UserError
        If a set is not packed.
    """
    for images in (train, test):
        if images.size is None:
            raise UserError(f"The images of '{images.name}' have no common size. Pack them first (ce data pack).")
    key = digest(str(_VERSION), str(THRESHOLD), train.fingerprint, test.fingerprint)
    path = cache_dir() / "duplicates" / f"{key}.json"
    if (kept := _read(path)) is not None:
        return kept
    result = _find(train, test, advance)
    write_text(path, json.dumps(asdict(result)) + "\n")
    return result


def perceptual_hash(images: Tensor) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """pHash of uint8 images (n, 3, h, w): uint64 (n,), and bool (n,), whether there is structure to hash.

    Grey, averaged down to 32 x 32, cosine transform (DCT-II), the 8 x 8 lowest frequencies; a bit is whether one is
    above their median. Two hashes differ in an even number of bits.
    """
    from scipy.fft import dct  # long to import, and read from the cache what was found before

    grey = images[:, 0].float().mul_(0.299).add_(images[:, 1], alpha=0.587).add_(images[:, 2], alpha=0.114)
    small = _averages(images.shape[2]) @ grey @ _averages(images.shape[3]).T
    cosines = torch.from_numpy(dct(np.eye(_SIDE), axis=0)[:_LOW]).float()
    low = (cosines @ small @ cosines.T).flatten(1)
    bits = low > low.median(dim=1, keepdim=True).values
    structured = small.flatten(1).std(dim=1, correction=0) >= _FLAT
    return np.packbits(bits.numpy(), axis=1).view(np.uint64)[:, 0], structured.numpy()


def _read(path: Path) -> Duplicates | None:
    """What was found before; None if it was not, or its file is damaged and has to be made anew."""
    try:
        found = read_json(path)
        return Duplicates(**{**found, "pairs": tuple((int(a), int(b), int(bits)) for a, b, bits in found["pairs"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _find(train: ImageSet, test: ImageSet, advance: Advance | None) -> Duplicates:
    train_exact, train_hashes, train_structured = _hashes(train, advance)
    test_exact, test_hashes, test_structured = _hashes(test, advance)
    first: dict[bytes, int] = {}
    for place, pixels in enumerate(train_exact):
        first.setdefault(pixels, place)
    pairs = {place: (first[pixels], -1) for place, pixels in enumerate(test_exact) if pixels in first}
    exact = len(pairs)
    places = np.flatnonzero(train_structured)
    others = np.array([place for place in np.flatnonzero(test_structured) if place not in pairs], dtype=np.int64)
    for row, nearest, bits in _within(test_hashes[others], train_hashes[places]):
        pairs[int(others[row])] = (int(places[nearest]), bits)
    shown = tuple((place, *pairs[place]) for place in sorted(pairs)[:_PAIRS])
    return Duplicates(exact, len(pairs) - exact, THRESHOLD, shown)


def _within(queries: NDArray[np.uint64], base: NDArray[np.uint64]) -> Iterator[tuple[int, int, int]]:
    """(query, its nearest in `base`, bits that differ) of the queries that have one within `THRESHOLD` bits."""
    for start in range(0, len(queries) if len(base) else 0, _ROWS):
        distances = np.bitwise_count(queries[start : start + _ROWS, None] ^ base)
        for row in np.flatnonzero(distances.min(axis=1) <= THRESHOLD):
            nearest = int(distances[row].argmin())
            yield start + int(row), nearest, int(distances[row, nearest])


def _hashes(images: ImageSet, advance: Advance | None) -> tuple[list[bytes], NDArray[np.uint64], NDArray[np.bool_]]:
    """Of each image: a hash of its pixels, its perceptual hash, and whether that means something."""
    assert images.size is not None
    batch = max(1, _PIXELS // (images.size[0] * images.size[1]))
    exact: list[bytes] = []
    hashes, structured = np.empty(len(images), np.uint64), np.empty(len(images), np.bool_)
    for start in range(0, len(images), batch):
        stop = min(start + batch, len(images))
        pixels = images.read(np.arange(start, stop))
        exact += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels.numpy()]
        hashes[start:stop], structured[start:stop] = perceptual_hash(pixels)
        if advance is not None:
            advance(stop - start)
    return exact, hashes, structured


def _averages(size: int) -> Tensor:
    """The matrix that averages `size` values in a row down (or repeats them up) to 32: float32 (32, size)."""
    edges = np.arange(_SIDE + 1) * size / _SIDE
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return torch.from_numpy(np.clip(overlap, 0, None) * _SIDE / size).float()
