"""What the tests of faults share: a small disk of its own, and a pretraining that is long enough to be disturbed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ssl_ce.pretraining.recipe import Recipe, make_recipe

DISK_MB = 6


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB, in memory. Needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def fill_up(disk: Path) -> Callable[..., Path]:
    """`fill_up(leave=65536)` takes all of the disk but so many bytes; delete the file it returns to have it back."""

    def fill(leave: int) -> Path:
        ballast, page = disk / "ballast", 4096
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(page)):
                    pass
            except OSError:
                file.truncate(file.tell() // page * page - leave)
        return ballast

    return fill


@pytest.fixture
def make_read_only(disk: Path) -> Callable[[], None]:
    """`make_read_only()` lets nobody write to the disk any more, root included."""
    return lambda: subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True) and None


@pytest.fixture
def short_recipe() -> Recipe:
    """12 steps of an adversarial context encoder on digits, saved every 5."""
    small: dict[str, Any] = {"kind": "dcgan", "width": 0.1}
    return make_recipe(
        {
            "method": {
                "name": "context-encoder",
                "size": 32,
                "encoder": {"name": "dcgan", "width": 0.1},
                "decoder": small,
                "adversarial": {"weight": 0.01, "width": 0.1},
            },
            "data": {"source": "digits"},
            "optim": {"batch_size": 16, "steps": 12},
            "log": {
                "every": 1,
                "checkpoint_every": 5,
                "samples_every": 0,
                "online_every": 0,
                "tensorboard": False,
            },
        },
        "the test's recipe",
    )
