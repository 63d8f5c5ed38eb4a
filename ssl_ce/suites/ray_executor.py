"""Cells on the nodes of a Ray cluster: each in a process of its own, on a node that has the cores and GPUs for it.

All nodes share one file system, with locks: a run that was begun on one goes on from its checkpoint on another, and
every node appends to the same records. Nothing here imports torch.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_ce.errors import UserError
from ssl_ce.locks import is_held
from ssl_ce.suites.executor import LocalExecutor, Outcome, Report

if TYPE_CHECKING:
    from ssl_ce.suites.cells import Cell

ATTEMPTS = 3
"""How often a cell is begun whose workers die."""
# Seconds between two looks at a cell; and at whether there is a node for one that waits.
_BEAT = 1.0
_LONG = 60.0


class RayExecutor:
    """Cells on the nodes of the cluster that `ray_cluster.connect` joined.

    A worker that dies has its cell begun again, on whichever node then has room, `ATTEMPTS` times in all. What it left
    on the file system is gone on from; a record that it stored before it died has the same id as the one that is made
    again, and counts once.

    Parameters
    ----------
    cells
        What will be run.
    folders
        That must be the same folders on every node, and that are locked (`locks.alone`) while cells run.
    jobs
        How many cells are in the cluster's hands at a time; None: as many as it has cores.

    Raises
    ------
    UserError
        If a cell needs more than any node has.
    """

    def __init__(self, cells: Sequence[Cell], folders: Sequence[Path], jobs: int | None = None) -> None:
        import ray

        self._gpus = ray.cluster_resources().get("GPU", 0.0) > 0
        for cell in cells:
            if not self._fits(cell):
                raise UserError(f"{cell.label} needs {_words(self._needs(cell))}, and no node of the cluster has that.")
        self.slots = jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))
        ours = {name: value for name, value in os.environ.items() if name.startswith("SSL_CE_")}
        self._home = _Home(Path.cwd(), tuple(folders), ours)
        self._pool = ThreadPoolExecutor(self.slots, "cell")
        self._stopping = self._closing = False

    def submit(self, cell: Cell, report: Callable[[Report], None]) -> Future[Outcome]:
        """See `Executor`."""
        return self._pool.submit(self._run, cell, report)

    def stop(self) -> None:
        """See `Executor`."""
        self._stopping = True

    def close(self) -> None:
        """See `Executor`."""
        import ray

        self._stopping = self._closing = True
        self._pool.shutdown()
        ray.shutdown()

    def _run(self, cell: Cell, report: Callable[[Report], None]) -> Outcome:
        outcome = Outcome("stopped")
        try:
            for attempt in range(1, ATTEMPTS + 1):
                outcome = self._attempt(cell, report)
                if self._stopping:
                    return Outcome("stopped") if outcome.died else outcome
                if not outcome.died and outcome.status != "stopped":  # stopped by others: its node is taken away
                    return outcome
                report(Report(f"its worker died, {attempt} of {ATTEMPTS} times"))
        except Exception as error:
            return Outcome("failed", f"{type(error).__name__}: {error}", trace=traceback.format_exc())
        reason = outcome.message or "it was told to stop"
        return Outcome("failed", f"{ATTEMPTS} workers died over it; of the last: {reason}", trace=outcome.trace)

    def _attempt(self, cell: Cell, report: Callable[[Report], None]) -> Outcome:
        import ray

        if self._stopping:
            return Outcome("stopped")
        needs = self._needs(cell)
        seats: Any = ray.remote(_Seat)
        seat = seats.options(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_concurrency=2).remote()
        try:
            answer = seat.run.remote(self._home, needs, pickle.dumps(cell), getattr(cell, "entry_name", ""))
            said = seat.look.remote(stop=False)
            begun, looked = False, time.monotonic()
            while not ray.wait([answer], timeout=_BEAT)[0]:
                if self._closing or (self._stopping and not begun):
                    return Outcome("stopped")
                if ray.wait([said], timeout=0)[0]:
                    begun = True
                    report(ray.get(said))
                    said = seat.look.remote(stop=self._stopping)
                elif not begun:
                    report(Report("waiting for room on the cluster"))
                    if time.monotonic() - looked > _LONG:
                        looked = time.monotonic()
                        if not self._fits(cell):
                            return Outcome("failed", f"no node of the cluster has {_words(needs)} any more")
            outcome: Outcome = ray.get(answer)
            return outcome
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())
            return Outcome("failed", f"its worker died: {reason[:300]}", trace=str(error), died=True)
        finally:
            ray.kill(seat)

    def _needs(self, cell: Cell) -> dict[str, float]:
        unsaid = 1.0 if self._gpus and cell.device != "cpu" else 0.0
        gpus = cell.resources.gpus
        return {"CPU": cell.resources.cpus, "GPU": unsaid if gpus is None else gpus}

    def _fits(self, cell: Cell) -> bool:
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        needs = self._needs(cell)
        return any(all(node.get(kind, 0.0) >= amount for kind, amount in needs.items()) for node in nodes)


@dataclass(frozen=True)
class _Home:
    """Where the suite was started: working directory, folders of its output, our part of the environment."""

    directory: Path
    folders: tuple[Path, ...]
    environment: Mapping[str, str]

    def enter(self) -> str:
        """Be there too; returns what keeps this node from it, or nothing."""
        os.environ.update(self.environment)
        try:
            os.chdir(self.directory)
        except OSError:
            return f"it has no folder {self.directory}"
        strange = [str(folder) for folder in self.folders if not is_held(folder)]
        return f"its folder {strange[0]} is another one, or cannot be locked" if strange else ""


class _Seat:
    """A Ray actor: what stands on a node for one cell, and starts the process that runs it."""

    def __init__(self) -> None:
        self._said = Report("starting")
        self._executor: LocalExecutor | None = None

    def run(self, home: _Home, needs: Mapping[str, float], cell: bytes, entry_name: str) -> Outcome:
        """Run a pickled cell to its end."""
        if trouble := home.enter():
            place = f"the node {socket.gethostname()}"
            return Outcome("failed", f"{place} does not share the file system of this one: {trouble}")
        if not needs["GPU"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._executor = LocalExecutor(1, threads=int(needs["CPU"]))
        sealed: Any = _Sealed(cell, entry_name)
        return self._executor.submit(sealed, self._hear).result()

    def look(self, stop: bool) -> Report:
        """What the cell said last; `stop` asks it to save and stop."""
        if stop and self._executor is not None:
            self._executor.stop()
        return self._said

    def _hear(self, report: Report) -> None:
        self._said = report


class _Sealed:
    """A pickled cell on its way to the process that runs it: only there it is opened, and torch imported."""

    def __init__(self, data: bytes, entry_name: str) -> None:
        self.data, self.entry_name = data, entry_name

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self.data,)


def _words(needs: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {kind}{'s' if amount > 1 else ''}" for kind, amount in needs.items() if amount)
