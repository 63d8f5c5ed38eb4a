"""`ce hub` against a Hub that is a folder: what is uploaded, and what a download is allowed to bring."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ssl_ce.methods.saved import load_run
from ssl_ce.pretraining.hub import FILES

hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")


class FakeHub:
    """Repositories as folders; it takes and gives what huggingface_hub does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[tuple[str, bool]] = []

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.made.append((repo_id, private))

    def create_commit(self, repo_id: str, operations: list[Any], *, commit_message: str) -> Any:
        for operation in operations:
            assert isinstance(operation, hub.CommitOperationAdd)
            given = operation.path_or_fileobj
            path = self.root / repo_id / operation.path_in_repo
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(given if isinstance(given, bytes) else Path(given).read_bytes())
        return SimpleNamespace(repo_url=f"https://hub/{repo_id}")

    def snapshot_download(
        self, repo_id: str, *, revision: str | None, local_dir: Path, allow_patterns: list[str]
    ) -> str:
        if not (self.root / repo_id).is_dir():
            raise RuntimeError("404 Client Error.\n\nRepository Not Found")
        for path in sorted((self.root / repo_id).rglob("*")):
            name = path.relative_to(self.root / repo_id).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                local_dir.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, local_dir / name)
        return str(local_dir)


@pytest.fixture
def fake(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    found = FakeHub(tmp_path_factory.mktemp("hub"))
    monkeypatch.setattr(hub, "HfApi", lambda: found)
    monkeypatch.setattr(hub, "snapshot_download", found.snapshot_download)
    return found


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_run_comes_back_as_it_went(ce, fake, run, tmp_path):
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(recipe.replace("source: digits", "source: /home/me/secret/digits"))
    assert "/home/me/secret" in (run / "recipe.yaml").read_text()
    answer = ce("hub push run me/tiny --private")
    assert answer.code == 0, answer.err
    assert "https://hub/me/tiny" in answer.out
    assert fake.made == [("me/tiny", True)]
    uploaded = fake.root / "me/tiny"
    assert names_in(uploaded) == {*FILES, "README.md"}
    public = "".join((uploaded / name).read_text() for name in ("recipe.yaml", "manifest.json", "README.md"))
    for private in ("secret", "command", "device_name"):
        assert private not in public
    answer = ce("hub pull me/tiny -o theirs")
    assert answer.code == 0, answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"run", "theirs"}
    ours, theirs = load_run(run).encoder.state_dict(), load_run(Path("theirs")).encoder.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    answer = ce("evaluate knn theirs --data digits --no-floors")
    assert answer.code == 0, answer.err
    assert ce("hub pull me/tiny -o theirs").code == 2


def test_the_card_says_what_it_is_and_what_it_scored(ce, fake, run):
    assert ce("evaluate knn run@conv2 hog --data digits --no-floors --results r").code == 0
    assert ce("hub push run me/tiny --results r").code == 0
    card = (fake.root / "me/tiny/README.md").read_text()
    assert card.startswith("---\nlibrary_name: ssl-ce\n")
    assert "| method | context-encoder |" in card
    assert "| images | 1,297 of digits (train) |" in card
    assert "| run@conv2 | knn-dino@" in card
    assert "hog" not in card
    assert "license" not in card.partition("# tiny")[0]
    assert "No license is stated here" in card


def test_pictures_are_uploaded_only_on_request(ce, fake, run):
    (run / "samples").mkdir(exist_ok=True)
    (run / "samples" / "step-3.png").write_bytes(b"picture")
    assert ce("hub push run me/tiny").code == 0
    assert "samples/step-3.png" not in names_in(fake.root / "me/tiny")
    assert ce("hub push run me/tiny --samples").code == 0
    assert "samples/step-3.png" in names_in(fake.root / "me/tiny")
    assert not [name for name in names_in(fake.root) if "checkpoint" in name]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"cut"), "is not a readable safetensors file"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "has no weights yet"),
        (lambda folder: (folder / "recipe.yaml").unlink(), "holds no recipe.yaml"),
        (
            lambda folder: (folder / "recipe.yaml").write_text("!!python/object/apply:os.system [ls]"),
            "is not valid YAML",
        ),
    ],
    ids=["cut", "no-weights", "no-recipe", "code"],
)
def test_what_is_no_run_is_refused_and_not_kept(ce, fake, run, tmp_path, spoil, said):
    assert ce("hub push run me/tiny").code == 0
    spoil(fake.root / "me/tiny")
    answer = ce("hub pull me/tiny -o theirs")
    assert answer.code == 2
    assert said in answer.err
    assert "What me/tiny holds cannot be used" in answer.err
    assert len([line for line in answer.err.splitlines() if line]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_download_brings_no_other_files_and_no_links(ce, fake, run, tmp_path, monkeypatch):
    assert ce("hub push run me/tiny").code == 0
    theirs = fake.root / "me/tiny"
    (theirs / "checkpoint.pt").write_bytes(b"pickle")
    (theirs / "samples").mkdir()
    (theirs / "samples/recipe.yaml").write_text("more")

    def everything(repo_id: str, *, local_dir: Path, **rest: Any) -> str:
        shutil.copytree(theirs, local_dir)
        return str(local_dir)

    monkeypatch.setattr(hub, "snapshot_download", everything)  # a client that does not heed the patterns
    assert ce("hub pull me/tiny -o theirs").code == 0
    assert names_in(tmp_path / "theirs") == {*FILES, "README.md"}

    def linked(repo_id: str, *, local_dir: Path, **rest: Any) -> str:
        everything(repo_id, local_dir=local_dir)
        (local_dir / "log.csv").unlink()
        (local_dir / "log.csv").symlink_to("/etc/hostname")
        return str(local_dir)

    monkeypatch.setattr(hub, "snapshot_download", linked)
    answer = ce("hub pull me/tiny -o linked")
    assert (answer.code, (tmp_path / "linked").exists()) == (2, False)
    assert "log.csv is a link" in answer.err


def test_the_hubs_refusal_is_one_line(ce, fake, run, monkeypatch):
    answer = ce("hub pull me/absent -o theirs")
    assert answer.code == 2
    assert "me/absent could not be downloaded: 404 Client Error. Check the name" in answer.err

    def refuse(*given: Any, **more: Any) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(fake, "create_repo", refuse)
    answer = ce("hub push run me/tiny")
    assert answer.code == 2
    assert "run could not be uploaded to me/tiny: no route. Check" in answer.err
    assert "no run at absent" in ce("hub push absent me/tiny").err


@pytest.mark.parametrize("line", ["hub push run me/tiny", "hub pull me/tiny"])
def test_a_missing_extra_is_named(ce: Callable[[str], Any], run, monkeypatch, line):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    answer = ce(line)
    assert answer.code == 2
    assert "pip install 'ssl-ce[hub]'" in answer.err


def test_the_manifest_of_a_pulled_run_still_says_what_was_trained_on(ce, fake, run):
    assert ce("hub push run me/tiny").code == 0
    assert ce("hub pull me/tiny").code == 0
    manifest = json.loads(Path("runs/tiny/manifest.json").read_text())
    assert manifest["data"]["fingerprint"]
    assert "source" not in manifest["data"]
