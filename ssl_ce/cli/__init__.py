"""The command line. `main` turns errors into one line and an exit code; commands are imported when they are used."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from ssl_ce import __version__
from ssl_ce.cli.groups import Group
from ssl_ce.errors import SslCeError, Stopped, is_out_of_memory, one_line
from ssl_ce.files import explain, is_full

# Command: where it lives, and what --help says of it without importing it.
_COMMANDS = {
    "quickstart": (
        "ssl_ce.cli.quickstart:quickstart",
        "Pretrain and judge a small Context Encoder on bundled digits.",
    ),
    "pretrain": ("ssl_ce.cli.pretrain:pretrain", "Pretrain a method on your images, or go on with a run."),
    "evaluate": (
        "ssl_ce.cli.evaluate:evaluate",
        "Judge encoders, descriptors and inpainters; write records.",
    ),
    "benchmark": (
        "ssl_ce.cli.benchmark:benchmark",
        "Run a suite of pretrainings and evaluations; set it beside published tables.",
    ),
    "inpaint": ("ssl_ce.cli.inpaint:inpaint", "Fill holes in your own pictures, at any size."),
    "results": ("ssl_ce.cli.results:results", "Show records as tables."),
    "data": ("ssl_ce.cli.data:data", "Look at image sets and pack them."),
    "export": ("ssl_ce.cli.export:export", "Take the encoder of a run elsewhere."),
    "hub": ("ssl_ce.cli.hub:hub", "Share a run on the Hugging Face Hub, and fetch one."),
    "doctor": ("ssl_ce.cli.doctor:doctor", "Check this installation and machine, for yourself and for bug reports."),
    "list": ("ssl_ce.cli.listing:list_", "List recipes, methods, descriptors, evaluators and more."),
}


class _LazyGroup(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ce", message="%(prog)s %(version)s")
def cli() -> None:
    """Learn features by inpainting, and judge any encoder, descriptor or hole-filler honestly.

    \b
    Examples:
      ce quickstart
      ce pretrain ce-alexnet-96 --data photos/ --out runs/mine
      ce evaluate linear-probe runs/mine --data photos/
      ce evaluate inpainting runs/mine navier-stokes --data photos/ --holes center
      ce inpaint runs/mine holiday.png --holes mask.png -o filled.png
      ce benchmark quickstart --dry-run
      ce results show results/local
    """


def run() -> NoReturn:
    """`main` as a process: it ends without taking torch's million objects apart, which takes 0.7 s."""
    code: int | str | None = 0
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if "torch" in sys.modules and isinstance(code, int) and not others:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """Run `ce`. Exit codes: 0 done, 2 wrong input, 1 the machine failed, 75 stopped by a signal after saving."""
    try:
        # Not cli.main, which has exit codes of its own for an interrupt and a broken pipe.
        with _terminated_cleanly(), cli.make_context("ce", sys.argv[1:]) as context:
            cli.invoke(context)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _end(_usage(error), error.exit_code)
    except SslCeError as error:
        _end(f"{'' if error.exit_code == 75 else 'Error: '}{one_line(str(error))}", error.exit_code)
    except KeyboardInterrupt:
        _end("Interrupted; what was already written is whole.", 130)
    except _Terminated as error:
        _end(f"Stopped by {error}; what was already written is whole. Run the same command again.", Stopped.exit_code)
    except BrokenPipeError:
        # The reader of our output has left (ce results show | head); nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _end(f"Error: This is too long to be the name of a file: {one_line(str(error.filename), 100)}", 2)
        if isinstance(error, PermissionError) and error.filename:
            _end(f"Error: {error.filename} is not yours to read or to write to. Choose another place.", 2)
        if not is_full(error):
            raise
        _end(f"Error: {explain(error, Path(error.filename or 'a file'))}", 1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _end(_memory_advice("The GPU" if "cuda" in str(error).lower() else "This machine"), 1)


class _Terminated(BaseException):
    """A signal came that its words name. Nothing that handles errors may take it for one."""


@contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """SIGTERM ends the command as an exception does, so that no half-written file stays. Training saves first."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Terminated(signal.Signals(number).name)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: signals are its business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _usage(error: click.ClickException) -> str:
    """What click says of wrong usage, on one line; or the help that a group alone asks for."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        return error.format_message()
    context = getattr(error, "ctx", None)
    where = f" See: {context.command_path} --help" if context is not None else ""
    return f"Error: {one_line(error.format_message()).rstrip('.')}.{where}"


def _memory_advice(who: str) -> str:
    return f"Error: {who} ran out of memory. Use a smaller --batch-size, --size or network; what was saved is whole."


def _end(message: str, code: int) -> None:
    click.echo(message, err=True)
    sys.exit(code)


__all__ = ["cli", "main", "run"]
