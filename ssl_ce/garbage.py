"""Python's search for garbage, put off while there is none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for reference cycles within: thousands of records are millions of objects, and none is garbage.

    Python would look through all of them again and again, which takes longer than reading and printing them.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
