"""The store keeps whole records, whatever happens to the processes that write them."""

from __future__ import annotations

import errno
import json
import math
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from ssl_ce.errors import MachineError, UserError
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.records.store import RecordStore


def make_record(record_id: str, **fields) -> Record:
    values = {
        "id": record_id,
        "cell": f"cell of {record_id}",
        "protocol": "knn@1",
        "subject": SubjectInfo(name="hog", identity="a" * 32),
        "dataset": DatasetInfo(name="digits", split="test", fingerprint="b" * 32, n=360, size=(32, 32)),
        "seed": 0,
        "metrics": {"accuracy": Metric(value=0.9, low=0.85, high=0.95, spread="bootstrap over test images")},
        "machine": {"torch": "2.11", "command": "ce evaluate knn hog --data digits"},
    }
    return Record(**values | fields)


@pytest.fixture
def store(tmp_path) -> RecordStore:
    return RecordStore(tmp_path / "results")


def test_an_empty_store_has_no_records(store):
    assert store.records() == []
    assert store.cells() == set()


def test_records_come_back_as_they_were_kept(store):
    kept = [make_record("one"), make_record("two", variant={"labels": "all"}, chosen={"C": 0.1})]
    for record in kept:
        store.append(record)
    assert store.records() == kept
    assert store.cells() == {"cell of one", "cell of two"}
    assert [json.loads(line)["id"] for line in store.path.read_text().splitlines()] == ["one", "two"]


def test_an_infinite_metric_comes_back_infinite(store):
    store.append(make_record("exact", metrics={"psnr": Metric(value=math.inf)}))
    assert store.records()[0].metrics["psnr"].value == math.inf


def test_outcomes_are_kept_beside_the_records(store):
    outcomes = {"accuracy": [1.0, 0.0, 1.0], "accuracy_draws": [0.5, 0.25]}
    store.append(make_record("one", outcomes=outcomes))
    store.append(make_record("none"))
    assert store.records()[0].outcomes is None
    assert [record.outcomes for record in store.records(with_outcomes=True)] == [outcomes, None]
    np.testing.assert_array_equal(store.outcomes("one")["accuracy"], [1.0, 0.0, 1.0])


def test_an_image_without_an_outcome_has_none_when_read_again(store):
    store.append(make_record("one", outcomes={"l1_ring_33": [0.25, math.nan, 0.0]}))
    (record,) = store.records(with_outcomes=True)
    assert record.outcomes is not None
    np.testing.assert_array_equal(record.outcomes["l1_ring_33"], [0.25, math.nan, 0.0])


def test_notes_come_back_and_a_record_from_before_there_were_any_is_read(store):
    store.append(make_record("one", notes={"implementations": {"lpips": "torchmetrics 1.9.0"}}))
    before = make_record("two").model_dump(mode="json")
    del before["notes"]
    with store.path.open("a") as file:
        file.write(json.dumps(before) + "\n")
    assert [record.notes for record in store.records()] == [{"implementations": {"lpips": "torchmetrics 1.9.0"}}, {}]
    assert store.records()[0].flat()["notes"]


def test_of_a_result_run_twice_the_later_record_stands(store):
    for torch, record_id in [("2.11", "one"), ("2.12", "two"), ("2.13", "one")]:
        store.append(make_record(record_id, machine={"torch": torch}))
    assert [(record.id, record.machine["torch"]) for record in store.records()] == [("one", "2.13"), ("two", "2.12")]
    assert len(store.path.read_text().splitlines()) == 3


def test_what_a_killed_process_stored_is_not_stored_again(store):
    values = {"metrics": {"psnr": Metric(value=math.inf), "seam": Metric(value=math.nan)}, "notes": {"nan": math.nan}}
    again = {"seconds": 2.0, "peak_memory_mb": 9.0, "created": "2030-01-01T00:00:00+00:00"}
    store.append(make_record("one", **values, outcomes={"psnr": [1.0]}))
    store.append(make_record("two"))
    before = store.path.read_bytes()
    (store.folder / "outcomes" / "one.npz").write_bytes(b"damaged")
    store.append(make_record("one", **values, **again, outcomes={"psnr": [1.0]}))
    assert store.path.read_bytes() == before
    np.testing.assert_array_equal(store.outcomes("one")["psnr"], [1.0])
    store.append(make_record("one", **{**values, "seed": 1}))
    store.append(make_record("one", **values))  # the one that stands is the last
    assert [json.loads(line)["id"] for line in store.path.read_text().splitlines()] == ["one", "two", "one", "one"]


