"""Randomness as a pure function: a counter-based integer hash instead of generators with state.

A *key* is an int64 that stands for (seed, epoch, sample index, purpose). Everything random about one sample is
computed from its key, batched and on any device, so it never depends on rank, batch size, device or worker.
The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014), written in int64 arithmetic that wraps around; only its 24 highest bits become floats,
which makes `uniform` exact and equal on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_ce.seeds import mix, purpose_number

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def sample_keys(seed: int, epoch: int, indices: Tensor, purpose: str) -> Tensor:
    """Keys of the samples `indices` (int64, (n,)) in `epoch`, for one `purpose` ("hole", "crop"): int64 (n,)."""
    keys = torch.full_like(indices, _purpose_number(purpose), dtype=torch.int64)
    for number in (seed, epoch):
        keys = _mix(keys + _signed((number + 1) * _GAMMA))
    return _mix(keys + (indices.to(torch.int64) + 1) * _GAMMA)


def fold(keys: Tensor, purpose: str | int) -> Tensor:
    """New keys, independent of `keys` (int64, any shape), for a part of the work that `purpose` names."""
    number = purpose if isinstance(purpose, int) else _purpose_number(purpose)
    return _mix(keys ^ _mix_number(number))


def uniform(keys: Tensor, *shape: int) -> Tensor:
    """Independent uniform numbers in [0, 1) for each key: float32 `(n, *shape)`, multiples of 2⁻²⁴."""
    return _bits(keys, shape).float() * 2.0**-24


def integers(keys: Tensor, low: int, high: int | Tensor, *shape: int) -> Tensor:
    """Independent integers in [low, high), `high` an int or an int64 tensor that broadcasts: int64 `(n, *shape)`."""
    return low + ((_bits(keys, shape) * (high - low)) >> 24)


def normal(keys: Tensor, *shape: int) -> Tensor:
    """Independent standard normal numbers for each key: float32 `(n, *shape)` (Box and Muller, 1958)."""
    radius = (-2.0 * torch.log1p(-uniform(fold(keys, "radius"), *shape))).sqrt()
    return radius * torch.cos(2.0 * torch.pi * uniform(fold(keys, "angle"), *shape))


def sample_order(seed: int, epoch: int, count: int) -> Tensor:
    """The order of `count` samples in `epoch`: a permutation, int64 (count,), on the CPU."""
    keys = sample_keys(seed, epoch, torch.arange(count), "order")
    return torch.argsort(keys, stable=True)


def _bits(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The 24 highest bits of one hash for each (key, position): int64 `(n, *shape)`."""
    count = 1
    for side in shape:
        count *= side
    counters = torch.arange(1, count + 1, device=keys.device, dtype=torch.int64) * _GAMMA
    return _shift_right(_mix(keys.reshape(-1, 1) + counters), 40).reshape(keys.shape[0], *shape)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift_right(z, 30)) * _MIX_1
    z = (z ^ _shift_right(z, 27)) * _MIX_2
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, by: int) -> Tensor:
    """Logical shift: torch shifts int64 arithmetically, so the copied sign bits are masked away."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _mix_number(number: int) -> int:
    return _signed(mix(number & 0xFFFF_FFFF_FFFF_FFFF))


def _purpose_number(purpose: str) -> int:
    return _signed(purpose_number(purpose))


def _signed(number: int) -> int:
    number &= 0xFFFF_FFFF_FFFF_FFFF
    return number - (1 << 64) if number >= 1 << 63 else number
