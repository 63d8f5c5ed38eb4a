"""The wheel: it holds what runs need beside the code, and works in another environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import torch

from ssl_ce.pretraining.recipe import builtin_recipes

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by pip from a copy of the source, so that nothing is left in the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "ssl_ce", source / "ssl_ce", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("hatchling, which builds the wheel, cannot be had from the package index")
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_recipes_types_and_the_command(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = {Path(name).name: archive.read(name).decode() for name in names if ".dist-info/" in name}
    assert {f"ssl_ce/recipes/{recipe}.yaml" for recipe in builtin_recipes()} <= names
    assert "ssl_ce/py.typed" in names
    assert {f"ssl_ce/report/page/{name}" for name in ("page.html", "chart.html", "page.css", "page.js")} <= names
    assert "ce = ssl_ce.cli:run" in metadata["entry_points.txt"]
    assert "MIT License" in metadata["LICENSE"]
    assert "License-Expression: MIT" in metadata["METADATA"]
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.slow
def test_the_wheel_runs_the_quickstart_elsewhere(wheel: Path, tmp_path: Path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    # What it depends on is lent by this environment, so that torch is not downloaded again; ssl-ce itself is not.
    lent, (site,) = Path(torch.__file__).parents[1], environment.glob("lib/*/site-packages")
    for path in lent.iterdir():
        if "ssl_ce" not in path.name and not path.name.startswith("pip") and not (site / path.name).exists():
            (site / path.name).symlink_to(path)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    variables["SSL_CE_CACHE"] = str(tmp_path / "cache")
    command = [environment / "bin" / "ce", "quickstart", "--steps", "3"]
    shown = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "results" / "quickstart" / "table.md").is_file()
    where = [python, "-c", "import ssl_ce; print(ssl_ce.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(environment)
