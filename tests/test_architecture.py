"""The rules that keep the rooms apart: imports go downward, and asking for help imports nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ssl_ce"

# From top to bottom. Modules that lie directly in the package, below the rooms, come last and share one level.
ROOMS = (
    "cli", "suites", "report", "subjects", "evaluators", "pretraining", "inpainters", "descriptors", "methods",
    "networks", "data", "records",
)  # fmt: skip
GROUND = {
    "devices",
    "processes",
    "children",
    "search",
    "kmeans",
    "holes",
    "metrics",
    "ssim",
    "rings",
    "images",
    "randomness",
    "seeds",
    "registry",
    "settings",
    "references",
    "files",
    "locks",
    "machine",
    "health",
    "manifest",
    "garbage",
    "errors",
}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def level(room: str) -> int:
    return ROOMS.index(room) if room in ROOMS else len(ROOMS)


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {module for module in found if module.startswith("ssl_ce.") and room_of(module) in {*ROOMS, *GROUND}}


def modules() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent != PACKAGE or path.stem not in {"__init__", "__main__"}
    ]


def test_every_module_belongs_to_a_room_or_to_the_ground():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()}
    assert rooms <= {*ROOMS, *GROUND}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_import_goes_downward_only(path: Path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imports_of(path):
        assert level(room_of(module)) >= level(own), f"{own} must not know {module}"


def test_help_does_not_import_torch():
    code = """
import sys
sys.argv = ["ce", "--help"]
from ssl_ce.cli import main
try:
    main()
except SystemExit:
    pass
print("torch" in sys.modules, "pydantic" in sys.modules)
"""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.splitlines()[-1] == "False False"


@pytest.mark.parametrize(
    "module",
    [
        "ssl_ce",
        "ssl_ce.evaluators",
        "ssl_ce.descriptors",
        "ssl_ce.inpainters",
        "ssl_ce.methods",
        "ssl_ce.networks",
        "ssl_ce.data",
    ],
)
def test_listing_a_rooms_names_does_not_import_torch(module: str):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
        == "False"
    )


def test_files_are_read_without_running_what_is_in_them():
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = ast.unparse(node.func)
                assert call not in {
                    "pickle.load",
                    "pickle.loads",
                    "yaml.load",
                    "yaml.full_load",
                    "joblib.load",
                }, path
                if call == "torch.load":
                    assert any(
                        word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords
                    ), path
                if call == "np.load":
                    assert all(
                        word.arg != "allow_pickle" or ast.unparse(word.value) == "False" for word in node.keywords
                    ), path
