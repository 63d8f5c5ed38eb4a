"""What killed writers leave: never under a file's own name, and cleared away by the next writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssl_ce.files import TEMPORARY, leftovers, sweep, write_text

WRITE = """
import sys, time
from pathlib import Path
from ssl_ce.files import atomic_write
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def write() -> Iterator[Callable[[Path], tuple[subprocess.Popen[str], str]]]:
    """`write(path)`: another process is half through with writing `path`; it, and its temporary file's name."""
    started = []

    def start(path: Path) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_writers_file_is_a_leftover_and_a_living_ones_is_not(write, tmp_path: Path):
    (killed, left), (_, alive) = write(tmp_path / "a.txt"), write(tmp_path / "b.txt")
    assert leftovers(tmp_path) == []
    kill(killed)
    assert [path.name for path in leftovers(tmp_path)] == [left]
    (tmp_path / ".of-another-program.tmp").touch()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {alive, ".of-another-program.tmp"}


def test_who_writes_next_clears_away_what_was_left(write, tmp_path: Path):
    write_text(tmp_path / "a.txt", "whole")
    killed, left = write(tmp_path / "a.txt")
    kill(killed)
    assert left.startswith(".a.txt.")
    assert left.endswith(TEMPORARY)
    assert (tmp_path / "a.txt").read_text() == "whole"
    # A process of its own: each looks once for leftovers in a folder.
    code = "import sys, pathlib; from ssl_ce.files import write_text; write_text(pathlib.Path(sys.argv[1]), 'b')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.txt")], check=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "whole", "b.txt": "b"}
