"""What `ce doctor` looks at: the installation and the machine. torch is imported by the looks that need it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ssl_ce import __version__
from ssl_ce.files import cache_dir, leftovers
from ssl_ce.machine import available_memory, memory_limit, usable_cores
from ssl_ce.manifest import cpu_model, git_commit

_GIB = 1 << 30
_MIB = 1 << 20
_PROBE = 32 * _MIB
_LITTLE_MEMORY, _LITTLE_DISK, _SLOW_DISK = 2 * _GIB, 5 * _GIB, 20 * _MIB
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Finding:
    """What one look found: in words, in numbers, and what to do where it is not well."""

    name: str
    said: str
    status: Literal["ok", "warn", "FAIL"] = "ok"
    advice: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)


def look(name: str, at: Callable[[], Finding]) -> Finding:
    """What `at` finds. Whatever it fails with is a finding too."""
    try:
        return at()
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(name, said, "FAIL", f"The look at '{name}' failed with this; it is for the bug report.")


def looks(data_root: Path | None = None) -> Iterator[Finding]:
    """The looks one by one, the cheap ones first."""
    named: dict[str, Callable[[], Finding]] = {
        "ssl-ce": _package, "packages": _packages, "extras": _extras, "processor": _processor, "threads": _threads,
        "memory": _memory, "gpu": _gpu, "faiss": _faiss, "cache": _cache,
        "disk here": lambda: _disk("disk here", Path.cwd()),
        "disk of cache": lambda: _disk("disk of cache", cache_dir()),
    }  # fmt: skip
    if data_root is not None:
        named["data root"] = lambda: _data_root(data_root)
    for name, at in named.items():
        yield look(name, at)


def _package() -> Finding:
    commit, system = git_commit(), platform.platform()
    said = f"{__version__}{f' at {commit}' if commit else ''}, Python {platform.python_version()}, {system}"
    return Finding("ssl-ce", said, numbers={"version": __version__, "commit": commit, "platform": system})


def _packages() -> Finding:
    """What must be installed, and in which version it is."""
    found, wrong = _installed("")
    said = _listed(found)
    advice = "Install what is missing or too old: pip install --upgrade ssl-ce."
    said = f"{'; '.join(wrong)}. There are: {said}" if wrong else said
    return Finding("packages", said, "FAIL" if wrong else "ok", advice if wrong else "", found)


def _extras() -> Finding:
    """Which optional packages are there."""
    names = [name for name in metadata.metadata("ssl-ce").get_all("Provides-Extra") or [] if name != "dev"]
    there = {name: _installed(name) for name in names}
    have = [name for name, (_, wrong) in there.items() if not wrong]
    lack = [name for name in names if name not in have]
    versions = {package: version for found, _ in there.values() for package, version in found.items()}
    said = f"{', '.join(have) or 'none'} ({_listed(versions)})"
    return Finding("extras", said + (f"; not installed: {', '.join(lack)}" if lack else ""), numbers=versions)


def _installed(extra: str) -> tuple[dict[str, str], list[str]]:
    """Requirements of an extra ("" for none): {package: version}, and what is wrong with them."""
    from packaging.requirements import Requirement

    found, wrong = {}, []
    for text in metadata.requires("ssl-ce") or []:
        needed = Requirement(text)
        only_with_extra = "extra" in str(needed.marker or "")
        if only_with_extra != bool(extra) or (needed.marker and not needed.marker.evaluate({"extra": extra})):
            continue
        try:
            found[needed.name] = metadata.version(needed.name)
            if not needed.specifier.contains(found[needed.name], prereleases=True):
                wrong.append(f"{needed.name} is {found[needed.name]}, needed is {needed.specifier}")
        except metadata.PackageNotFoundError:
            wrong.append(f"{needed.name} is missing")
    return found, wrong


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _processor() -> Finding:
    import torch

    from ssl_ce.devices import has_bfloat16

    cores, bf16 = usable_cores(), has_bfloat16(torch.device("cpu"))
    said = f"{cpu_model()}, {cores:g} of {os.cpu_count()} cores usable, {'with' if bf16 else 'without'} fast bfloat16"
    return Finding("processor", said, numbers={"model": cpu_model(), "cores": cores, "bfloat16": bf16})


def _threads() -> Finding:
    import torch

    threads, cores = torch.get_num_threads(), usable_cores()
    given = {name: os.environ[name] for name in _THREADS if name in os.environ}
    said = f"torch computes with {threads}; " + (", ".join(f"{k}={v}" for k, v in given.items()) or "no variable set")
    many = threads > max(1, round(cores))
    advice = f"More threads than cores wait for each other. Set OMP_NUM_THREADS={max(1, round(cores))}." if many else ""
    return Finding("threads", said, "warn" if many else "ok", advice, {"torch": threads, **given})


def _memory() -> Finding:
    free, limit = available_memory(), memory_limit()
    if free is None:
        return Finding("memory", "this system does not say how much is free")
    said = f"{free / _GIB:.1f} GiB available" + (f", {limit / _GIB:.1f} GiB granted" if limit else ", no limit set")
    little = free < _LITTLE_MEMORY
    advice = "Take small batches (ce pretrain --auto-batch), or end other programs." if little else ""
    return Finding("memory", said, "warn" if little else "ok", advice, {"available": free, "limit": limit})


def _gpu() -> Finding:
    """What GPUs there are, and whether each computes."""
    import torch

    from ssl_ce.devices import has_bfloat16

    if not torch.cuda.is_available():
        driver = any(Path("/dev").glob("nvidia[0-9]*"))
        advice = f"Install a torch that fits the driver; this one is built for CUDA {torch.version.cuda}."
        said = "there is an NVIDIA GPU, but torch sees none" if driver else "none that torch sees"
        return Finding("gpu", said, "warn" if driver else "ok", advice if driver else "")
    found = []
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        ones = torch.ones(256, 256, device=device)
        if not bool((ones @ ones == 256).all()):
            return Finding("gpu", f"GPU {number} computes wrongly", "FAIL", "Restart the machine; ask for another GPU.")
        free, total = torch.cuda.mem_get_info(device)
        name, bf16 = torch.cuda.get_device_name(device), has_bfloat16(device)
        found.append(f"{name}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free, bfloat16 {'yes' if bf16 else 'no'}")
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    versions = f"CUDA {torch.version.cuda}, cuDNN {cudnn}"
    return Finding("gpu", f"{'; '.join(found)}; {versions}", numbers={"gpus": found, "cuda": torch.version.cuda})


def _faiss() -> Finding:
    """Which faiss there is, and whether it finds the neighbours that torch finds."""
    import importlib.util

    if importlib.util.find_spec("faiss") is None:
        return Finding("faiss", "not installed: torch searches (pip install 'ssl-ce[faiss]')")
    import faiss
    import numpy as np

    from ssl_ce.search import nearest

    base = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    (_, ours), (_, theirs) = (nearest(base[:50], base, 5, backend=backend) for backend in ("faiss", "torch"))
    gpus = faiss.get_num_gpus() if hasattr(faiss, "knn_gpu") else 0
    options = " ".join(faiss.get_compile_options().split())
    said = f"{faiss.__version__}, {f'{gpus} GPUs' if gpus else 'CPU'}, built with {options}"
    if not np.array_equal(ours, theirs):
        return Finding("faiss", f"{said}; it finds other neighbours than torch", "FAIL", "Install faiss-cpu anew.")
    return Finding("faiss", said, numbers={"version": faiss.__version__, "gpus": gpus, "options": options})


def _cache() -> Finding:
    folder = cache_dir()
    sizes, left = [], []
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # renamed or removed since it was listed
                sizes.append((Path(place) / name).lstat().st_size)
        left += leftovers(Path(place))
    said = f"{folder}: {len(sizes):,} files, {sum(sizes) / _GIB:.1f} GiB" if sizes else f"{folder}: empty"
    numbers = {"files": len(sizes), "bytes": sum(sizes), "leftovers": len(left)}
    if left:
        advice = "The next command that writes there removes them."
        return Finding("cache", f"{said}; {len(left)} files that killed processes left", "warn", advice, numbers)
    return Finding("cache", said, numbers=numbers)


def _disk(name: str, folder: Path) -> Finding:
    """Space, and the speed of writing (down to the disk) and reading, with a file that has no name."""
    place = next(there for there in (folder, *folder.absolute().parents) if there.is_dir())
    free = shutil.disk_usage(place).free
    if free < 2 * _PROBE:
        return Finding(name, f"{place}: {free / _MIB:.0f} MiB free", "FAIL", "Free some space.", {"free": free})
    content = os.urandom(_PROBE)
    with tempfile.TemporaryFile(dir=place) as file:
        started = time.perf_counter()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter()
        _forget(file.fileno())
        file.seek(0)
        same = file.read() == content
        read = time.perf_counter()
    writing, reading = _PROBE / (written - started), _PROBE / (read - written)
    said = f"{place}: {free / _GIB:.0f} GiB free, writes {writing / _MIB:,.0f} MiB/s, reads {reading / _MIB:,.0f} MiB/s"
    numbers = {"free": free, "write": round(writing), "read": round(reading)}
    if not same:
        return Finding(name, f"{said}; it gives back other bytes", "FAIL", "Do not trust this disk.", numbers)
    if free < _LITTLE_DISK:
        return Finding(name, said, "warn", "A checkpoint of a large network takes gigabytes: free some space.", numbers)
    if min(writing, reading) < _SLOW_DISK:
        return Finding(name, said, "warn", "Put data, runs and cache (SSL_CE_CACHE) on a faster disk.", numbers)
    return Finding(name, said, numbers=numbers)


def _data_root(root: Path) -> Finding:
    """Whether files below can be read, and how fast: up to 64 MiB of the first 200."""
    if not root.is_dir():
        return Finding("data root", f"{root} is no folder", "FAIL", "Give the folder that holds your datasets.")
    files = (Path(place) / name for place, _, names in os.walk(root) for name in names)
    total, count, started = 0, 0, time.perf_counter()
    for path in islice(files, 200):
        with path.open("rb") as file:
            _forget(file.fileno())
            total += len(file.read(4 * _MIB))
        count += 1
        if total >= 2 * _PROBE:
            break
    speed = total / (time.perf_counter() - started)
    said = f"{root}: read {count} files, {total / _MIB:.1f} MiB, at {speed / _MIB:,.0f} MiB/s"
    return Finding("data root", said, "ok" if count else "warn", "" if count else "There is no file below it.")


def _forget(file: int) -> None:
    """Have the next read come from the disk, where the system can (Linux)."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
