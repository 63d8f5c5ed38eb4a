"""`ce doctor`: what it finds, that nothing breaks it, and that nothing stays behind."""

from __future__ import annotations

import getpass
import json
import os
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ssl_ce import health
from ssl_ce.cli import doctor
from ssl_ce.files import TEMPORARY, sweep


def checks_of(out: str) -> dict[str, dict]:
    return {check["name"]: check for check in json.loads(out)["checks"]}


def everything(*roots: Path) -> list[Path]:
    return sorted(path for root in roots for path in root.rglob("*"))


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_quick_look_names_every_part_and_leaves_nothing(ce, fresh_cache: Path, tmp_path: Path):
    answer = ce("doctor --quick --json")
    assert answer.code == 0, answer.out
    found = checks_of(answer.out)
    assert list(found) == [
        "ssl-ce", "packages", "extras", "processor", "threads", "memory", "gpu", "faiss", "cache", "disk here",
        "disk of cache",
    ]  # fmt: skip
    assert found["packages"]["numbers"]["torch"] == metadata.version("torch")
    assert found["threads"]["numbers"]["torch"] == torch.get_num_threads()
    assert found["disk here"]["numbers"]["write"] > 0
    assert everything(tmp_path) == []


def test_each_line_says_how_it_stands_and_what_to_do(ce, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4096)
    answer = ce("doctor --quick")
    assert answer.code == 0  # a warning is no failure
    lines = answer.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("warn  threads"))
    assert "torch computes with 4096" in lines[at]
    assert "Set OMP_NUM_THREADS=" in lines[at + 1]


@pytest.mark.parametrize("broken", ["_packages", "_processor", "_memory", "_gpu", "_faiss", "_cache"])
def test_what_is_broken_is_a_line_and_an_exit_code(ce, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, broken: str):
    def fail():
        raise ImportError("libtorch_cpu.so: cannot open\nshared object file")

    monkeypatch.setattr(health, broken, fail)
    answer = ce("doctor --quick --json")
    assert answer.code == 1
    wrong = [check for check in json.loads(answer.out)["checks"] if check["status"] == "FAIL"]
    assert [check["said"] for check in wrong] == ["ImportError: libtorch_cpu.so: cannot open shared object file"]


def test_a_package_that_is_missing_or_too_old_is_named(ce, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch):
    needs = ["torch>=99", "no-such-package>=1", "click>=8", "never-asked>=1; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda _: needs)
    found = health.look("packages", health._packages)
    assert found.status == "FAIL"
    assert f"torch is {metadata.version('torch')}, needed is >=99; no-such-package is missing. " in found.said
    assert "never-asked" not in found.said


def test_a_faiss_that_finds_others_is_a_failure(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr("ssl_ce.search.nearest", lambda *_, backend: (None, [1] if backend == "faiss" else [2]))
    assert health.look("faiss", health._faiss).status == "FAIL"


def test_a_gpu_that_torch_does_not_see_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/nvidia0")]))
    found = health.look("gpu", health._gpu)
    assert (found.status, found.said) == ("warn", "there is an NVIDIA GPU, but torch sees none")


def test_leftovers_of_killed_processes_are_counted(fresh_cache: Path):
    (fresh_cache / "features" / "ab").mkdir(parents=True)
    (fresh_cache / "features" / "ab" / f".x.npy.1{TEMPORARY}").write_bytes(b"half")
    (fresh_cache / "features" / "ab" / "x.npy").write_bytes(b"whole")
    found = health.look("cache", health._cache)
    assert (found.status, found.numbers) == ("warn", {"files": 2, "bytes": 9, "leftovers": 1})


def test_a_file_that_is_renamed_while_the_cache_is_measured_is_passed_over(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    fresh_cache.mkdir()
    (fresh_cache / "x.npy").write_bytes(b"whole")
    monkeypatch.setattr(health.os, "walk", lambda folder: [(folder, [], ["x.npy", "gone.npy"])])
    found = health.look("cache", health._cache)
    assert (found.status, found.numbers["bytes"]) == ("ok", 5)


def test_the_disk_is_tried_with_a_file_that_another_writer_cannot_sweep(tmp_path: Path, monkeypatch):
    seen = []

    def sweep_meanwhile(file: int) -> None:
        sweep(tmp_path)
        seen.extend(everything(tmp_path))

    monkeypatch.setattr(health, "_forget", sweep_meanwhile)
    assert health.look("disk", lambda: health._disk("disk", tmp_path)).status != "FAIL"
    assert seen == everything(tmp_path) == []


def test_a_disk_without_space_and_one_that_lies_are_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    assert health._disk("disk", tmp_path).status == "FAIL"
    monkeypatch.undo()
    monkeypatch.setattr(health, "_forget", lambda file: os.pwrite(file, b"other", 0))
    assert "gives back other bytes" in health._disk("disk", tmp_path).said
    assert everything(tmp_path) == []


def test_a_data_root_is_read_and_a_missing_one_is_a_failure(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.bin").write_bytes(bytes(3 << 20))
    assert "read 1 files, 3.0 MiB" in health._data_root(tmp_path).said
    assert health._data_root(tmp_path / "b").status == "FAIL"


def test_home_and_user_are_cut_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    assert doctor.anonymous("/home/ada/runs, /scratch/ada/x, ada, adapter") == "~/runs, /scratch/USER/x, USER, adapter"


@pytest.mark.slow
def test_the_tiny_run_goes_through_every_room_and_leaves_nothing(ce, fresh_cache: Path, tmp_path: Path):
    before = os.environ["SSL_CE_CACHE"]
    answer = ce("doctor --json")
    assert answer.code == 0, answer.out
    found = checks_of(answer.out)
    assert list(found)[-5:] == ["pack", "train", "fill", "describe", "judge"]
    assert "k-NN on pixels: 97.0% as expected" in found["judge"]["said"]
    assert os.environ["SSL_CE_CACHE"] == before
    assert everything(tmp_path) == []


@pytest.mark.slow
def test_a_tiny_run_that_fails_ends_there(ce, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "_EXPECTED", 0.5)
    answer = ce("doctor")
    assert answer.code == 1
    assert "FAIL  judge          RuntimeError: k-NN on pixels is right for 97.0% of the digits" in answer.out
