"""What it takes to run something again: command, versions, device, commit, time and memory."""

from __future__ import annotations

import platform
import resource
import shlex
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "ssl-ce", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "scikit-image",
    "opencv-contrib-python-headless", "torchmetrics", "torch-fidelity", "faiss-cpu", "faiss-gpu-cu12",
    "lightning-fabric", "timm",
)  # fmt: skip


def command_line() -> str:
    """The command that is running, as one would type it: `ce evaluate knn ...`."""
    program = Path(sys.argv[0]).name
    program = "ce" if program in ("__main__.py", "cli.py") else program
    return shlex.join([program, *sys.argv[1:]])


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """The commit of the source tree this package runs from, with "+changes" if it is altered; None outside git."""
    here = Path(__file__).resolve().parent
    try:
        top = _git(here, "rev-parse", "--show-toplevel")
        if Path(top) != here.parent:
            return None
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
        return _git(here, "rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: str) -> str:
    """A human name of a torch device: the CPU's model with its thread count, or the GPU's name."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{cpu_model()}, {torch.get_num_threads()} threads"


def reset_peak_memory() -> None:
    """Begin to measure `peak_memory_mb` anew, where the system can (Linux): for one thing after another."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Peak resident memory of this process since `reset_peak_memory`, in MiB (file-backed pages included)."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024.0**2 if sys.platform == "darwin" else 1024.0)


def describe_machine(device: str) -> dict[str, Any]:
    """The part of a manifest that says where and with what something ran."""
    return {
        "command": command_line(),
        "versions": versions(),
        "git_commit": git_commit(),
        "device": device,
        "device_name": device_name(device),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _git(where: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True).stdout.strip()


@cache
def cpu_model() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
