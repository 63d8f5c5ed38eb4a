"""A record by its id, by how its id begins, or by the folder that holds it: `ID`, `DIR:ID`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ssl_ce.errors import UserError
from ssl_ce.records.record import Record
from ssl_ce.records.store import RecordStore


def find_record(text: str, folders: Iterable[Path]) -> Record:
    """The record that `text` names, without its outcomes.

    Parameters
    ----------
    text
        An id or its beginning, as long as it is unique; with a folder of results before it, "DIR:ID", in that one.
    folders
        Where it is looked for, if `text` names no folder.

    Raises
    ------
    UserError
        If there is none, or several are meant.
    """
    named, colon, start = text.rpartition(":")
    places = [Path(named)] if colon else list(folders)
    for folder in places:
        if not RecordStore(folder).path.is_file():
            raise UserError(f"There are no results in {folder}. Give the folder that --results named.")
    found = [(folder, record) for folder in places for record in RecordStore(folder).records()]
    meant = [(folder, record) for folder, record in found if start and record.id.startswith(start)]
    where = ", ".join(map(str, places))
    if not meant:
        raise UserError(
            f"No record in {where} has an id that begins with '{start}'. The ids: ce results show {places[0]} "
            "--format csv. Elsewhere: --results DIR."
        )
    if len(meant) > 1:
        listed = ", ".join(f"{folder}:{record.id}" for folder, record in meant[:4])
        raise UserError(f"'{text}' could mean {len(meant)} records: {listed}. Give more of the id, or DIR:ID.")
    return meant[0][1]
