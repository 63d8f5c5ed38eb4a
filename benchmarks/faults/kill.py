"""Kills `ce` at random moments, runs the same command again, and compares with a run that nobody disturbed.

    python benchmarks/faults/kill.py --moments 50

Real processes, real files, SIGKILL. Half the moments are times, drawn from the command's undisturbed duration; half
are places: just before the k-th thing that the process does to a file (create, open to write, rename, remove, lock).
After each kill every file that is not marked as temporary must be whole; a case is killed up to three times, then run
to its end, and what it leaves must equal what the undisturbed command left. Writes `kills.csv` and `kills.md`.
"""
# ruff: noqa: E402 - numpy and torch read these variables when they are imported

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import csv
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jobs

KILLS_A_CASE = 3
# A run of so many moments that hit no worker of a suite did not try what it is for.
_FULL = 50
# Of the kills of a suite at a time when a worker runs, the share that hits it instead of the command.
_WORKER = 0.7
_TIMEOUT = 300.0
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OPERATIONS = frozenset(("os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate", "fcntl.flock"))


@dataclass
class Moment:
    """One kill, and what was found after it."""

    job: str
    case: int
    victim: str
    moment: str
    files: int = 0
    torn: str = ""
    outcome: str = ""


@dataclass
class Reference:
    """What an undisturbed command took and left."""

    seconds: float
    operations: int
    left: dict[str, str]
    folder: Path
    cases: int = 0
    moments: list[Moment] = field(default_factory=list)


