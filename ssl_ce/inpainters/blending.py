"""How a region of another photograph comes into a hole: pasted as it is, or with its gradients only."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

# Called as blend(image, hole, source): uint8 (3, h, w), bool (1, h, w), True = missing, uint8 (3, h, w) -> uint8
# (3, h, w). What stands under the hole in `image` is not looked at; what is not under it comes back bit for bit.
Blend = Callable[[Tensor, Tensor, Tensor], Tensor]

_NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))
# `cv2.seamlessClone` erodes its mask by 3 pixels, and takes the steps between pixels of what is left from the source.
# With one pixel more the steps across the seam are the source's.
_ERODED = 4


def paste(image: Tensor, hole: Tensor, source: Tensor) -> Tensor:
    """The pixels of `source` as they are. See `Blend`."""
    return torch.where(hole, source, image)


def poisson(image: Tensor, hole: Tensor, source: Tensor) -> Tensor:
    """The gradients of `source`, continued from the colours around the hole. See `Blend`.

    Solves Poisson's equation with the context as boundary values, each channel on its own; the image's own border is
    free (Pérez, Gangnet and Blake, "Poisson image editing", SIGGRAPH 2003, equation 7). Rounded, and cut to [0, 255].
    """
    missing = hole[0].numpy()
    known = np.where(missing, 0.0, image.permute(1, 2, 0).numpy().transpose(2, 0, 1))
    wanted = _divergence(source.numpy().astype(np.float64)) + _from_context(known, missing)
    solved = _solver(missing.tobytes(), missing.shape).solve(wanted[:, missing].T).T
    result = image.clone()
    result[:, hole[0]] = torch.from_numpy(np.rint(solved).clip(0, 255).astype(np.uint8))
    return result


def seamless_clone(image: Tensor, hole: Tensor, source: Tensor) -> Tensor:
    """OpenCV's `seamlessClone` (the same paper). See `Blend`.

    It keeps the colours on the border of the hole's bounding box, not those around the hole: for holes that are no
    rectangles a seam remains, which `poisson` does not have.
    """
    margin = _ERODED + 2
    pasted, other, missing = (
        np.pad(values, ((margin, margin), (margin, margin), *[(0, 0)] * (values.ndim - 2)), mode)  # type: ignore[call-overload]
        for values, mode in (
            (paste(image, hole, source).permute(1, 2, 0).numpy(), "edge"),
            (source.permute(1, 2, 0).numpy(), "edge"),
            (hole[0].numpy().astype(np.uint8) * 255, "constant"),
        )
    )
    mask = cv2.dilate(missing, np.ones((3, 3), np.uint8), iterations=_ERODED)
    left, top, width, height = cv2.boundingRect(mask)
    centre = (left + width // 2, top + height // 2)
    cloned = cv2.seamlessClone(other, pasted, mask, centre, cv2.NORMAL_CLONE)[margin:-margin, margin:-margin]
    return torch.where(hole, torch.from_numpy(np.ascontiguousarray(cloned.transpose(2, 0, 1))), image)


BLENDS: dict[str, Blend] = {"paste": paste, "poisson": poisson, "seamless-clone": seamless_clone}
"""The ways to fill a hole from another photograph, by name."""


def _neighbour(values: NDArray[np.float64], down: int, right: int, beyond: float) -> NDArray[np.float64]:
    """For each pixel its neighbour's value, `beyond` where the image ends: (..., h, w) -> the same."""
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(1, 1), (1, 1)], constant_values=beyond)
    height, width = values.shape[-2:]
    return padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _divergence(source: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of each pixel's differences from its neighbours within the image: (3, h, w) -> (3, h, w)."""
    steps = (source - _neighbour(source, *place, np.nan) for place in _NEIGHBOURS)
    return np.asarray(sum(np.nan_to_num(step) for step in steps))


def _from_context(known: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The sum of each pixel's known neighbours: (3, h, w), 0 where missing; bool (h, w) -> (3, h, w)."""
    return np.asarray(sum(_neighbour(known, *place, 0.0) for place in _NEIGHBOURS))


@lru_cache(maxsize=4)
def _solver(missing: bytes, shape: tuple[int, int]) -> SuperLU:
    """The factorised equations of a hole: as many rows as pixels are missing, in the order of the mask."""
    hole = np.frombuffer(missing, np.bool_).reshape(shape)
    numbers = np.full(shape, -1.0)
    numbers[hole] = np.arange(hole.sum())
    own = numbers[hole].astype(np.int64)
    within = np.ones(shape)
    degree = np.asarray(sum(_neighbour(within, *place, 0.0) for place in _NEIGHBOURS))[hole]
    rows, columns, values = [own], [own], [degree]
    for place in _NEIGHBOURS:
        other = _neighbour(numbers, *place, -1.0)[hole].astype(np.int64)
        rows.append(own[other >= 0])
        columns.append(other[other >= 0])
        values.append(np.full(len(rows[-1]), -1.0))
    matrix = csc_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))))
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
