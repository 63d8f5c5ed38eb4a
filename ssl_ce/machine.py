"""What this machine lets a process have: cores and memory, within the limits of its control groups (containers)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_PROC, _CONTROL_GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
# The limit, what is in use, and a prefix in memory.stat: of version 2, and of version 1.
_MEMORY_FILES = (
    ("memory.max", "memory.current", ""),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)
# No limit is a number too in version 1: close to 2^63.
_NO_LIMIT = 1 << 60


def usable_cores() -> float:
    """Cores that this process may run on, or the share of them that its control groups grant (1.5)."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for folder in _groups():
        with suppress(OSError, ValueError):  # "max 100000" where nothing is limited
            quota, period = (folder / "cpu.max").read_text().split()
            cores = min(cores, int(quota) / int(period))
        quota_of, period_of = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota_of is not None and period_of is not None and quota_of > 0:
            cores = min(cores, quota_of / period_of)
    return cores


def memory_limit() -> int | None:
    """Bytes that the processes of this control group may hold; None where nothing is limited."""
    return min((limit for limit, _ in _limits()), default=None)


def available_memory() -> int | None:
    """Bytes that can still be taken before something is put out; None where the system (other than Linux) cannot tell.

    What the kernel calls available, or what is left of a control group's limit where that is less. Cached files count
    as free.
    """
    free = _kib(_PROC / "meminfo", "MemAvailable")
    return None if free is None else min([1024 * free, *(max(0, limit - used) for limit, used in _limits())])


def private_memory() -> int | None:
    """Bytes of this process's data segment, what `RLIMIT_DATA` bounds; None where the system cannot tell."""
    data = _kib(_PROC / "self/status", "VmData")
    return None if data is None else 1024 * data


def _limits() -> list[tuple[int, int]]:
    """(limit, bytes in use without cached files) of each control group that this process is in."""
    found = []
    for folder in _groups():
        for most, now, prefix in _MEMORY_FILES:
            limit, used = _number(folder / most), _number(folder / now)
            if limit is not None and used is not None and limit < _NO_LIMIT:
                cached = sum(_stat(folder / "memory.stat", f"{prefix}{kind}_file") for kind in ("active", "inactive"))
                found.append((limit, used - cached))
    return found


def _groups() -> list[Path]:
    """Folders of this process's control groups, of versions 1 and 2, and of the groups that hold them."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: dict[Path, None] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = _CONTROL_GROUPS / controllers
        own = root / path.lstrip("/")
        found |= {folder: None for folder in (own, *own.parents) if folder.is_relative_to(root)}
    return list(found)


def _kib(path: Path, name: str) -> int | None:
    """The number behind "name:" in one of the kernel's lists."""
    with suppress(OSError, StopIteration, ValueError):
        return int(next(line for line in path.read_text().splitlines() if line.startswith(f"{name}:")).split()[1])
    return None


def _stat(path: Path, name: str) -> int:
    """The number behind "name " in a control group's list; 0 where there is none."""
    with suppress(OSError, StopIteration, ValueError):
        return int(next(line for line in path.read_text().splitlines() if line.startswith(f"{name} ")).split()[1])
    return 0


def _number(path: Path) -> int | None:
    """What a control group's file says; None for "max", and where there is no such file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
