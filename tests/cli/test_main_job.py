"""The main job, typed at the prompt: pretrain, go on, evaluate, show, export. In this process, so that it is fast."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ssl_ce.cli import main

TINY = "--set method.encoder.width=0.1 --set method.decoder.width=0.1 --set log.online_every=0"


class Prompt:
    """`prompt("evaluate knn hog --data digits")` gives (exit code, stdout, stderr)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, line: str) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["ce", *line.split()])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Prompt:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Prompt(monkeypatch, capsys)


def test_a_run_is_made_judged_shown_and_exported(prompt: Prompt):
    code, out, _ = prompt(f"pretrain quickstart --data digits --steps 4 --out runs/a {TINY}")
    assert code == 0
    assert "4 steps, 128 images" in out
    code, out, _ = prompt("evaluate knn runs/a@conv2 gist?side=32 --data digits")
    assert code == 0
    rows = json.loads(prompt("results show results/local --format json")[1])
    subjects = {row["subject"] for row in rows}
    assert subjects == {"runs/a@conv2", "gist?side=32", "pixels", "hog", "init:runs/a@conv2"}
    assert all(name in out for name in subjects)
    assert {"id", "cell", "protocol", "subject", "dataset", "split", "n", "seed", "metrics"} <= set(rows[0])
    assert set(rows[0]["metrics"]["accuracy"]) == {"value", "low", "high"}
    for style, word in (("md", "| `hog`"), ("csv", "subject"), ("latex", "\\toprule"), ("table", "knn-dino@1")):
        code, out, _ = prompt(f"results show results/local --format {style}")
        assert code == 0
        assert word in out
    code, out, _ = prompt("export runs/a --format safetensors -o encoder.safetensors")
    assert code == 0
    code, _, errors = prompt("export runs/a --format safetensors -o encoder.safetensors")
    assert (code, "exists already" in errors) == (2, True)
    code, out, _ = prompt(
        "evaluate knn file:encoder.safetensors?encoder=dcgan&width=0.1&size=32 --data digits --no-floors"
    )
    assert code == 0


def test_inpainting_is_judged_with_its_floors(prompt: Prompt):
    prompt(f"pretrain quickstart --data digits --steps 2 --out runs/a {TINY}")
    code, out, _ = prompt("evaluate inpainting runs/a navier-stokes --data digits --holes center --seed 3")
    assert code == 0
    assert all(name in out for name in ("runs/a", "navier-stokes", "telea", "mean-color"))
    code, out, _ = prompt("evaluate nn-inpainting runs/a --data digits --holes center")
    assert code == 0
    names = ("nearest:runs/a", "nearest:init:runs/a", "nearest:hog", "nearest:pixels", "mean-color")
    assert all(name in out for name in names)


def test_train_test_and_index_are_named_one_by_one(prompt: Prompt, photo_folder: Path):
    for split in ("train", "test"):
        assert prompt(f"data pack {photo_folder} --size 16 --split {split} --out {split}.pack")[0] == 0
    code, out, _ = prompt("evaluate linear-probe pixels?side=8 --train train.pack --test test.pack --no-floors")
    assert code == 0
    assert "100.0" in out
    code, _, errors = prompt("evaluate nn-inpainting pixels --test test.pack --no-floors")
    assert code == 2
    assert "--index" in errors
    assert prompt("evaluate nn-inpainting pixels --test test.pack --index train.pack --no-floors")[0] == 0


@pytest.mark.parametrize(
    "command", ["", "pretrain", "evaluate", "evaluate knn", "data pack", "results show", "export", "list", "quickstart"]
)
def test_every_command_has_examples_in_its_help(command: str, prompt: Prompt):
    code, out, _ = prompt(f"{command} --help")
    assert code == 0
    assert "Examples:" in out
