"""Wrong input, typed at the prompt: one line that says what to do, exit code 2, nothing written."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_ce.cli import main


def ce(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and stderr of `ce LINE`, run in this process."""
    monkeypatch.setattr(sys, "argv", ["ce", *line.split()])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().err


@pytest.fixture
def place(tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos/, empty/, one-class/, broken/ (truncated images) and a file `notes.txt`."""
    (tmp_path / "photos").symlink_to(photo_folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    for split in ("train", "test"):
        (tmp_path / "one-class" / split / "only").mkdir(parents=True)
        (tmp_path / "broken" / split / "a").mkdir(parents=True)
        for number in range(6):
            pixels = np.full((40, 40, 3), 40 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "one-class" / split / "only" / f"{number}.png")
            whole = (photo_folder / "train" / "left" / "00.png").read_bytes()
            (tmp_path / "broken" / split / "a" / f"{number}.png").write_bytes(whole[: len(whole) // 2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pretrain quickstart --data nowhere/", "There is no folder"),
        ("pretrain quickstart --data empty", "No images"),
        ("pretrain quickstart --data broken", "broken"),
        ("pretrain quickstart --data notes.txt", "neither a folder nor a packed"),
        ("pretrain quickstart", "--data"),
        ("pretrain quikstart --data photos", "Did you mean quickstart"),
        ("pretrain quickstart --data photos --set optim.lrr=1", "Did you mean 'optim.lr'"),
        ("pretrain quickstart --data photos --set method.size=50", "not 50"),
        ("pretrain quickstart --data photos --epochs 1 --steps 1", "either --epochs or --steps"),
        ("pretrain quickstart --data photos --out notes.txt/run", "notes.txt"),
        ("pretrain --resume nowhere", "no run to resume"),
        ("evaluate knn hogg --data photos", "Did you mean hog"),
        ("evaluate knn hog --data one-class", "one class only"),
        ("evaluate knn hog --data photos --results notes.txt", "notes.txt"),
        ("evaluate knn runs/none --data photos", "There is no run at runs/none"),
        ("evaluate inpainting telea --data photos --holes centre", "Did you mean center"),
        ("evaluate inpainting hog --data photos", "fills no holes"),
        ("evaluate linear-probe hog --data photos --set folds=1", "folds"),
        ("data info nowhere/", "There is no folder"),
        ("data pack photos --size 8 --out notes.txt", "exists already"),
        ("results show empty", "empty"),
        ("export nowhere --format safetensors -o e.safetensors", "There is no run"),
        ("list recipe", "recipe"),
    ],
)
def test_wrong_input_is_answered_in_one_line_and_leaves_nothing(
    line: str, words: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = sorted(path.name for path in place.rglob("*"))
    code, errors = ce(line, monkeypatch, capsys)
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors
    said = [text for text in errors.splitlines() if text.startswith("Error")]
    assert len(said) == 1
    assert sorted(path.name for path in place.rglob("*")) == before
    assert (place / "notes.txt").read_text() == "mine"
