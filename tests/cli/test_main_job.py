"""The main job, typed at the prompt: pretrain, go on, evaluate, show, export. In this process, so that it is fast."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torchvision

from ssl_ce.cli import main
from ssl_ce.evaluators import evaluators

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


def test_resume_goes_on_starts_or_says_it_is_finished(prompt: Prompt, tmp_path: Path):
    line = f"pretrain quickstart --data digits --steps 3 {TINY}"
    assert prompt(f"{line} --resume runs/a")[0] == 0
    assert "finished" in prompt(f"{line} --resume runs/a")[1]
    assert "finished" in prompt("pretrain --resume runs/a")[1]
    code, _, errors = prompt(f"{line} --out runs/a")
    assert (code, "exists already" in errors) == (2, True)
    code, _, errors = prompt(f"{line} --resume runs/a --set optim.lr=5e-3")
    assert code == 2
    assert "optim.lr" in errors


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


def test_a_plug_in_evaluator_becomes_a_sub_command(prompt: Prompt):
    from ssl_ce.evaluators.knn import Knn

    class Counting(Knn):
        """k-NN under another name."""

        name = "counting"

    evaluators.add("counting", Counting, "counts things")
    try:
        assert "counting" in prompt("evaluate --help")[1]
        assert "Counts things" in prompt("evaluate counting --help")[1]
        assert prompt("evaluate counting hog --data digits --no-floors")[0] == 0
    finally:
        evaluators.remove("counting")


@pytest.mark.parametrize("kind", ["recipes", "methods", "descriptors", "inpainters", "evaluators", "datasets", "holes"])
def test_everything_registered_is_listed(kind: str, prompt: Prompt):
    code, out, _ = prompt(f"list {kind} --format json")
    assert code == 0
    rows = json.loads(out)
    assert rows
    assert all(row["name"] and row["summary"] for row in rows)


@pytest.mark.parametrize(
    "command", ["", "pretrain", "evaluate", "evaluate knn", "data pack", "results show", "export", "list", "quickstart"]
)
def test_every_command_has_examples_in_its_help(command: str, prompt: Prompt):
    code, out, _ = prompt(f"{command} --help")
    assert code == 0
    assert "Examples:" in out


def test_an_alexnet_is_exported_to_torchvision_and_onnx(prompt: Prompt, tmp_path: Path):
    settings = "--set method.size=227 --set method.encoder.name=alexnet --set method.encoder.width=1 --batch-size 2"
    kinds = "--set method.decoder.kind=upconv --set method.decoder.width=0.1 --set log.online_every=0"
    assert prompt(f"pretrain quickstart --data digits --steps 1 --out runs/alex {settings} {kinds}")[0] == 0
    assert prompt("export runs/alex --format torchvision -o alexnet.pt")[0] == 0
    state = torch.load("alexnet.pt", weights_only=True)
    assert not torchvision.models.alexnet().load_state_dict(state, strict=False).unexpected_keys
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    assert prompt("export runs/alex --format onnx -o alexnet.onnx")[0] == 0
    from ssl_ce.methods.saved import load_run

    encoder = load_run(Path("runs/alex")).encoder
    x = torch.randn(3, 3, 227, 227)
    (found,) = onnxruntime.InferenceSession("alexnet.onnx").run(None, {"images": x.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(found), encoder(x), atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_sigterm_saves_exits_75_and_the_run_goes_on(tmp_path: Path):
    command = [sys.executable, "-m", "ssl_ce", "pretrain", "quickstart", "--data", "digits", "--out", "runs/a"]
    command += ["--steps", "3000", *TINY.split()]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "runs" / "a" / "log.csv"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "after saving" in errors
    assert json.loads((tmp_path / "runs" / "a" / "manifest.json").read_text())["step"] > 0


@pytest.mark.slow
def test_quickstart_leaves_records_tables_and_pictures(prompt: Prompt, tmp_path: Path):
    code, _, _ = prompt("quickstart --steps 3")
    assert code == 0
    names = {path.name for path in (tmp_path / "results" / "quickstart").iterdir()}
    assert names >= {"records.jsonl", "table.md", "table.csv", "fills-center.png", "nearest-contexts.png"}
    table = (tmp_path / "results" / "quickstart" / "table.md").read_text()
    assert "labels: 10 a class, 10 draws" in table
    assert "sign-flip" in table
