from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from ssl_ce.cli.data import data
from ssl_ce.cli.image_options import data_options, make_data_options
from ssl_ce.data import DataOptions, open_set
from ssl_ce.errors import UserError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def row(output: str, name: str) -> list[str]:
    """The cells of the table's row `name`, which stand two spaces or more apart."""
    line = next(line for line in output.splitlines() if line.strip().startswith(name))
    return re.split(r"\s{2,}", line.strip())[1:]


def test_info_shows_splits_classes_and_native_sizes(photo_folder: Path) -> None:
    output = run("info", photo_folder).output
    assert row(output, "images") == ["24", "12"]
    assert row(output, "task") == ["classes", "classes"]
    assert row(output, "smallest") == ["48 x 40", "48 x 40"]
    assert row(output, "left") == ["12", "6"]


def test_info_names_unreadable_files_and_counts_others(tmp_path: Path, photo_folder: Path) -> None:
    (tmp_path / "only").mkdir()
    for number in range(4):
        (tmp_path / "only" / f"{number}.png").write_bytes((photo_folder / "train/left/00.png").read_bytes())
    (tmp_path / "only" / "bad.png").write_text("broken")
    (tmp_path / "only" / "notes.txt").write_text("no image")
    output = run("info", tmp_path).output
    assert row(output, "files of other kinds") == ["1", "1"]
    assert sum(map(int, row(output, "unreadable"))) == 1
    assert "bad.png: not an image in a known format" in output
    assert "one class only" in output


def test_info_of_a_packed_file_shows_what_it_says_of_itself(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.pack"
    run("pack", photo_folder, "--size", 16, "--out", out)
    output = run("info", out).output
    assert "24 of 16 x 16" in output
    assert "left, right" in output
    assert "shorter side resized" in output


def test_pack_writes_a_set_that_opens(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "test.pack"
    result = run("pack", photo_folder, "--split", "test", "--size", 16, "--fit", "pad", "--out", out)
    assert result.exit_code == 0
    images = open_set(str(out), "test")
    assert images.fingerprint in result.stdout
    assert images.fingerprint == open_set(str(photo_folder), "test", DataOptions(size=16, fit="pad")).fingerprint
    assert "12 images at 16 x 16 take 9.31 kB" not in result.stdout  # progress is for stderr
    assert "12 images at 16 x 16 take" in result.stderr
    one = run("pack", "digits?count=1", "--size", 16, "--out", tmp_path / "one.pack")
    assert "1 image at 16 x 16 takes" in one.stderr


def test_pack_replaces_a_file_only_by_force(photo_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.pack"
    out.write_text("precious")
    refused = run("pack", photo_folder, "--size", 16, "--out", out)
    assert isinstance(refused.exception, UserError)
    assert "--force" in str(refused.exception)
    assert out.read_text() == "precious"
    assert run("pack", photo_folder, "--size", 16, "--out", out, "--force").exit_code == 0


@pytest.mark.parametrize("reference", ["nowhere", "no/where", "."])
def test_a_reference_without_images_is_a_user_error(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (("info", reference), ("pack", reference, "--out", "a.pack")):
        assert isinstance(run(*arguments).exception, UserError)
    assert list(tmp_path.iterdir()) == []


def test_a_split_that_is_not_there_is_left_out_and_said(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to(photo_folder / "train")
    (tmp_path / "test").mkdir()
    result = run("info", tmp_path)
    assert row(result.stdout, "images") == ["24"]
    assert "Left out: No images in" in result.stderr


@pytest.mark.parametrize("command", [[], ["info"], ["pack"]])
def test_help_has_examples(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Examples:\n" in result.output


def test_other_commands_get_the_same_options() -> None:
    seen: dict[str, object] = {}

    @click.command()
    @click.option("--seed", type=int)
    @data_options
    def other(seed: int, **values: object) -> None:
        seen.update(values)

    arguments = ["--size", "20", "--data-seed", "4", "--data-root", "x", "--seed", "1", "--allow-unreadable"]
    assert CliRunner().invoke(other, arguments).exit_code == 0
    options = make_data_options(seen)
    assert options == DataOptions(size=20, seed=4, data_root=Path("x"), allow_unreadable=True, progress=True)
    assert make_data_options({}) == DataOptions(progress=True)


def test_the_command_line_imports_no_torch(photo_folder: Path) -> None:
    code = (
        "import sys; from ssl_ce.cli.data import data; "
        f"data(['info', '--no-duplicates', {str(photo_folder)!r}], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
