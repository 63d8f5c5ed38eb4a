"""The log of a run: `log.csv` always, TensorBoard when it is installed. Both can be cut back to a step."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssl_ce.errors import UserError
from ssl_ce.files import explain, write_text


class Log:
    """Rows of numbers by step, appended to `log.csv` and to TensorBoard.

    Parameters
    ----------
    folder
        The run directory.
    start
        Rows after this step are cut away first: they belong to work that was lost. -1 leaves none.
    tensorboard
        Write `tensorboard/` too. Needs the extra; `tensorboard_missing()` tells.
    """

    def __init__(self, folder: Path, start: int = 0, tensorboard: bool = True) -> None:
        self.path = folder / "log.csv"
        self._columns: list[str] = []
        if self.path.exists():
            rows = read_log(self.path)
            self._write([row for row in rows if int(row["step"]) <= start])
        self._writer: Any = None
        if tensorboard and not tensorboard_missing():
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append one row. A column that is new is added to the file's header; earlier rows leave it empty."""
        new = [key for key in values if key not in self._columns]
        row = {"step": str(step), **{key: repr(float(value)) for key, value in values.items()}}
        if new or not self.path.exists():
            rows = read_log(self.path) if self.path.exists() else []
            self._write([*rows, row], [*self._columns, *new])
        else:
            try:
                with self.path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, ["step", *self._columns]).writerow(row)
            except OSError as error:
                raise explain(error, self.path) from error
        if self._writer is not None:
            try:
                for key, value in values.items():
                    self._writer.add_scalar(key, value, step)
            except OSError as error:  # of an earlier row: a thread of TensorBoard's writes it
                raise explain(error, self.path.parent / "tensorboard") from error

    def close(self) -> None:
        """Write out what TensorBoard still holds. What it cannot write is lost to it; `log.csv` has it."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()

    def _write(self, rows: list[dict[str, str]], columns: list[str] | None = None) -> None:
        if columns is None:
            columns = [key for key in (rows[0] if rows else {}) if key != "step"]
        self._columns = columns
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, ["step", *columns])
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a `log.csv`; a last line torn by a kill is left out. `UserError` if a row has no step."""
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = [row for row in csv.DictReader(io.StringIO(whole)) if row.get("step")]
        for row in rows:
            int(row["step"])
    except (OSError, ValueError, csv.Error) as error:
        raise damaged(path, error) from error
    return rows


def damaged(path: Path, reason: Exception) -> UserError:
    """The error to show where a log is not what was written."""
    return UserError(f"The log {path} is damaged ({reason}). Remove it: a run goes on without the rows that it had.")


def tensorboard_missing() -> bool:
    """Whether the extra `tensorboard` is not installed."""
    return find_spec("tensorboard") is None
