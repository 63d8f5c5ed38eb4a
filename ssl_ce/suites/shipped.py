"""Where a suite's file is: one that ships with the package, by name, or the user's own, by path. Imports no torch."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ssl_ce.errors import UserError, unknown


def find_suite(reference: str) -> Path:
    """The file of the suite that `reference` names or points to.

    Raises
    ------
    UserError
        If there is none, with the closest names.
    """
    path = Path(reference)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise UserError(f"There is no suite file {path}. Shipped suites go by name: {', '.join(shipped_suites())}.")
        return path
    known = shipped_suites()
    if reference not in known:
        raise unknown("suite", reference, known)
    return known[reference]


def shipped_suites() -> dict[str, Path]:
    """{name: file} of the suites that ship with the package, in the order of their names."""
    folder = resources.files("ssl_ce.suites") / "builtin"
    return {
        Path(str(item)).stem: Path(str(item))
        for item in sorted(folder.iterdir(), key=str)
        if str(item).endswith(".yaml")
    }
