"""glibc's allocator while training on a CPU: freed memory is kept for the next step."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt's parameters and their defaults (malloc.h).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_MAX: 65536}


@contextmanager
def kept_memory() -> Iterator[None]:
    """Inside, large blocks come from the heap, and the heap does not shrink; afterwards it does again.

    By default each tensor above 32 MiB is a mapping of its own, whose pages the kernel clears anew at every step: a
    fifth of the time of the public code's centre training, with its 33 million weights on either side of the
    bottleneck (benchmarks/speed/pretraining.py --each). It takes a few percent more memory. Where there is no glibc
    nothing happens.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        for parameter, value in _DEFAULTS.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
