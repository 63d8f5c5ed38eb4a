"""Memory and cores as the kernel's files state them, made here as two kinds of containers have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssl_ce import machine

GIB = 1 << 30


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`kernel({"proc/meminfo": text, "cgroup/...": text})` makes these the kernel's files."""

    def make(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(machine, "_PROC", tmp_path / "proc")
        monkeypatch.setattr(machine, "_CONTROL_GROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    return make


MEMORY = {"proc/meminfo": f"MemTotal: {64 * GIB // 1024} kB\nMemAvailable: {32 * GIB // 1024} kB\n"}


def test_without_control_groups_it_is_what_the_kernel_calls_available(kernel):
    kernel(MEMORY)
    assert (machine.available_memory(), machine.memory_limit(), machine.usable_cores()) == (32 * GIB, None, 8.0)


def test_version_2_counts_the_tightest_group_and_cached_files_as_free(kernel):
    kernel(
        MEMORY
        | {
            "proc/self/cgroup": "0::/slice/job\n",
            "cgroup/slice/memory.max": f"{16 * GIB}\n",
            "cgroup/slice/memory.current": f"{10 * GIB}\n",
            "cgroup/slice/memory.stat": f"anon 5\nactive_file {1 * GIB}\ninactive_file {2 * GIB}\n",
            "cgroup/slice/cpu.max": "150000 100000\n",
            "cgroup/slice/job/memory.max": "max\n",
            "cgroup/slice/job/memory.current": "7\n",
            "cgroup/slice/job/cpu.max": "max 100000\n",
        }
    )
    assert machine.available_memory() == 16 * GIB - (10 - 3) * GIB
    assert machine.memory_limit() == 16 * GIB
    assert machine.usable_cores() == 1.5


def test_version_1_in_a_container_that_sees_its_own_root(kernel):
    kernel(
        MEMORY
        | {
            "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
            "cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}\n",
            "cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}\n",
            "cgroup/memory/memory.stat": f"total_active_file 0\ntotal_inactive_file {1 * GIB}\n",
            "cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
            "cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        }
    )
    assert (machine.available_memory(), machine.usable_cores()) == (2 * GIB, 3.0)


def test_version_1s_word_for_no_limit_is_none(kernel):
    folder = "cgroup/memory/memory"
    no_limit = {f"{folder}.limit_in_bytes": "9223372036854771712", f"{folder}.usage_in_bytes": "5"}
    kernel(MEMORY | no_limit | {"proc/self/cgroup": "4:memory:/\n", "cgroup/cpu/cpu.cfs_quota_us": "-1"})
    assert (machine.available_memory(), machine.memory_limit()) == (32 * GIB, None)


def test_a_group_that_is_over_its_limit_has_nothing_left(kernel):
    over = {"cgroup/memory.max": "1000", "cgroup/memory.current": "2000"}
    kernel(MEMORY | over | {"proc/self/cgroup": "0::/\n"})
    assert machine.available_memory() == 0


def test_a_system_without_these_files_says_so(kernel):
    kernel({})
    assert (machine.available_memory(), machine.private_memory(), machine.memory_limit()) == (None, None, None)
