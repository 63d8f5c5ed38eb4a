"""GIST, the spatial envelope (Oliva and Torralba, IJCV 42(3), 2001), after the authors' LMgist.m."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_ce.descriptors.resizing import area_mean, context_of, resize_bilinear, smooth_fill
from ssl_ce.references import check_flag, check_whole, identity_of, reference_of

_SCALES, _ORIENTATIONS, _GRID = 4, 8, 4
_BORDER = 32  # pixels the prefiltered image is mirrored by before the Gabor filters
_PREFILTER_BORDER, _PREFILTER_CUTOFF = 5, 4.0  # pixels; cycles per image
_NEGLIGIBLE = 1e-7  # gains below this are outside a filter's band
_PLANES_AT_ONCE = 4  # keeps the temporaries in the processor's cache


@dataclass
class Gist:
    """Mean magnitudes of 32 Gabor filters (4 scales x 8 orientations) over a 4 x 4 grid of the image.

    The image is resized to `side` x `side` (antialiased bilinear), stretched to [0, 255], and its local contrast is
    normalised (`prefilt`: log, high-pass at 4 cycles per image, division by the local standard deviation + 0.2).
    Dimensions run over channels, filters (finest scale first, orientations within), rows and columns of the grid.

    With holes the missing pixels are first continued smoothly from the context (`smooth_fill`), so that the edge of
    the hole is no edge of the image, and a cell is the mean over its context; one wholly missing takes the mean over
    the whole context.

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
        """uint8 (n, 3, h, w), holes None or bool (n, 1, h, w), True = missing -> float32 (n, dim), values >= 0."""
        images, context = context_of(images, holes)
        parts = [
            self._describe(
                images[at : at + _PLANES_AT_ONCE], None if context is None else context[at : at + _PLANES_AT_ONCE]
            )
            for at in range(0, len(images), _PLANES_AT_ONCE)
        ]
        return torch.cat(parts) if parts else torch.empty(0, self.dim(*images.shape[2:]))

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity

    def _describe(self, images: Tensor, context: Tensor | None) -> Tensor:
        values = images.float()
        if context is not None:
            values = smooth_fill(values, context)
            context = area_mean(context, self.side, self.side)
        if not self.color:
            values = values.mean(1, keepdim=True)
        contrast = normalize_contrast(_stretch(resize_bilinear(values, self.side, self.side)))
        weights = None if context is None else context.repeat_interleave(values.shape[1], 0)
        return _grid_of_magnitudes(contrast.flatten(0, 1), weights).reshape(len(images), -1)


class Band(NamedTuple):
    """A filter's transfer function where it is not negligible: a rectangle of the centred spectrum."""

    rows: slice
    columns: slice
    gain: Tensor


def normalize_contrast(values: Tensor) -> Tensor:
    """LMgist's `prefilt`: float (n, c, s, s) in [0, 255] -> float (n, c, s, s), of about unit local deviation."""
    side = values.shape[-1]
    mirrored = _mirror(values.log1p(), _PREFILTER_BORDER)
    size = mirrored.shape[-1]
    rows, columns = torch.fft.fftfreq(size) * size, torch.fft.rfftfreq(size) * size
    gain = torch.exp(-(rows[:, None] ** 2 + columns**2) * math.log(2) / _PREFILTER_CUTOFF**2)

    def low_pass(x: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * gain, s=(size, size))

    details = mirrored - low_pass(mirrored)
    deviation = low_pass(details.mean(1, keepdim=True).square()).abs().sqrt()
    inside = slice(_PREFILTER_BORDER, _PREFILTER_BORDER + side)
    return (details / (0.2 + deviation))[..., inside, inside]


@lru_cache(maxsize=4)
def gabor_bands(size: int) -> tuple[Band, ...]:
    """LMgist's `createGabor` for images of `size` x `size`: 32 filters, finest scale first, orientations within."""
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
            rows, columns = (_extent((gain > _NEGLIGIBLE).any(axis)) for axis in (1, 0))
            bands.append(Band(rows, columns, torch.from_numpy(gain[rows, columns]).float()))
    return tuple(bands)


def _grid_of_magnitudes(planes: Tensor, weights: Tensor | None) -> Tensor:
    """Mean magnitude of each filter in each cell: (n, s, s), weights (n, 1, s, s) -> (n, 32, 4, 4).

    Only the modulus of a response is wanted, and moving a filter's band to the origin of the spectrum changes only
    its phase. So each band alone is transformed, zero-padded, first along the axis where it is narrower, and the
    mirrored border is cut off before the second axis.
    """
    side = planes.shape[-1]
    mirrored = _mirror(planes, _BORDER)
    size = mirrored.shape[-1]
    spectrum = torch.fft.fftshift(torch.fft.fft2(mirrored), dim=(-2, -1))
    magnitudes = torch.empty(len(planes), _SCALES * _ORIENTATIONS, side, side)
    for at, (rows, columns, gain) in enumerate(gabor_bands(size)):
        first, second = (-2, -1) if gain.shape[1] <= gain.shape[0] else (-1, -2)
        response = spectrum[:, rows, columns] * gain
        for axis in (first, second):
            response = torch.fft.ifft(response, n=size, dim=axis).narrow(axis, _BORDER, side)
        magnitudes[:, at] = torch.view_as_real(response).square().sum(-1).sqrt()
    return area_mean(magnitudes, _GRID, _GRID, weights)


def _stretch(values: Tensor) -> Tensor:
    """Each image's values stretched to [0, 255]; an image of one value is all 0."""
    low, high = values.amin((1, 2, 3), keepdim=True), values.amax((1, 2, 3), keepdim=True)
    return 255.0 * (values - low) / (high - low).clamp(min=1e-6)


def _mirror(values: Tensor, border: int) -> Tensor:
    """`border` pixels more on every side, mirrored with the edge repeated (MATLAB's `symmetric`)."""
    places = torch.from_numpy(np.pad(np.arange(values.shape[-1]), border, mode="symmetric"))
    return values[..., places, :][..., places]


def _extent(used: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> slice:
    """From the first to the last True."""
    places = np.flatnonzero(used)
    return slice(int(places[0]), int(places[-1]) + 1)
