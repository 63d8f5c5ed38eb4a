"""What every command has in common: exit codes, errors in one line, and a quick answer to --help."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_ce import __version__
from ssl_ce.errors import MachineError, Stopped, UserError
from ssl_ce.files import atomic_write

ROOT = Path(__file__).resolve().parents[2]


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.fixture
def failing(ce, monkeypatch):
    """`failing(error)` answers a command in which `error` is raised."""

    def run(error: BaseException):
        def fail():
            raise error

        monkeypatch.setattr("ssl_ce.cli.listing.recipe_entries", fail)
        return ce("list recipes")

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("The recipe is wrong. Mend it."), 2, "Error: The recipe is wrong. Mend it."),
        (MachineError("The loss is not finite."), 1, "Error: The loss is not finite."),
        (Stopped("Stopped after saving."), 75, "Stopped after saving."),
        (KeyboardInterrupt(), 130, "Interrupted; what was already written is whole."),
        (OSError(errno.ENOSPC, "No space left on device", "log.csv"), 1, "Error: The disk is full: log.csv was not "),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), 2, "Error: a/b is not yours to read or to write"),
        (MemoryError(), 1, "Error: This machine ran out of memory. Use a smaller --batch-size"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "Error: The GPU ran out of memory."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_each_kind_of_failure_has_its_exit_code_and_one_line(failing, error, code, said):
    answer = failing(error)
    assert answer.code == code
    assert answer.err.startswith(said)
    assert len(lines(answer.err)) == 1
    assert answer.out == ""


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("a bug"), PermissionError("a bug")])
def test_a_bug_is_shown_with_its_traceback(failing, error):
    with pytest.raises(type(error)):
        failing(error)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evalute knn hog", "There is no command named 'evalute'. Did you mean evaluate?"),
        ("evaluate retrival hog", "There is no evaluator named 'retrival'. Did you mean retrieval?"),
        ("data packs x", "There is no command named 'packs'. Did you mean pack?"),
        ("results shw x", "There is no command named 'shw'. Did you mean show?"),
        ("pretrain --epoch 3", "No such option '--epoch'"),
        ("pretrain quickstart --steps 0", "Invalid value for '--steps'"),
        ("export x --format onnxx -o y", "'onnxx' is not one of"),
        ("list", "Missing argument 'KIND'. Choose from: recipes"),
        ("data pack digits", "Missing option '--out'. See: ce data pack --help"),
        ("evaluate knn", "Missing argument 'SUBJECT...'. See: ce evaluate knn --help"),
    ],
)
def test_a_command_that_is_typed_wrong_is_answered_in_one_line(ce, line, said):
    answer = ce(line)
    assert answer.code == 2
    assert answer.err.startswith("Error: ")
    assert said in answer.err
    assert len(lines(answer.err)) == 1


@pytest.mark.parametrize("group", ["", "evaluate", "data", "results"])
def test_a_group_alone_shows_its_help(ce, group):
    answer = ce(group)
    assert answer.code == 2
    assert "Usage: ce" in answer.err
    assert "Examples:" in answer.err


def test_the_version_is_shown(ce):
    assert ce("--version").out == f"ce {__version__}\n"


def test_a_terminated_command_leaves_no_half_written_file(ce, tmp_path, monkeypatch):
    def terminated():
        with atomic_write(tmp_path / "table.md") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("ssl_ce.cli.listing.recipe_entries", terminated)
    before = signal.getsignal(signal.SIGTERM)
    answer = ce("list recipes")
    said = "Stopped by SIGTERM; what was already written is whole. Run the same command again.\n"
    assert (answer.code, answer.err) == (75, said)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_help_costs_less_than_a_third_of_a_second():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run([sys.executable, "-m", "ssl_ce", "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, for the wall's depends on what else runs here.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3
    assert all(name in shown.stdout for name in ("quickstart", "pretrain", "evaluate", "results", "data", "export"))


def test_a_clone_runs_without_being_installed(tmp_path):
    command = [sys.executable, str(ROOT / "cli.py"), "list", "recipes"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "quickstart" in shown.stdout


def test_a_reader_who_leaves_is_no_error():
    command = [sys.executable, "-m", "ssl_ce", "list", "datasets", "--format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


_LEAVING = """
import atexit, sys, threading
import ssl_ce.cli as cli
atexit.register(lambda: print("registered"))
def main():
    import torch
    print("printed")
    if {waited_for}:
        threading.Thread(target=lambda: (threading.Event().wait(0.3), print("waited for"))).start()
    sys.exit({code})
cli.main = main
cli.run()
"""


@pytest.mark.parametrize(("code", "waited_for"), [(0, False), (75, False), (2, True)])
def test_a_process_that_ends_at_once_leaves_nothing_undone(code: int, waited_for: bool):
    script = _LEAVING.format(code=code, waited_for=waited_for)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout.split("\n") == ["printed", *(["waited for"] if waited_for else []), "registered", ""]
