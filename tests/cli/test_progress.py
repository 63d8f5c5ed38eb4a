"""Progress: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ssl_ce.cli import progress
from ssl_ce.pretraining.hooks import Progress


def state(step: int, **numbers: float) -> Progress:
    return Progress(step, 1200, 1234.5, numbers)


def test_a_log_file_gets_a_line_now_and_then(monkeypatch, capsys):
    seconds = iter([0.0, 10.0, 61.0, 61.0, 70.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with progress.training_progress("runs/a") as show:
        show(state(10, generator_loss=0.5))
        show(state(1100, generator_loss=0.25, reconstruction=0.25))
        show(state(1101))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["runs/a: step 1,100 of 1,200, 1,234 images/s, loss: generator 0.2500"]


def test_a_log_file_is_told_what_an_evaluation_does(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    with progress.status_line("knn") as say:
        say("hog: described 256 of 1,297 train images")
    assert "hog: described 256 of 1,297 train images\n" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [80, 140])
def test_a_narrow_terminal_still_shows_step_speed_and_time_left(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.training_progress("runs/a") as show:
        show(state(600, generator_loss=0.25, discriminator_loss=0.5))
    shown = capsys.readouterr().err
    assert all(text in shown for text in ("runs/a", " 600/1200", "1,234 images/s", "left"))
    assert ("discriminator 0.5000" in shown) == (columns == 140)
