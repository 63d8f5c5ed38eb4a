"""The published tables of a suite file: which numbers were printed, and which records stand beside them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ssl_ce.errors import unknown
from ssl_ce.settings import Settings


class PublishedColumn(Settings):
    """A column of a published table, and which measured numbers stand beside it.

    Attributes
    ----------
    metric
        The records' metric; None: it is called as the column.
    split
        The images that are reported on.
    unit
        The unit of the published numbers: "%", "dB", or in words where it is another than the measured numbers'.
    """

    metric: str | None = None
    split: Literal["train", "test"] = "test"
    better: Literal["lower", "higher"]
    unit: str = "as published"


class PublishedRow(Settings):
    """A row, and whose numbers stand in it: the pretraining `run`, or a `subject` as it is written.

    Where a pretraining is judged at several taps, both are named: `subject: "{run}@conv3"`.

    Attributes
    ----------
    evaluator
        Another than the table's.
    published
        {column: the number as it was printed}, several if printings differ. A column that is left out shows what was
        measured alone.
    """

    label: str
    run: str | None = None
    subject: str | None = None
    evaluator: str | None = None
    published: dict[str, Annotated[tuple[float, ...], Field(min_length=1)]] = Field(default_factory=dict)

    @field_validator("published", mode="before")
    @classmethod
    def _one_is_several_too(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: item if isinstance(item, list | tuple) else (item,) for name, item in value.items()}

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.run is None and self.subject is None:
            raise ValueError("name the pretraining (run) or the subject that is measured")
        return self


class PublishedTable(Settings):
    """A published table: which records it is set beside, and how far the two may be compared.

    Attributes
    ----------
    source
        Who published it, and where.
    evaluator, variant
        Which records: {holes: center}.
    columns
        {name: column}, in their order.
    compare
        "order": only the ranks are compared. "none": they are only shown.
    note
        What else has to be known to read it.
    """

    title: str
    source: str
    evaluator: str
    variant: dict[str, str] = Field(default_factory=dict)
    columns: dict[str, PublishedColumn] = Field(min_length=1)
    rows: tuple[PublishedRow, ...] = Field(min_length=1)
    compare: Literal["order", "none"] = "order"
    note: str = ""

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        for row in self.rows:
            for name in row.published:
                if name not in self.columns:
                    raise ValueError(f"row '{row.label}': {unknown('column', name, self.columns)}")
        return self

    def metric(self, column: str) -> str:
        """The records' metric beside that column."""
        return self.columns[column].metric or column

    def protocol(self, row: PublishedRow) -> str:
        """The evaluator whose records stand in that row."""
        return row.evaluator or self.evaluator
