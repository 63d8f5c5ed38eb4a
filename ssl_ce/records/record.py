"""The record: one immutable result row, with all it takes to run it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from ssl_ce.files import digest
from ssl_ce.settings import Settings

Spread = Literal["bootstrap over test images", "bootstrap over test images' confusion matrices", "n/a"]


class Metric(Settings):
    """One number with its interval.

    Attributes
    ----------
    value
        The number, in the unit its name says (`accuracy` is a share of 1, `psnr` is in dB).
    low, high
        Ends of the 95 % interval; None where an interval would be unsound.
    spread
        What the interval is over.
    higher_is_better
        Which direction is bold in a table; None for a number that is neither good nor bad (a spread).
    """

    # The PSNR of an exact fill is infinite, and must be read back as that.
    model_config = ConfigDict(ser_json_inf_nan="strings", allow_inf_nan=True)

    value: float
    low: float | None = None
    high: float | None = None
    spread: Spread = "n/a"
    higher_is_better: bool | None = True


class SubjectInfo(Settings):
    """Who was judged: the reference that names it, and the hash of its weights and parameters."""

    name: str
    identity: str


class DatasetInfo(Settings):
    """What it was judged on: one split, its size in images and the hash of its content."""

    name: str
    split: str
    fingerprint: str
    n: int
    size: tuple[int, int] | None = None
    source: dict[str, Any] = Field(default_factory=dict)


class Record(Settings):
    """One immutable result row.

    Attributes
    ----------
    id
        Hash of what was used: the cell, the subject's identity, the data's fingerprints.
    cell
        Hash of what was declared, known before anything runs: protocol, its settings, subject, data, seed.
    protocol
        "linear-probe@1".
    variant
        What sets rows of one protocol apart in a table: {"labels": "10 a class"}, {"holes": "center"}.
    subject, dataset, split, n, seed
        Who, on what, how many images are scored, with which seed.
    metrics
        {name: Metric}; the first is the headline.
    outcomes
        {name: values}: one number for each test image (or each draw, under names that end in "_draws"), NaN where
        an image has none. They are kept beside the records, in a file named after the id, and are None in a
        record read without them.
    config
        The evaluator's settings.
    chosen
        What was selected, and on which split: {"C": 0.1, "on": "10 % of train, held out by seed 0"}.
    notes
        What else is to be said about how the result came about: whose implementation a metric is, how masks were
        matched, which images were left out.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    id: str
    cell: str
    protocol: str
    variant: dict[str, str] = Field(default_factory=dict)
    subject: SubjectInfo
    dataset: DatasetInfo
    train: DatasetInfo | None = None
    seed: int
    metrics: dict[str, Metric]
    config: dict[str, Any] = Field(default_factory=dict)
    chosen: dict[str, Any] = Field(default_factory=dict)
    notes: dict[str, Any] = Field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    machine: dict[str, Any] = Field(default_factory=dict)
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    outcomes: dict[str, list[float]] | None = Field(default=None, exclude=True, repr=False)

    def flat(self) -> dict[str, Any]:
        """The record as other programs read it: `subject`, `dataset`, `split` and `n` at the top level."""
        values = self.model_dump(mode="json")
        subject, dataset = values.pop("subject"), values.pop("dataset")
        return {
            "id": self.id,
            "cell": self.cell,
            "protocol": self.protocol,
            "subject": subject["name"],
            "dataset": dataset["name"],
            "split": dataset["split"],
            "n": dataset["n"],
            "seed": self.seed,
            "metrics": {
                name: {"value": metric.value, "low": metric.low, "high": metric.high}
                for name, metric in self.metrics.items()
            },
            **{key: value for key, value in values.items() if key not in {"id", "cell", "protocol", "seed", "metrics"}},
            "subject_identity": subject["identity"],
            "dataset_fingerprint": dataset["fingerprint"],
        }


def cell_hash(protocol: str, config: Mapping[str, Any], subject: str, data: Mapping[str, Any], seed: int) -> str:
    """Hash of what a cell declares; the same before it runs and after."""
    return digest(json.dumps([protocol, dict(config), subject, dict(data), seed], sort_keys=True, default=str))[:16]


def record_id(cell: str, variant: Mapping[str, str], *used: str) -> str:
    """Hash of what a record used: its cell and variant, then identities and fingerprints."""
    return digest(json.dumps([cell, dict(variant), *used], sort_keys=True))[:16]
