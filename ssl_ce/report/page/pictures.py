"""The pictures of a page, embedded: what evaluations left beside the records, and the last fills of runs."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ssl_ce.records.record import Record
from ssl_ce.report.layout import heading_of
from ssl_ce.report.page.runs import Run

MOST_BYTES = 12_000_000
"""What all pictures of a page may take together, as files."""


@dataclass(frozen=True)
class Picture:
    """A PNG of `width` x `height` pixels as a data URI, with what it shows."""

    uri: str
    width: int
    height: int
    caption: str


@dataclass
class Album:
    """Pictures by what they show, and the names of those that are left out, with why."""

    fills: list[Picture]
    retrieval: list[Picture]
    left_out: dict[str, str]


def collect(folder: Path, records: Iterable[Record], runs: Mapping[str, Run], most: int = MOST_BYTES) -> Album:
    """Embed PNGs until `most` bytes are reached: of retrieval and of failures in `folder` first, then of runs."""
    album = Album([], [], {})
    records = list(records)
    wanted = [(album.retrieval, path, _retrieval_caption(path)) for path in _found(folder, "retrieval-", "nearest-")]
    wanted += [(album.fills, path, _fills_caption(path, records)) for path in _found(folder, "fills-", "failures-")]
    for run in runs.values():
        if (path := run.last_sample) is not None:
            step = path.stem.removeprefix("step-").lstrip("0")
            wanted.append((album.fills, path, f"Holes, fills and truth: {run.name} after step {step}"))
    used = 0
    for pictures, path, caption in wanted:
        try:
            content = path.read_bytes()
            with Image.open(path, formats=["PNG"]) as image:
                width, height = image.size
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            album.left_out[str(path)] = "it is no PNG that can be read"
            continue
        if used + len(content) > most:
            album.left_out[str(path)] = "there is no room"
            continue
        used += len(content)
        uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        pictures.append(Picture(uri, width, height, caption))
    return album


def _found(folder: Path, *prefixes: str) -> list[Path]:
    return sorted(path for prefix in prefixes for path in folder.glob(f"{prefix}*.png"))


def _retrieval_caption(path: Path) -> str:
    holes = path.stem.removeprefix("retrieval-")
    return "Nearest contexts" if path.stem.startswith("nearest") else f"Nearest contexts, holes: {holes}"


def _fills_caption(path: Path, records: Iterable[Record]) -> str:
    kind, _, rest = path.stem.partition("-")
    if kind == "fills":
        return f"Holes, the fills of each inpainter, and the truth; holes: {rest}"
    made = path.stem.rpartition("-")[2]  # the first digits of the record's id
    record = next((record for record in records if len(made) == 6 and record.id.startswith(made)), None)
    what = rest if record is None else f"{record.subject.name} · {heading_of(record)}"
    return f"Worst, median and best fills: {what}"
