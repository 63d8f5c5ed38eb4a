"""Reports as files."""

from __future__ import annotations

import pytest

from ssl_ce.errors import UserError
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.report.tables import render
from ssl_ce.report.write import write_report

RECORD = Record(
    id="one",
    cell="c",
    protocol="knn@1",
    subject=SubjectInfo(name="hog", identity="a"),
    dataset=DatasetInfo(name="digits", split="test", fingerprint="f", n=360),
    seed=0,
    metrics={"accuracy": Metric(value=0.5)},
)


def test_a_report_is_a_markdown_and_a_csv_file(tmp_path):
    markdown, comma_separated = write_report(tmp_path / "results", [RECORD])
    assert (markdown.name, comma_separated.name) == ("table.md", "table.csv")
    assert markdown.read_text(encoding="utf-8") == render([RECORD], "md")
    assert comma_separated.read_text(encoding="utf-8") == render([RECORD], "csv")


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        write_report(tmp_path / "results", [RECORD])
