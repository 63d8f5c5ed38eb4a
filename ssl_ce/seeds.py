"""Seeds of libraries' own generators: the integer hash of `randomness`, for one number and without torch."""

from __future__ import annotations

import hashlib

_WORD = (1 << 64) - 1


def derive_seed(seed: int, purpose: str) -> int:
    """A non-negative 63-bit seed for a library's own generator, one for each `purpose`."""
    return mix((seed & _WORD) ^ mix(purpose_number(purpose))) & (_WORD >> 1)


def purpose_number(purpose: str) -> int:
    """A 64-bit number that stands for `purpose`, unsigned."""
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")


def mix(z: int) -> int:
    """The finaliser of SplitMix64 of an unsigned 64-bit number."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return z ^ (z >> 31)
