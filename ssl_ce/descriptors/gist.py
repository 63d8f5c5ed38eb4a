"""GIST, the spatial envelope (Oliva and Torralba, IJCV 42(3), 2001), after the authors' LMgist.m."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from ssl_ce.descriptors.resizing import area_mean, context_of, resize_bilinear, smooth_fill
from ssl_ce.references import check_flag, check_whole, identity_of, reference_of

_SCALES, _ORIENTATIONS, _GRID = 4, 8, 4
_BORDER = 32  # pixels the prefiltered image is mirrored by before the Gabor filters
_PREFILTER_BORDER, _PREFILTER_CUTOFF = 5, 4.0  # pixels; cycles per image
_NEGLIGIBLE = 1e-7  # gains below this are outside a filter's band
_IMAGES_AT_ONCE = 64  # bounds memory

Floats = NDArray[np.float32]


@dataclass
class Gist:
    """Mean magnitudes of 32 Gabor filters (4 scales x 8 orientations) over a 4 x 4 grid of the image.

    The image is resized to `side` x `side` (antialiased bilinear), stretched to [0, 255], and its local
    contrast is normalised (`prefilt`: log, high-pass at 4 cycles per image, division by the local standard
    deviation + 0.2). Dimensions run over channels, filters (finest scale first, orientations within), rows
    and columns of the grid.

    With holes the missing pixels are first continued smoothly from the context (`smooth_fill`), so that the
    edge of the hole is no edge of the image, and a cell is the mean over its context; one wholly missing
    takes the mean over the whole context.

    Parameters
    ----------
    side
        Side in pixels at which images are filtered, a multiple of 4.
    color
        Describe red, green and blue each (1,536 dimensions) instead of their mean (512).
    """

    side: int = 128
    color: bool = False
    name: str = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        check_whole("gist", "side", self.side, 16, 512, multiple=_GRID)
        check_flag("gist", "color", self.color)
        self.name = reference_of("gist", self)
        self.identity = identity_of("gist", 1, self)

    def dim(self, height: int, width: int) -> int:
        """512, or 1,536 in colour, whatever the images' size."""
        return (3 if self.color else 1) * _SCALES * _ORIENTATIONS * _GRID**2

    def describe(self, images: Tensor, holes: Tensor | None = None) -> Tensor:
        """uint8 (n, 3, h, w), holes None or bool (n, 1, h, w), True = missing -> float32 (n, dim), values >=
        0."""
        images, context = context_of(images, holes)
        result = torch.empty(len(images), self.dim(*images.shape[2:]))
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for at in range(0, len(images), _IMAGES_AT_ONCE):
                part = slice(at, at + _IMAGES_AT_ONCE)
                values, weights = self._resized(images[part], None if context is None else context[part])
                for place, grids in enumerate(pool.map(_envelope, values, weights), start=at):
                    result[place] = torch.from_numpy(grids.ravel())
        return result

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity

    def _resized(self, images: Tensor, context: Tensor | None) -> tuple[Floats, list[Floats | None]]:
        """Images (n, c, side, side), stretched to [0, 255], and each one's weights (side, side), the share of
        context."""
        values = images.float()
        weights: list[Floats | None] = [None] * len(images)
        if context is not None:
            values = smooth_fill(values, context)
            weights = list(area_mean(context, self.side, self.side)[:, 0].numpy())
        if not self.color:
            values = values.mean(1, keepdim=True)
        return _stretch(resize_bilinear(values, self.side, self.side)).numpy(), weights


class Band(NamedTuple):
    """A filter's transfer function where it is not negligible: a rectangle of the centred spectrum."""

    rows: slice
    columns: slice
    gain: NDArray[np.complex64]


def normalize_contrast(values: Floats) -> Floats:
    """LMgist's `prefilt`: float32 (c, s, s) in [0, 255] -> float32 (c, s, s), of about unit local
    deviation."""
    mirrored = _mirror(np.log1p(values), _PREFILTER_BORDER)
    size = mirrored.shape[-1]
    rows, columns = np.fft.fftfreq(size, 1 / size), np.fft.rfftfreq(size, 1 / size)
    radius = np.hypot(rows[:, None], columns)
    gain = np.exp(-math.log(2) * (radius / _PREFILTER_CUTOFF) ** 2).astype(np.float32)
    gain = gain[:, : _extent(gain[0] > _NEGLIGIBLE).stop]

    def low_pass(x: Floats) -> Floats:
        spectrum = fft.fft(fft.rfft(x)[..., : gain.shape[1]], axis=-2)
        smooth: Floats = fft.irfft(fft.ifft(spectrum * gain, axis=-2), size)
        return smooth

    details = mirrored - low_pass(mirrored)
    deviation = np.sqrt(np.abs(low_pass(details.mean(0, keepdims=True) ** 2)))
    inside = slice(_PREFILTER_BORDER, -_PREFILTER_BORDER)
    return (details / (0.2 + deviation))[:, inside, inside].astype(np.float32)


