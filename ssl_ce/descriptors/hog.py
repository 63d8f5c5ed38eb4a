"""Histograms of oriented gradients (Dalal and Triggs, CVPR 2005), batched, equal to scikit-image's `hog`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_ce.descriptors.resizing import context_of
from ssl_ce.errors import UserError
from ssl_ce.references import check_whole, identity_of, reference_of

_PIXELS_AT_ONCE = 1 << 15  # in cache, and so few that torch opens no threads within one of ours


@dataclass
class Hog:
    """Equal to `skimage.feature.hog(image, orientations, (cell, cell), (block, block), "L2-Hys",
    channel_axis=-1)`.

    At each pixel the channel of the largest gradient counts, unsigned, with its magnitude, hard-binned.
    Pixels beyond the last whole cell are left out, as there. Images keep their size, which decides `dim`.

    With holes, gradients that touch a missing pixel (the pixel or one of its four neighbours) are left out of
    the histograms, and blocks are normalised as usual: a cell wholly under a hole is zero.

    Parameters
    ----------
    cell
        Side of a cell in pixels.
    block
        Side of a block in cells; blocks overlap, at a stride of one cell.
    orientations
        Bins over 180 degrees.
    """

    cell: int = 8
    block: int = 2
    orientations: int = 9
    name: str = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        check_whole("hog", "cell", self.cell, 1, 256)
        check_whole("hog", "block", self.block, 1, 16)
        check_whole("hog", "orientations", self.orientations, 1, 180)
        self.name = reference_of("hog", self)
        self.identity = identity_of("hog", 1, self)

    def dim(self, height: int, width: int) -> int:
        """`blocks * block² * orientations`. `UserError` where not one block fits into the image."""
        rows, columns = height // self.cell - self.block + 1, width // self.cell - self.block + 1
        if rows < 1 or columns < 1:
            least = self.block * self.cell
            raise UserError(
                f"'{self.name}' needs images of at least {least} x {least} pixels, not {height} x {width}. "
                f"Choose a smaller cell, as in hog?cell={max(1, min(height, width) // self.block // 2)}."
            )
        return rows * columns * self.block**2 * self.orientations

    def describe(self, images: Tensor, holes: Tensor | None = None) -> Tensor:
        """uint8 (n, 3, h, w), holes None or bool (n, 1, h, w), True = missing -> float32 (n, dim), values in
        [0, 1]."""
        images, context = context_of(images, holes)
        n, _, height, width = images.shape
        dim = self.dim(height, width)
        step = max(1, _PIXELS_AT_ONCE // (height * width))
        starts = range(0, n, step)
        contexts = [None if context is None else context[at : at + step] for at in starts]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            parts = list(pool.map(self._describe, (images[at : at + step] for at in starts), contexts))
        return torch.cat(parts) if parts else torch.empty(0, dim)

    def state_hash(self) -> str:
        """There is no state: the identity."""
        return self.identity

    def _describe(self, images: Tensor, context: Tensor | None) -> Tensor:
        down, right, power = _strongest_gradient(images)
        if context is not None:
            power = power * _untouched(context)
        cells = self._cell_histograms(down, right, power.sqrt())
        blocks = cells.unfold(1, self.block, 1).unfold(2, self.block, 1).permute(0, 1, 2, 4, 5, 3).flatten(3)
        blocks = _unit(_unit(blocks).clamp(max=0.2))
        return blocks.flatten(1)

    def _cell_histograms(self, down: Tensor, right: Tensor, magnitude: Tensor) -> Tensor:
        """Mean votes for each cell and orientation: float32 (n, rows, columns, orientations)."""
        n, height, width = magnitude.shape
        rows, columns = height // self.cell, width // self.cell
        inside = (slice(None), slice(rows * self.cell), slice(columns * self.cell))
        pairs = (down[inside] * 511 + right[inside] + 255 * 512).int()
        bins = _bins(self.orientations).index_select(0, pairs.flatten()).view(n, -1)
        places = bins + _cell_offsets(rows, columns, self.cell, self.orientations)
        votes = torch.zeros(n, rows * columns * self.orientations)
        votes.scatter_add_(1, places, magnitude[inside].flatten(1))
        return votes.view(n, rows, columns, self.orientations) / self.cell**2


def _strongest_gradient(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Central differences down and right of the channel with the largest magnitude (the first of equals), and
    the squared magnitude: float32 (n, h, w) each, whole numbers. Zero at the borders, as in scikit-image."""
    n, channels, height, width = images.shape
    down, right = torch.zeros(2, n, height, width).unbind()
    strongest_down, strongest_right, strongest = torch.zeros(3, n, height, width).unbind()
    for channel in range(channels):
        x = images[:, channel].float()
        torch.sub(x[:, 2:], x[:, :-2], out=down[:, 1:-1])
        torch.sub(x[..., 2:], x[..., :-2], out=right[..., 1:-1])
        power = torch.mul(down, down, out=x).addcmul_(right, right)
        stronger = (power > strongest).float()  # 0 or 1, where lerp is exact, and faster than where()
        strongest_down.lerp_(down, stronger)
        strongest_right.lerp_(right, stronger)
        torch.maximum(strongest, power, out=strongest)
    return strongest_down, strongest_right, strongest


def _untouched(context: Tensor) -> Tensor:
    """1 where a pixel and its four neighbours are known, else 0: float32 (n, h, w)."""
    padded = F.pad(context[:, 0], (1, 1, 1, 1), value=1.0)
    return context[:, 0] * padded[:, :-2, 1:-1] * padded[:, 2:, 1:-1] * padded[:, 1:-1, :-2] * padded[:, 1:-1, 2:]


def _unit(blocks: Tensor) -> Tensor:
    return blocks / (blocks.square().sum(-1, keepdim=True) + 1e-5**2).sqrt()


@lru_cache(maxsize=8)
def _bins(orientations: int) -> Tensor:
    """The orientation bin of every pair of whole-number differences in [-255, 255]: int64 (511 * 511,),
    `down` slowest.

    Looked up rather than computed, by scikit-image's own double-precision expression, so that an angle on the
    edge of two bins falls to the same side.
    """
    difference = np.arange(-255.0, 256.0)
    degrees = np.rad2deg(np.arctan2(difference[:, None], difference[None, :])) % 180
    edges = 180.0 / orientations * np.arange(1, orientations + 1)
    return torch.from_numpy(np.searchsorted(edges, degrees.ravel(), side="right").clip(max=orientations - 1))


@lru_cache(maxsize=8)
def _cell_offsets(rows: int, columns: int, cell: int, orientations: int) -> Tensor:
    """Where the histogram of each pixel's cell begins: int64 (rows * cell * columns * cell,)."""
    down = torch.arange(rows * cell) // cell * columns
    right = torch.arange(columns * cell) // cell
    return ((down[:, None] + right[None, :]) * orientations).flatten()
