"""The store of records: `records.jsonl`, one line a record, and their outcomes in `outcomes/<id>.npz`.

Appending is safe against a killed process (a torn last line is left out when reading, and cut off by the next
append) and against several processes appending at once (a file lock around one write).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ssl_ce.errors import UserError
from ssl_ce.files import atomic_write, explain
from ssl_ce.garbage import uncollected
from ssl_ce.records.record import Record

# Numbers of all outcomes of one record: thirty of a million images.
_MOST_BYTES = 1 << 28
# What differs when the same is judged again in the same way.
_OF_THE_MOMENT = frozenset(("created", "seconds", "peak_memory_mb"))


class RecordStore:
    """The records in `folder`, which need not exist before the first append.

    Parameters
    ----------
    folder
        Holds `records.jsonl` and `outcomes/`.
    say
        Told, in one line, that a torn last line was left out. Warns unless given.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = warnings.warn) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "records.jsonl"
        self._say = say

    def append(self, record: Record) -> None:
        """Keep `record`, its outcomes first, so that a record that is there has its outcomes.

        One that is there already, and is no other but for its date, seconds and memory, is not written again: it was
        made by a process that was killed afterwards, or by the same command.

        Raises
        ------
        UserError
            If the folder cannot be written to.
        MachineError
            If the disk is full; `records.jsonl` is as it was.
        """
        if record.outcomes is not None:
            arrays = {name: np.asarray(values) for name, values in record.outcomes.items()}
            with atomic_write(self._outcomes_path(record.id)) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        line = record.model_dump_json().encode() + b"\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                there = _latest(file.read(), record.id)
                if there is None or _lasting(there) != _lasting(record):
                    _append_line(file, line)
        except OSError as error:
            raise explain(error, self.path) from error

    def records(self, *, with_outcomes: bool = False) -> list[Record]:
        """All records, without their outcomes unless asked for; none if the folder holds none.

        Records are immutable, so two lines with one id are the same result run twice: the later stands, in
        the place of the first.

        Raises
        ------
        UserError
            If a line is not a record (file and line number are named), or the file cannot be read.
        """
        with uncollected():
            records = self._parsed()
        if not with_outcomes:
            return list(records.values())
        return [record.model_copy(update={"outcomes": self._lists(record.id)}) for record in records.values()]

    def _parsed(self) -> dict[str, Record]:
        records: dict[str, Record] = {}
        lines = self._read().split(b"\n")
        # Every whole line ends in a newline, so what follows the last one is empty or torn.
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = Record.model_validate_json(line)
            except ValidationError as error:
                if number == len(lines):
                    self._say(f"The last line of {self.path} is torn: it was left out. Run its cell again.")
                    continue
                raise UserError(
                    f"Line {number} of {self.path} is no record: {_first_problem(error)}. Delete that line."
                ) from error
            records[record.id] = record
        return records

    def cells(self) -> set[str]:
        """The cells that have a record."""
        return {record.cell for record in self.records()}

    def find_outcomes(
        self, record: Record, names: Collection[str] | None = None
    ) -> dict[str, NDArray[np.float64]] | None:
        """As `outcomes`, those called `names` alone; None if none are kept for the record."""
        return self.outcomes(record.id, names) if self._outcomes_path(record.id).exists() else None

    def outcomes(self, record_id: str, names: Collection[str] | None = None) -> dict[str, NDArray[np.float64]]:
        """The outcomes of one record: {name: float64 (n,)}, one number for each test image, or each draw.

        `names` are those to read, as far as there are such; None: all.

        Raises
        ------
        UserError
            If none are kept for that id, or their file is damaged.
        """
        path = self._outcomes_path(record_id)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if sum(member.file_size for member in arrays.zip.infolist()) > _MOST_BYTES:
                    raise ValueError("its archive becomes larger than outcomes ever are")
                return {name: _numbers(arrays[name]) for name in arrays.files if names is None or name in names}
        except FileNotFoundError as error:
            raise UserError(f"No outcomes are kept for the record '{record_id}' in {self.folder}.") from error
        except Exception as error:  # a damaged file can raise nearly anything inside NumPy
            raise UserError(f"{path} cannot be read ({error}). Delete it and run its cell again.") from error

    def _lists(self, record_id: str) -> dict[str, list[float]] | None:
        if not self._outcomes_path(record_id).exists():
            return None
        return {name: values.tolist() for name, values in self.outcomes(record_id).items()}

    def _outcomes_path(self, record_id: str) -> Path:
        if Path(record_id).name != record_id:
            raise UserError(f"'{record_id}' is not the id of a record: ids are plain names.")
        return self.folder / "outcomes" / f"{record_id}.npz"

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise UserError(f"Cannot read {self.path}: {error.strerror}.") from error


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """`values` if they are real numbers in a row. Raises `ValueError` for others."""
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "biuf":
        raise ValueError("its arrays are no rows of numbers")
    return values.astype(np.float64)


def _latest(content: bytes, record_id: str) -> Record | None:
    """The last record of that id in `content`, of which only the lines that hold the id are parsed."""
    wanted, end = json.dumps(record_id).encode(), len(content)
    while (place := content.rfind(wanted, 0, end)) >= 0:
        end = content.rfind(b"\n", 0, place) + 1
        with suppress(ValidationError):
            record = Record.model_validate_json(content[end:].partition(b"\n")[0])
            if record.id == record_id:
                return record
    return None


def _lasting(record: Record) -> dict[str, Any]:
    """What of a record is the same each time. NaN, which equals nothing, is null in JSON."""
    values: dict[str, Any] = json.loads(record.model_dump_json(exclude=set(_OF_THE_MOMENT)))
    return values


def _append_line(file: FileIO, line: bytes) -> None:
    """Write `line` at the end of `file`, on a line of its own, whole or not at all, and down to the disk."""
    end = file.seek(0, os.SEEK_END)
    if torn := _after_last_newline(file, end):
        if _is_record(torn):
            line = b"\n" + line
        else:
            end -= len(torn)
            file.truncate(end)
    try:
        if file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            file.truncate(end)
        raise


def _after_last_newline(file: FileIO, end: int) -> bytes:
    """What a killed process left of its line: empty, unless the last byte of `file` is no newline."""
    if end == 0:
        return b""
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return b""
    file.seek(0)
    return file.read(end).rpartition(b"\n")[2]


def _is_record(line: bytes) -> bool:
    try:
        Record.model_validate_json(line)
    except ValidationError:
        return False
    return True


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    return f"'{path}': {first['msg']}" if path else first["msg"]