def main() -> None:
    """Run the moments; exit code 1 if anything was lost, or if no worker was hit though there was every chance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=50, help="kills in all")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--jobs", nargs="+", choices=list(jobs.JOBS), default=list(jobs.JOBS))
    parser.add_argument("--out", type=Path, default=Path("results/faults"), help="where the tables go")
    options = parser.parse_args()
    _import_what_commands_need()
    with tempfile.TemporaryDirectory(prefix="ce-kills-") as name:
        place = Path(name).resolve()
        jobs.make_photos(place / "photos")
        references = {job: _undisturbed(job, place) for job in options.jobs}
        chance = random.Random(options.seed)
        while (done := sum(len(one.moments) for one in references.values())) < options.moments:
            # The job that is furthest behind its share is next.
            job = min(options.jobs, key=lambda one: len(references[one].moments) / jobs.JOBS[one].share)
            share = options.moments * jobs.JOBS[job].share // sum(jobs.JOBS[one].share for one in options.jobs)
            left = min(max(1, share - len(references[job].moments)), options.moments - done)
            _case(job, references[job], place, chance, min(KILLS_A_CASE, left))
    moments = [moment for one in references.values() for moment in one.moments]
    _write(options.out, references, moments, options.seed)
    lost = [moment for moment in moments if moment.torn or moment.outcome != "same"]
    for moment in lost:
        print(f"LOST {moment}")
    unhit = len(moments) >= _FULL and "suite" in options.jobs and all(moment.victim == "command" for moment in moments)
    if unhit:
        print("NO WORKER was killed: the processes of the suite's cells were not found")
    sys.exit(bool(lost) or unhit)


def _undisturbed(job: str, place: Path) -> Reference:
    folder = place / f"{job}-undisturbed"
    started = time.perf_counter()
    code = _wait(_start(job, folder), _TIMEOUT)
    seconds = time.perf_counter() - started
    assert code == 0, f"{job} does not even end well undisturbed:\n{(folder / 'said.txt').read_text()}"
    operations = int((folder / "operations.txt").read_text())
    print(f"{job}: {seconds:.1f} s and {operations} operations on files undisturbed", flush=True)
    return Reference(seconds, operations, jobs.JOBS[job].left(folder), folder)


def _case(job: str, reference: Reference, place: Path, chance: random.Random, kills: int) -> None:
    """Up to `kills` kills of one command in one folder, each followed by the same command; then its end."""
    reference.cases += 1
    folder = place / f"{job}-{reference.cases}"
    moments: list[Moment] = []
    for _ in range(kills):
        moment = _kill_once(job, reference, folder, chance)
        if moment is None:  # it ended before its moment
            break
        moment.files, torn = jobs.look(folder, reference.folder)
        moment.torn = "; ".join(torn)
        moments.append(moment)
        print(f"  {moment}", flush=True)
    code = _wait(_start(job, folder), _TIMEOUT)
    outcome = "same" if code == 0 else f"ended with {code}: {_last_line(folder)}"
    if code == 0:
        left = jobs.JOBS[job].left(folder)
        wrong = [name for name in {**reference.left, **left} if left.get(name) != reference.left.get(name)]
        wrong += [f"{path.name} is left over" for path in jobs.leftovers(folder)] + jobs.processes_in(folder)
        outcome = f"differs: {', '.join(wrong)}" if wrong else "same"
    for moment in moments:
        moment.outcome = outcome
    reference.moments += moments
    if outcome == "same":
        shutil.rmtree(folder)
    else:
        shutil.copytree(folder, Path(tempfile.gettempdir()) / f"ce-kills-lost-{folder.name}", dirs_exist_ok=True)


def _kill_once(job: str, reference: Reference, folder: Path, chance: random.Random) -> Moment | None:
    """Start the command and kill it at a random moment; None if it ended before."""
    if chance.random() < 0.5:
        number = chance.randint(1, reference.operations)
        code = _wait(_start(job, folder, number), _TIMEOUT)
        words = f"before file operation {number} of {reference.operations}"
        return Moment(job, reference.cases, "command", words) if code == -signal.SIGKILL else None
    delay = chance.uniform(0, reference.seconds)
    pid = _start(job, folder)
    time.sleep(delay)
    workers = jobs.workers_of(pid)
    victim = chance.choice(workers) if workers and chance.random() < _WORKER else pid
    words = f"after {delay:.2f} of {reference.seconds:.2f} s"
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:  # a worker that has just ended
        victim = pid
        os.kill(pid, signal.SIGKILL)
    code = _wait(pid, _TIMEOUT)
    if victim != pid:
        return Moment(job, reference.cases, "worker", words)
    return Moment(job, reference.cases, "command", words) if code == -signal.SIGKILL else None


def _start(job: str, folder: Path, kill_before: int | None = None) -> int:
    """The command in a process of its own, in `folder`, a cache of its own in it; its id.

    Forked from this process, which has imported torch: a start costs nothing, and the moments fall into the work.
    """
    jobs.JOBS[job].prepare(folder)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.chdir(folder)
        os.environ["SSL_CE_CACHE"] = str(folder / "cache")
        said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        count = _count_operations(kill_before)
        sys.argv = ["ce", *jobs.JOBS[job].line.split()]
        code = _run()
        if code == 0 and kill_before is None:
            Path("operations.txt").write_text(str(count[0]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run() -> int:
    from ssl_ce.cli import main as ce

    try:
        ce()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _count_operations(kill_before: int | None) -> list[int]:
    """Counts what this process does to files from now on, and kills it just before number `kill_before`."""
    count = [0]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITES or str(path).startswith(("/dev", "/proc")):
                return
        elif event not in _OPERATIONS:
            return
        count[0] += 1
        if count[0] == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return count


def _wait(pid: int, seconds: float) -> int:
    """The exit code of a child, negative for a signal. Kills one that does not end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 124


def _last_line(folder: Path) -> str:
    lines = (folder / "said.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _import_what_commands_need() -> None:
    import threading

    import torch

    import ssl_ce.cli.benchmark
    import ssl_ce.cli.data
    import ssl_ce.cli.evaluate
    import ssl_ce.cli.pretrain
    import ssl_ce.data.digits
    import ssl_ce.data.packer
    import ssl_ce.evaluators.inpainting
    import ssl_ce.evaluators.knn
    import ssl_ce.inpainters.classical
    import ssl_ce.subjects
    import ssl_ce.suites.running
    import ssl_ce.suites.work  # noqa: F401

    torch.set_num_threads(1)
    assert threading.active_count() == 1, "a process with threads must not be forked"


def _write(out: Path, references: dict[str, Reference], moments: list[Moment], seed: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    columns = list(Moment.__dataclass_fields__)
    with (out / "kills.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([getattr(moment, name) for name in columns] for moment in moments)
    (out / "kills.md").write_text(jobs.table(references, moments, seed), encoding="utf-8")
    print((out / "kills.md").read_text())


if __name__ == "__main__":
    main()
