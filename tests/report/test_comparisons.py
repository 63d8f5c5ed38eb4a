"""Comparisons over draws."""

from __future__ import annotations

import pytest

from ssl_ce.errors import UserError
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.report.comparisons import compare_draws
from ssl_ce.report.layout import table_key

BASE = [0.5 + 0.01 * i for i in range(10)]


def make_record(subject: str, draws: list[float] | None, **fields) -> Record:
    values = {
        "id": subject,
        "cell": subject,
        "protocol": "linear-probe@1",
        "variant": {"labels": "10 a class" if draws else "all"},
        "subject": SubjectInfo(name=subject, identity="a"),
        "dataset": DatasetInfo(name="digits", split="test", fingerprint="f", n=360),
        "seed": 0,
        "metrics": {"accuracy": Metric(value=0.5)},
        "outcomes": {"accuracy_draws": draws} if draws else {"accuracy": [1.0, 0.0]},
    }
    return Record(**values | fields)


RUN = make_record("runs/x", [value + 0.02 for value in BASE])
PIXELS = make_record("pixels", BASE)
# Wins nine draws of ten, loses one by as much as it wins another: 4 flips of 1,024 are as extreme.
HOG = make_record("hog", [value + (0.025 if i == 0 else 0.01 + 0.001 * (i > 1)) for i, value in enumerate(BASE)])


def test_a_subject_is_compared_with_each_baseline_draw_by_draw():
    everything = [RUN, PIXELS, HOG, make_record("runs/x", None), make_record("pixels", None)]
    pixels, hog = compare_draws(everything, "runs/x", ["pixels", "hog"], "accuracy")
    assert (pixels.subject, pixels.baseline, pixels.metric, pixels.table) == (
        "runs/x",
        "pixels",
        "accuracy",
        table_key(RUN),
    )
    assert pixels.difference == pytest.approx(0.02)
    assert pixels.test == "exact sign-flip test over 10 draws"
    assert pixels.p == 2 / 1024
    assert hog.p == 4 / 1024
    assert hog.difference == pytest.approx((-0.005 + 0.01 + 8 * 0.009) / 10)


def test_p_values_are_adjusted_over_the_baselines_by_holm():
    pixels, hog = compare_draws([RUN, PIXELS, HOG], "runs/x", ["pixels", "hog"], "accuracy")
    assert (pixels.p_adjusted, hog.p_adjusted) == (2 * 2 / 1024, 4 / 1024)


def test_a_baseline_without_draws_is_named_with_those_that_have_them():
    with pytest.raises(UserError, match=r"'pixel'\. Did you mean pixels"):
        compare_draws([RUN, PIXELS], "runs/x", ["pixel"], "accuracy")


def test_a_subject_without_draws_has_nothing_to_test():
    with pytest.raises(UserError, match="nothing to test"):
        compare_draws([PIXELS], "runs/x", ["pixels"], "accuracy")


def test_draws_that_do_not_pair_are_refused():
    with pytest.raises(UserError, match="10 draws and 'pixels' 3"):
        compare_draws([RUN, make_record("pixels", BASE[:3])], "runs/x", ["pixels"], "accuracy")


def test_several_records_of_one_subject_are_refused():
    with pytest.raises(UserError, match="more than once"):
        compare_draws([RUN, PIXELS, make_record("pixels", BASE, seed=1)], "runs/x", ["pixels"], "accuracy")
