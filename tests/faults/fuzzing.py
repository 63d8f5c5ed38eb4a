"""Malformed inputs through the command line: run one, watch what it does, and judge how it ended."""

from __future__ import annotations

import os
import shutil
import time
import traceback
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, configuration, given, settings
from hypothesis.strategies import SearchStrategy
from watching import SECONDS, TooLong, limited, resident, typed, watched

from ssl_ce.cli import main
from ssl_ce.manifest import peak_memory_mb, reset_peak_memory

MIB = 300
"""No input may take more memory than was in use before it, plus this."""

_LONGEST_LINE = 4000


@dataclass(frozen=True)
class Case:
    """One input: the files that lie in the folder where `ce` is typed, and what is typed. It may write below out/.

    `cached` are files in the cache, for this command only.
    """

    command: Sequence[str]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    cached: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Kind:
    """A kind of malformed input.

    Attributes
    ----------
    whole
        The input as it is before it is damaged: it must be accepted, or the damage would never get far.
    cases
        How it is damaged.
    """

    name: str
    whole: Case
    cases: SearchStrategy[Case]


@dataclass(frozen=True)
class Outcome:
    """How a command ended; `fault` says what it should not have done, None for one that did well."""

    code: int
    error: str
    seconds: float
    mib: float
    fault: str | None


@dataclass
class Tally:
    """What a campaign found of one kind: counts, extremes, and the cases that ended badly with their faults."""

    kind: str
    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    seconds: float = 0.0
    mib: float = 0.0
    faults: list[tuple[Case, Outcome]] = field(default_factory=list)

    def add(self, case: Case, outcome: Outcome) -> None:
        self.inputs += 1
        self.refused += outcome.code == 2 and outcome.fault is None
        self.accepted += outcome.code == 0 and outcome.fault is None
        self.seconds = max(self.seconds, outcome.seconds)
        self.mib = max(self.mib, outcome.mib)
        if outcome.fault is not None:
            self.faults.append((case, outcome))


class Workplace:
    """A folder of its own to run commands in, with files around it that nothing may touch."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.work = self.root / "above" / "work"
        self.cache = self.root / "cache"
        for name in ("home", "tmp", "above/beside"):
            (self.root / name).mkdir(parents=True)
            (self.root / name / "canary.txt").write_text("sings")
        configuration.set_hypothesis_home_dir(self.root / "hypothesis")

    def run(self, case: Case) -> Outcome:
        """Run `case` in this process and judge it."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        _write(self.work, case.files)
        _write(self.cache, case.cached)
        before = self._everything()
        places = (self.work / "out", self.cache, self.root / "tmp", self.root / "stderr", Path("/proc"))
        with watched(places) as seen:
            outcome = self._run(case.command)
        for name in case.cached:
            (self.cache / name).unlink(missing_ok=True)
        changed = {path for path, stamp in self._everything() ^ before}
        strange = sorted(path for path in changed if outcome.code != 0 or not path.startswith("above/work/out"))
        fault = outcome.fault
        if seen:
            fault = seen[0]
        elif strange and fault is None:
            fault = f"wrote {strange[0]}"
        return Outcome(outcome.code, outcome.error, outcome.seconds, outcome.mib, fault)

    def run_whole(self, case: Case) -> None:
        """Run what is not damaged: once for the modules that it imports, and once to see that it is accepted."""
        first = self.run(case)
        assert first.code == 0, (case, first)
        again = self.run(case)
        assert (again.code, again.fault) == (0, None), (case, again)

    def _run(self, command: Sequence[str]) -> Outcome:
        environment = {
            "SSL_CE_CACHE": str(self.cache), "HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp"),
            "MPLCONFIGDIR": str(self.cache), "HF_HUB_OFFLINE": "1", "COLUMNS": "200",
        }  # fmt: skip
        fault: str | None = None
        code = 0
        with typed(command, self.work, environment) as said, limited():
            reset_peak_memory()
            held, started = resident(), time.perf_counter()
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
            except TooLong:
                code, fault = -1, f"took longer than {SECONDS} s"
            except BaseException as crash:
                place = traceback.extract_tb(crash.__traceback__)[-1]
                code, fault = -1, f"{type(crash).__name__}: {crash} ({Path(place.filename).name}:{place.lineno})"
            seconds, mib = time.perf_counter() - started, peak_memory_mb() - held
        out, text = said()
        if fault is None and mib > MIB:
            fault = f"took {mib:.0f} MiB"
        return Outcome(code, text, seconds, mib, fault or misspoken(code, text) or commanding(out))

    def _everything(self) -> set[tuple[str, tuple[int, int]]]:
        """Files outside the cache with their sizes and times."""
        found = set()
        for place, folders, names in os.walk(self.root):
            if Path(place) == self.root:
                folders[:] = [name for name in folders if name not in ("cache", "hypothesis")]
            for name in names:
                status = os.lstat(os.path.join(place, name))  # noqa: PTH118 - a hundred files, thousands of times
                found.add((os.path.relpath(os.path.join(place, name), self.root), (status.st_size, status.st_mtime_ns)))  # noqa: PTH118
        return found


def campaign(kind: Kind, count: int, place: Workplace) -> Tally:
    """Run `count` inputs of `kind`, the same ones each time."""
    tally = Tally(kind.name)
    place.run_whole(kind.whole)

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.cases)
    def each(case: Case) -> None:
        tally.add(case, place.run(case))

    each()
    return tally


def misspoken(code: int, error: str) -> str | None:
    """What is wrong with how a command ended: wrong input is 2 and one line, what is still valid 0."""
    lines = error.splitlines()
    said = [line for line in lines if line.startswith("Error: ")]
    if "Traceback" in error:
        return f"a traceback: {lines[-1]}"
    if code not in (0, 2):
        return f"exit code {code}: {error[-300:]}"
    if code == 2 and (len(said) != 1 or lines[-1] != said[0]):
        return f"not one line: {error[-500:]!r}"
    if code == 0 and said:
        return f"an error, and exit code 0: {said[0]}"
    if any(len(line) > _LONGEST_LINE for line in lines):
        return f"a line of {max(map(len, lines))} characters: {error[:100]}"
    if any(not character.isprintable() for line in lines for character in line):
        return f"characters that command a terminal: {error[-300:]!r}"
    return None


def commanding(out: str) -> str | None:
    """What of stdout could command a terminal, wherever the text came from: control characters but for newlines."""
    line = next((line for line in out.split("\n") if any(map(_is_control, line))), None)
    return None if line is None else f"characters that command a terminal, on stdout: {line[:300]!r}"


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc"


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
