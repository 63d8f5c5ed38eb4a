"""Records by id, by how it begins, and by folder."""

from __future__ import annotations

import pytest

from ssl_ce.errors import UserError
from ssl_ce.records.finding import find_record
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.records.store import RecordStore


@pytest.fixture
def folders(tmp_path):
    """one/ with the ids 3f2a1 and 3f7b2, two/ with 3f2a1 and 91bc3."""
    for name, ids in (("one", ("3f2a1", "3f7b2")), ("two", ("3f2a1", "91bc3"))):
        for number, record_id in enumerate(ids):
            RecordStore(tmp_path / name).append(
                Record(
                    id=record_id,
                    cell="c",
                    protocol="knn-dino@1",
                    subject=SubjectInfo(name=f"{name} {number}", identity="a"),
                    dataset=DatasetInfo(name="digits", split="test", fingerprint="f", n=3),
                    seed=0,
                    metrics={"accuracy": Metric(value=0.5)},
                )
            )
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.parametrize("text", ["3f7b2", "3f7"])
def test_a_record_is_found_by_its_id_or_how_it_begins(folders, text):
    assert find_record(text, folders).subject.name == "one 1"


def test_a_folder_before_the_id_says_where(folders):
    assert find_record(f"{folders[1]}:3f2a1", folders[:1]).subject.name == "two 0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3f", "could mean 3 records: "),
        ("3f2a1", "Give more of the id, or DIR:ID"),
        ("5", "has an id that begins with '5'"),
        ("", "has an id that begins with ''"),
        ("nowhere:3f", "There are no results in nowhere"),
    ],
)
def test_none_or_several_are_an_error_that_says_what_to_give(folders, text, said):
    with pytest.raises(UserError, match=said):
        find_record(text, folders)