def test_what_is_torn_or_names_another_id_is_no_record_that_is_there(store):
    store.append(make_record("one", notes={"before": "two"}))
    with store.path.open("ab") as file:
        file.write(make_record("two").model_dump_json().encode()[:-1])
    store.append(make_record("two"))
    assert [record.id for record in store.records()] == ["one", "two"]


def test_a_torn_last_line_is_left_out_with_a_notice_and_the_next_record_starts_afresh(tmp_path):
    notices: list[str] = []
    store = RecordStore(tmp_path, say=notices.append)
    store.append(make_record("one"))
    with store.path.open("ab") as file:
        file.write(make_record("two").model_dump_json().encode()[:100])
    assert [record.id for record in store.records()] == ["one"]
    assert len(notices) == 1
    assert "torn" in notices[0]
    store.append(make_record("three"))
    assert [record.id for record in store.records()] == ["one", "three"]
    assert len(notices) == 1


def test_a_whole_last_line_without_a_newline_is_kept(store):
    store.append(make_record("one"))
    store.path.write_text(store.path.read_text().rstrip("\n"))
    assert [record.id for record in store.records()] == ["one"]
    store.append(make_record("two"))
    assert [record.id for record in store.records()] == ["one", "two"]


def test_a_torn_line_is_warned_of_unless_told_otherwise(store):
    store.append(make_record("one"))
    with store.path.open("ab") as file:
        file.write(b'{"id"')
    with pytest.warns(UserWarning, match="torn"):
        store.records()


@pytest.mark.parametrize("damage", ["{broken\n", '{"id": "x"}\n', "\xff\xfe\n"])
def test_a_damaged_line_in_the_middle_is_named(store, damage):
    store.append(make_record("one"))
    with store.path.open("ab") as file:
        file.write(damage.encode("latin-1"))
    store.append(make_record("three"))
    with pytest.raises(UserError, match=r"Line 2 of .*records\.jsonl"):
        store.records()


def _append_fifty(folder: Path, worker: int) -> None:
    store = RecordStore(folder)
    for number in range(50):
        store.append(make_record(f"{worker}-{number}", machine={"padding": "x" * 9_000}))


def test_processes_that_append_at_once_leave_whole_lines(tmp_path):
    workers = [
        multiprocessing.get_context("fork").Process(target=_append_fifty, args=(tmp_path, worker))
        for worker in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 200
    assert len(RecordStore(tmp_path).records()) == 200


def test_a_full_disk_leaves_the_records_as_they_were(store, monkeypatch):
    store.append(make_record("one"))
    before = store.path.read_bytes()

    def no_space(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(MachineError, match="disk is full"):
        store.append(make_record("two"))
    assert store.path.read_bytes() == before


def test_an_unwritable_place_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        RecordStore(tmp_path / "file" / "results").append(make_record("one"))


def test_outcomes_that_are_missing_or_damaged_are_named(store):
    with pytest.raises(UserError, match="No outcomes are kept for the record 'one'"):
        store.outcomes("one")
    store.append(make_record("one", outcomes={"accuracy": [1.0]}))
    (store.folder / "outcomes" / "one.npz").write_bytes(b"not an archive")
    with pytest.raises(UserError, match=r"one\.npz cannot be read"):
        store.outcomes("one")


def test_an_id_cannot_lead_out_of_the_folder(store):
    with pytest.raises(UserError, match="not the id of a record"):
        store.outcomes("../secret")


def test_outcomes_hold_no_pickles(store):
    path = store.folder / "outcomes" / "evil.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, accuracy=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        store.outcomes("evil")


def test_ten_thousand_records_are_read_quickly(store):
    line = make_record("@").model_dump_json() + "\n"
    store.folder.mkdir()
    store.path.write_text("".join(line.replace("@", str(number)) for number in range(10_000)))
    started = time.process_time()
    assert len(store.records()) == 10_000
    assert time.process_time() - started < 3.0
