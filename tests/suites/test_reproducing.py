"""A record's cell is run again from what the record says."""

from __future__ import annotations

import json

import pytest

from ssl_ce.data import DataOptions
from ssl_ce.errors import UserError
from ssl_ce.records.store import RecordStore
from ssl_ce.suites.reproducing import evaluator_of, reproduce


@pytest.fixture
def photos(ce, photo_folder, tiny_run, tmp_path):
    """`photos(LINE)`: the records that `ce evaluate LINE` leaves, judged in a folder with photos/ and run/."""
    (tmp_path / "photos").symlink_to(photo_folder)
    (tmp_path / "run").symlink_to(tiny_run)

    def judge(line: str):
        assert ce(f"evaluate {line} --no-floors --size 32").code == 0
        return RecordStore(tmp_path / "results" / "local").records()

    return judge


@pytest.mark.parametrize(
    "line",
    [
        "linear-probe hog --data photos --set labels_per_class=4 --set draws=2 --seed 3",
        "knn run@conv2 --data photos/train --data-seed 5 --fit squash --set neighbours=[3] --set headline=3",
        "inpainting run telea --data 'photos?count=4' --holes center --holes random-block",
        "nn-inpainting hog --test photos/test --train photos/train --holes center",
    ],
)
def test_a_cell_comes_out_again_as_it_was(photos, line):
    for record in photos(line):
        again = reproduce(record, DataOptions())
        assert (again.id, again.cell, again.variant) == (record.id, record.cell, record.variant)
        assert again.metrics == record.metrics


def test_no_cached_feature_is_used(photos, monkeypatch):
    (record,) = photos("linear-probe pixels --data photos")
    monkeypatch.setattr("ssl_ce.descriptors.pixels.Pixels.describe", lambda self, images, holes=None: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reproduce(record, DataOptions())


def test_settings_that_are_written_otherwise_in_the_variant_are_found_all_the_same(photos):
    (record,) = photos("inpainting telea --data photos --holes center --set options.side=0.25")
    old = record.model_copy(update={"variant": {**record.variant, "options": "{'side': 0.25}"}})
    assert reproduce(old, DataOptions()).metrics == record.metrics
    lost = record.model_copy(update={"variant": {"strategy": "center"}})
    with pytest.raises(UserError, match="leaves no record with strategy: center"):
        reproduce(lost, DataOptions())


def test_other_images_absent_images_and_absent_runs_are_one_line(photos, tmp_path):
    (record,) = photos("linear-probe run@conv1 --data photos")
    (tmp_path / "run").unlink()
    with pytest.raises(UserError, match="run"):
        reproduce(record, DataOptions())
    other = record.model_copy(update={"dataset": record.dataset.model_copy(update={"fingerprint": "0" * 32})})
    with pytest.raises(UserError, match=r"photos \(test\) does not hold the images that were judged"):
        reproduce(other, DataOptions())
    (tmp_path / "photos").unlink()
    with pytest.raises(UserError, match="photos"):
        reproduce(record, DataOptions())
    unknown = record.model_copy(update={"dataset": record.dataset.model_copy(update={"source": {}})})
    with pytest.raises(UserError, match=r"does not say how photos.*/test was asked for"):
        reproduce(unknown, DataOptions())


def test_another_version_of_a_protocol_is_refused_with_the_one_that_is_here(photos):
    (record,) = photos("knn pixels --data photos")
    assert evaluator_of(record).protocol == "knn-dino@1"
    record = record.model_copy(update={"machine": {"versions": {"ssl-ce": "0.0.7"}}})
    for config in (record.config, {"k": 20}):
        old = record.model_copy(update={"protocol": "knn-dino@0", "config": config})
        with pytest.raises(UserError, match=r"made by knn-dino@0, and this version has knn-dino@1.*ssl-ce 0\.0\.7"):
            evaluator_of(old)
    with pytest.raises(UserError, match=r"No evaluator here runs colours@1"):
        evaluator_of(record.model_copy(update={"protocol": "colours@1"}))
    with pytest.raises(UserError, match=r"In the record .*'k' is not a setting"):
        evaluator_of(record.model_copy(update={"config": {"k": 20}}))


def test_the_command_says_whether_numbers_came_out_again_and_exits_with_one_if_not(photos, ce, tmp_path):
    (record,) = photos("linear-probe hog --data photos")
    answer = ce(f"results reproduce {record.id[:6]}")
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "Reproduced: every number is equal."
    path = tmp_path / "results" / "local" / "records.jsonl"
    values = json.loads(path.read_text())
    values["metrics"]["log_loss"] |= {"value": 1e6, "low": 1e6 - 1, "high": 1e6 + 1}
    path.write_text(json.dumps(values) + "\n")
    answer = ce(f"results reproduce {record.id}")
    assert answer.code == 1
    assert answer.out.splitlines()[-1] == "Not reproduced: log_loss."
    values["metrics"]["log_loss"] |= {"low": 0.0}
    path.write_text(json.dumps(values) + "\n")
    answer = ce(f"results reproduce {record.id}")
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "Reproduced: every number is equal or within its interval."
    values["subject"]["identity"] = "another"
    path.write_text(json.dumps(values) + "\n")
    answer = ce(f"results reproduce {record.id}")
    assert "The subject is another one than was recorded: hog has other weights" in answer.out
    assert len(RecordStore(tmp_path / "results" / "local").records()) == 1
