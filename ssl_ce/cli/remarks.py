"""What `ce evaluate` says below its tables."""

from __future__ import annotations

import shlex

from ssl_ce.evaluators.recording import DUPLICATES, LEFT_OUT
from ssl_ce.records.record import Record

_KINDS = ("exact", "near")


def remarks(records: list[Record], source: str | None) -> list[str]:
    """Lines on what a reader of these records should know; `source` is the image set, if one holds train and test."""
    return [*_taps_chosen(records), *_left_out(records), *_duplicates(records, source)]


def _left_out(records: list[Record]) -> list[str]:
    """A line for each subject that found the images to fill themselves among those it searches."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record.subject.name] = counts.get(record.subject.name, 0) + record.notes.get(LEFT_OUT, 0)
    return [f"{who}: {LEFT_OUT}: {count:,}" for who, count in counts.items() if count]


def _taps_chosen(records: list[Record]) -> list[str]:
    """A line for each `REF@all`: the tap that its row is of."""
    return [
        f"{record.subject.name}: {record.chosen['tap']}, chosen on {record.chosen['tap chosen on']}"
        for record in records
        if "tap" in record.chosen
    ]


def _duplicates(records: list[Record], source: str | None) -> list[str]:
    """A warning if test images are among the train images, and how to see which, if one set holds both."""
    found = [record for record in records if any(record.notes.get(DUPLICATES, {}).get(kind) for kind in _KINDS)]
    if not found:
        return []
    counts, where = found[0].notes[DUPLICATES], found[0].dataset
    exact = f"{counts['exact']:,} are train images too" if counts["exact"] else ""
    near = f"{counts['near']:,} look almost like {'one' if exact else 'a train image'}" if counts["near"] else ""
    said = " and ".join(part for part in (exact, near) if part)
    see = f" See them: ce data info {shlex.quote(source)}" if source is not None else ""
    return [f"Warning: of {where.n:,} {where.split} images of {where.name}, {said}.{see}"]