@lru_cache(maxsize=4)
def gabor_bands(size: int) -> tuple[Band, ...]:
    """LMgist's `createGabor` for images of `size` x `size`: 32 filters, finest scale first, orientations
    within."""
    frequency = np.arange(-size // 2, size // 2)
    right, down = np.meshgrid(frequency, frequency)
    radius, angle = np.hypot(right, down) / size, np.arctan2(down, right)
    bands = []
    for scale in range(_SCALES):
        radial = 3.5 * (radius / (0.3 / 1.85**scale) - 1) ** 2
        for orientation in range(_ORIENTATIONS):
            turned = angle + math.pi * orientation / _ORIENTATIONS
            turned -= 2 * math.pi * (turned > math.pi)
            gain = np.exp(-radial - 2 * math.pi * (16 * _ORIENTATIONS**2 / 32**2) * turned**2)
            rows, columns = (_extent(gain.max(axis) > _NEGLIGIBLE) for axis in (1, 0))
            bands.append(Band(rows, columns, gain[rows, columns].astype(np.complex64)))
    return tuple(bands)


@lru_cache(maxsize=4)
def _centring(size: int) -> NDArray[np.complex64]:
    """1 and -1 in turn, (size, size): what an image is multiplied by for its spectrum to be centred."""
    sign = 1 - 2 * (np.arange(size) % 2)
    return np.outer(sign, sign).astype(np.complex64)


def _envelope(values: Floats, weights: Floats | None) -> Floats:
    """One image (c, s, s) in [0, 255] -> mean magnitude of each filter in each cell (c, 32, 4, 4).

    Only the modulus of a response is wanted, inside of the mirrored border. Each band alone is put into a spectrum of
    zeros and transformed whole: OpenCV's transform is faster than others are that leave out the zeros and the border.
    """
    mirrored = _mirror(normalize_contrast(values), _BORDER)
    size = mirrored.shape[-1]
    spectrum = mirrored * _centring(size)
    for plane in spectrum:
        cv2.dft(_pairs(plane), _pairs(plane), cv2.DFT_SCALE)
    side, cell = size - 2 * _BORDER, (size - 2 * _BORDER) // _GRID
    inside = slice(_BORDER, _BORDER + side)
    filtered, response = np.zeros((2, size, size), np.complex64)
    magnitude = np.empty((side, side), np.float32)
    strips = np.empty((len(spectrum), _SCALES * _ORIENTATIONS, _GRID, side), np.float32)
    for number, (rows, columns, gain) in enumerate(gabor_bands(size)):
        band = filtered[rows, columns]
        for channel, plane in enumerate(spectrum):
            np.multiply(plane[rows, columns], gain, out=band)
            cv2.dft(_pairs(filtered), _pairs(response), cv2.DFT_INVERSE)
            np.abs(response[inside, inside], out=magnitude)
            if weights is not None:
                magnitude *= weights
            np.add.reduce(magnitude.reshape(_GRID, cell, side), axis=1, out=strips[channel, number])
        band[:] = 0
    sums: Floats = strips.reshape(*strips.shape[:-1], _GRID, cell).sum(-1)
    if weights is None:
        return sums / np.float32(cell**2)
    totals = weights.reshape(_GRID, cell, _GRID, cell).sum((1, 3))
    everywhere = sums.sum((-2, -1), keepdims=True) / max(totals.sum(), 1e-12)
    means: Floats = np.where(totals > 0, sums / np.maximum(totals, 1e-12), everywhere)
    return means


def _pairs(values: NDArray[np.complex64]) -> Floats:
    """Complex numbers (h, w) as OpenCV's two channels (h, w, 2), in place."""
    return values.view(np.float32).reshape(*values.shape, 2)


def _stretch(values: Tensor) -> Tensor:
    """Each image's values stretched to [0, 255]; an image of one value is all 0."""
    low, high = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
    return 255.0 * (values - low) / (high - low).clamp(min=1e-6)


def _mirror(values: Floats, border: int) -> Floats:
    """`border` pixels more on every side, mirrored with the edge repeated (MATLAB's `symmetric`)."""
    places = np.pad(np.arange(values.shape[-1]), border, mode="symmetric")
    mirrored: Floats = values.take(places, axis=-1).take(places, axis=-2)
    return mirrored


def _extent(used: NDArray[np.bool_]) -> slice:
    """From the first to the last True."""
    places = np.flatnonzero(used)
    return slice(int(places[0]), int(places[-1]) + 1)
