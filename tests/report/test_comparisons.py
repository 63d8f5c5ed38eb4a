"""Comparisons: which test for which outcomes, who meets whom, and what is said where nothing can be tested."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from ssl_ce.errors import UserError
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.report.comparisons import compare
from ssl_ce.report.frames import comparisons_text
from ssl_ce.report.layout import arrange
from ssl_ce.report.tables import render_tables
from ssl_ce.report.terminal import print_tables

GENERATOR = np.random.default_rng(3)
BASE = [0.5 + 0.01 * i for i in range(10)]
TRAIN = DatasetInfo(name="digits", split="train", fingerprint="t", n=100)


def make_record(subject: str, outcomes: dict[str, list[float]] | None, value: float | None = None, **fields) -> Record:
    metric = fields.pop("metric", "accuracy")
    if value is None:
        value = float(np.nanmean(next(values for name, values in outcomes.items() if name.startswith(metric))))
    values = {
        "id": f"{subject} {fields.get('seed', 0)}",
        "cell": subject,
        "protocol": "linear-probe@1",
        "subject": SubjectInfo(name=subject, identity="a"),
        "dataset": DatasetInfo(name="digits", split="test", fingerprint="f", n=200),
        "seed": 0,
        "metrics": {metric: Metric(value=value, higher_is_better=fields.pop("higher_is_better", True))},
        "outcomes": outcomes,
    }
    return Record(**values | fields)


def drawn(subject: str, draws: list[float], **fields) -> Record:
    return make_record(subject, {"accuracy_draws": draws, "accuracy": [float(np.mean(draws))] * 4}, **fields)


def answers(subject: str, right: np.ndarray, **fields) -> Record:
    return make_record(subject, {"accuracy": right.astype(float).tolist()}, **fields)


RUN = drawn("runs/x", [value + 0.02 for value in BASE])
PIXELS = drawn("pixels", BASE)
# Wins nine draws of ten, loses one by as much as it wins another: 4 flips of 1,024 are as extreme.
HOG = drawn("hog", [value + (0.025 if i == 0 else 0.01 + 0.001 * (i > 1)) for i, value in enumerate(BASE)])
RIGHT = {name: GENERATOR.random(200) < share for name, share in (("runs/x", 0.9), ("hog", 0.7), ("pixels", 0.6))}


def rows_of(records, **options):
    (table,) = compare(arrange(records), **options)
    return table.compared.rows


def notes_of(records, **options):
    (table,) = compare(arrange(records), **options)
    return " ".join(table.compared.notes)


def test_draws_of_labels_are_compared_draw_by_draw():
    pixels, hog = rows_of([RUN, PIXELS, HOG], baselines=["pixels", "hog"])
    assert (pixels.subject, pixels.baseline, pixels.metric, pixels.record) == ("runs/x", "pixels", "accuracy", RUN.id)
    assert pixels.difference == pytest.approx(0.02)
    assert pixels.test == "exact sign-flip test over 10 draws"
    assert (pixels.p, hog.p) == (2 / 1024, 4 / 1024)
    assert (pixels.p_adjusted, hog.p_adjusted) == (2 * 2 / 1024, 4 / 1024)
    assert hog.difference == pytest.approx((-0.005 + 0.01 + 8 * 0.009) / 10)
    assert (pixels.low, pixels.high, pixels.spread) == (pytest.approx(0.02), pytest.approx(0.02), "draws")


def test_right_and_wrong_answers_are_compared_by_mcnemar_and_the_interval_is_over_images():
    rows = rows_of([answers(name, right) for name, right in RIGHT.items()])
    assert [row.baseline for row in rows] == ["hog", "pixels"]
    for row in rows:
        ours, theirs = RIGHT["runs/x"], RIGHT[row.baseline]
        wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        assert row.test == "exact McNemar test over 200 test images"
        assert row.p == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)
        assert row.difference == pytest.approx((wins - losses) / 200)
        differences = ours.astype(float) - theirs
        error = differences.std() / math.sqrt(200)
        assert (row.low, row.high) == pytest.approx(
            (row.difference - 1.96 * error, row.difference + 1.96 * error), abs=0.01
        )
        assert row.spread == "test images"


def test_other_outcomes_of_images_are_resampled_in_pairs():
    ours, theirs = GENERATOR.normal(20, 3, 300), GENERATOR.normal(0, 1, 300)
    records = [
        make_record("runs/x", {"psnr": ours.tolist()}, metric="psnr"),
        make_record("telea", {"psnr": (ours - 0.15 - theirs).tolist()}, metric="psnr"),
        make_record("mean-color", {"psnr": (ours - 1.0 - theirs).tolist()}, metric="psnr"),
    ]
    for row, differences in zip(
        rows_of(records, baselines=["telea", "mean-color"]), (0.15 + theirs, 1.0 + theirs), strict=True
    ):
        expected = stats.ttest_1samp(differences, 0.0)
        assert row.test == "paired bootstrap test over 300 test images"
        assert row.p == pytest.approx(expected.pvalue, abs=0.02)
        assert (row.low, row.high) == pytest.approx(tuple(expected.confidence_interval()), abs=0.02)


def test_images_without_an_outcome_are_left_out_where_both_lack_it():
    values = [0.5, math.nan, 0.25, 0.75]
    records = [make_record("runs/x", {"accuracy": values}), make_record("hog", {"accuracy": [v - 0.1 for v in values]})]
    (row,) = rows_of(records)
    assert row.test == "exact sign-flip test over 3 test images"
    assert row.difference == pytest.approx(0.1)
    records[1] = make_record("hog", {"accuracy": [0.1, 0.2, 0.3, math.nan]})
    assert "not there for the same images" in notes_of(records)


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        (make_record("runs/x", None, 0.5), make_record("hog", None, 0.4), "no outcomes of single images are kept"),
        (make_record("runs/x", {"l1": [1.0]}, 0.5), make_record("hog", {"l1": [1.0]}, 0.4), "one number of all images"),
        (answers("runs/x", RIGHT["hog"]), answers("hog", RIGHT["hog"][:90]), "200 test images and 90 do not pair"),
        (RUN, drawn("hog", BASE[:3]), "10 draws and 3 do not pair"),
        (make_record("runs/x", {"accuracy": [0.1, 0.3]}, 0.7), answers("hog", RIGHT["hog"][:2]), "not the mean"),
        (make_record("runs/x", {"accuracy": [1, math.inf]}), make_record("hog", {"accuracy": [1, 2]}), "not finite"),
        (
            make_record("runs/x", {"accuracy": [1.0, 0.5]}, higher_is_better=None),
            make_record("hog", {"accuracy": [1.0, 2.0]}, higher_is_better=None),
            "neither good nor bad",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_tested_is_not_and_the_reason_is_given(ours, theirs, reason):
    (row,) = rows_of([ours, theirs])
    assert (row.p, row.p_adjusted, row.low) == (None, None, None)
    notes = notes_of([ours, theirs])
    assert f"n/a: {row.test} (runs/x − hog)." in notes
    assert reason in notes


def test_holm_is_over_all_comparisons_of_a_table_and_over_no_other_table():
    few = [record.model_copy(update={"variant": {"labels": "few"}}) for record in (RUN, PIXELS)]
    first, second = compare(arrange([RUN, PIXELS, HOG, *few]))
    assert [row.p_adjusted for row in first.compared.rows] == [4 / 1024, 4 / 1024]
    assert [row.p_adjusted for row in second.compared.rows] == [2 / 1024]


def test_baselines_are_what_learned_nothing_and_twins_meet_their_own_network():
    names = [
        "runs/x@conv3", "runs/y", "torchvision:alexnet", "hog?cell=4", "init:runs/x@conv3", "init:runs/z",
        "random:torchvision:alexnet", "random:alexnet", "nearest:hog",
    ]  # fmt: skip
    records = [answers(name, RIGHT["hog"]) for name in names]
    met = {(row.subject, row.baseline) for row in rows_of(records)}
    always = {"hog?cell=4", "random:alexnet", "nearest:hog"}
    expected = {(name, baseline) for name in names[:3] for baseline in always}
    expected |= {("runs/x@conv3", "init:runs/x@conv3"), ("torchvision:alexnet", "random:torchvision:alexnet")}
    assert met == expected
    assert "compared with the other baselines alone: runs/y." in notes_of(records)
    asked = {(row.subject, row.baseline) for row in rows_of(records, baselines=["init:runs/z", "runs/y"])}
    assert "twin" not in notes_of(records, baselines=["init:runs/z", "runs/y"])
    assert asked == {
        (name, one) for name in set(names) - {"init:runs/z", "runs/y"} for one in ("init:runs/z", "runs/y")
    }


def seeds_of(method: str, values: list[float], **fields) -> list[Record]:
    return [
        make_record(f"runs/{method}-s{i}@conv", {"accuracy": [value, value]}, **fields)
        for i, value in enumerate(values)
    ]


def test_three_seeds_of_a_method_are_compared_as_one_by_the_sign_flip_test_over_seeds():
    records = [
        *seeds_of("a", [0.8, 0.82, 0.84]),
        *seeds_of("b", [0.7, 0.73, 0.71]),
        make_record("hog", {"accuracy": [0.75, 0.75]}),
    ]
    rows = {(row.subject, row.baseline): row for row in rows_of(records, baselines=["runs/b-s*@conv", "hog"])}
    paired = rows["runs/a-s*@conv", "runs/b-s*@conv"]
    differences = np.array([0.1, 0.09, 0.13])
    assert paired.difference == pytest.approx(differences.mean())
    assert paired.deviation == pytest.approx(differences.std(ddof=1))
    expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert paired.p == pytest.approx(expected.pvalue) == 0.25
    assert paired.test == "exact sign-flip test over 3 pretraining seeds"
    assert (paired.low, paired.record, len(paired.parts)) == (None, None, 3)
    assert rows["runs/a-s*@conv", "hog"].difference == pytest.approx(0.07)
    assert ("runs/a-s0@conv", "runs/b-s1@conv") not in rows
    assert ("runs/a-s1@conv", "runs/b-s1@conv") in rows
    notes = notes_of(records, baselines=["runs/b-s*@conv", "hog"])
    assert "Over 3 pretraining seeds p cannot fall below 0.250" in notes
    (table,) = compare(arrange(records), baselines=["hog"])
    lines = list(table.compared.lines())
    assert [line.subject for line in lines] == ["runs/a-s*@conv", "runs/b-s*@conv"]
    assert lines[0].cells[0] == "+7.0 ± 2.0"
    assert lines[0].cells[-1] == "0 of 3"


def test_a_run_judged_after_several_train_sets_is_no_further_pretraining_seed():
    others = [TRAIN.model_copy(update={"fingerprint": letter}) for letter in "tuv"]
    records = [
        make_record(name, {"accuracy": [value, value]}, train=train, id=f"{name} {train.fingerprint}")
        for train in others
        for name, value in (("runs/a-s0@conv", 0.8), ("runs/a-s1@conv", 0.82), ("hog", 0.7))
    ]
    rows = rows_of(records, baselines=["hog"])
    assert len(rows) == 6
    assert not any(row.parts for row in rows)
    assert "runs/a-s*@conv − hog: 2 seeds support no claim about a method" in notes_of(records, baselines=["hog"])


def test_six_seeds_have_an_interval_and_two_support_no_claim():
    values = [0.80, 0.83, 0.81, 0.85, 0.82, 0.86]
    records = [*seeds_of("a", values), make_record("hog", {"accuracy": [0.7, 0.7]})]
    (pooled,) = (row for row in rows_of(records) if row.parts)
    assert pooled.p == 2 / 64
    assert (pooled.low, pooled.high) == (
        pytest.approx(0.1),
        pytest.approx(0.16),
    )  # the means of all subsets but one at each end
    assert pooled.spread == "pretraining seeds"
    two = [*seeds_of("a", values[:2]), records[-1]]
    assert not any(row.parts for row in rows_of(two))
    assert "runs/a-s*@conv − hog: 2 seeds support no claim about a method" in notes_of(two)


def test_a_method_is_tested_over_seeds_where_single_images_say_nothing():
    records = [*(make_record(f"runs/a-s{i}", None, 0.5 + i / 100) for i in range(3)), make_record("hog", None, 0.4)]
    *runs, pooled = rows_of(records)
    assert all(run.p is None for run in runs)
    assert (pooled.p, pooled.p_adjusted) == (0.25, 0.25)


def test_records_of_other_seeds_or_train_images_do_not_meet():
    records = [answers("runs/x", RIGHT["runs/x"], seed=1), answers("hog", RIGHT["hog"], seed=0)]
    assert rows_of(records) == ()
    assert "Not compared: runs/x and hog have no records of the same seed and train images." in notes_of(records)
    other = TRAIN.model_copy(update={"fingerprint": "u"})
    records = [answers("runs/x", RIGHT["runs/x"], train=TRAIN), answers("hog", RIGHT["hog"], train=other)]
    assert rows_of(records) == ()
    records[1] = answers("hog", RIGHT["hog"])  # what needs no training has no train images
    assert len(rows_of(records)) == 1


def test_each_evaluation_seed_is_compared_on_its_own_and_named():
    records = [answers(name, RIGHT[name], seed=seed) for name in ("runs/x", "hog") for seed in (0, 1)]
    (table,) = compare(arrange(records))
    assert sorted(line.subject for line in table.compared.lines()) == ["runs/x (seed 0)", "runs/x (seed 1)"]


def test_of_a_subject_that_was_judged_twice_the_latest_record_is_compared():
    old = answers("hog", RIGHT["runs/x"], created="2020-01-01T00:00:00+00:00", id="old")
    records = [answers("runs/x", RIGHT["runs/x"]), answers("hog", RIGHT["hog"]), old]
    (row,) = rows_of(records)
    assert row.difference > 0.1
    assert "hog is there more than once: its latest record is compared." in notes_of(records)


def test_ten_draws_cannot_survive_an_adjustment_for_thirty_comparisons_and_that_is_said():
    records = [PIXELS, *(drawn(f"runs/x{i}", [value + 0.02 for value in BASE]) for i in range(30))]
    assert all(row.p_adjusted == pytest.approx(30 * 2 / 1024) for row in rows_of(records))
    assert "Over 10 draws p cannot fall below 0.002, nor below 0.059 once adjusted" in notes_of(records)
    assert "cannot fall" not in notes_of(records[:10])


@pytest.mark.parametrize("asked", [{"baselines": ["pixel"]}, {"subjects": ["run/x"]}, {"metric": "acuracy"}])
def test_a_wrong_name_is_answered_with_the_closest(asked):
    with pytest.raises(UserError, match=r"Did you mean (pixels|runs/x|accuracy)\?"):
        compare(arrange([RUN, PIXELS]), **asked)


def test_nothing_to_compare_is_said_with_what_to_do():
    assert "no baseline is in this table" in notes_of([RUN])
    assert "all are baselines, and none meets another" in notes_of([PIXELS, HOG])
    (table,) = compare(arrange([PIXELS, HOG]), baselines=["pixels"])
    assert len(table.compared.rows) == 1


def compared_table(**options):
    (table,) = compare(arrange([answers(name, right) for name, right in RIGHT.items()]), **options)
    return table


def test_the_mark_is_for_what_beats_every_baseline():
    table = compared_table()
    assert table.compared.better == {"runs/x 0"}
    assert table.is_marked(table.records[0], "accuracy")
    assert not table.is_marked(table.records[1], "accuracy")
    text = render_tables([table], "md")
    assert f"**{table.cell(table.records[0], 'accuracy')[0]}**★" in text
    assert "★ better accuracy than every baseline (hog, pixels): exact McNemar test over 200 test images" in text
    assert "$^{\\star}$" in render_tables([table], "latex")
    console = Console(width=90, file=io.StringIO(), color_system=None)
    print_tables([table], console)
    assert console.file.getvalue().count("★") == 2
    twins = [answers("runs/y", RIGHT["runs/x"]), answers("init:runs/x", RIGHT["pixels"])]
    (both,) = compare(arrange([*table.records, *twins]))
    assert both.compared.better == {"runs/x 0", "runs/y 0"}
    assert "every baseline (hog, pixels, its untrained twin where there is one)" in both.compared.legend
    worse = [answers("runs/x", RIGHT["pixels"]), answers("hog", RIGHT["hog"]), answers("pixels", ~RIGHT["runs/x"])]
    (table,) = compare(arrange(worse))
    assert table.compared.better == frozenset()
    assert "★" not in render_tables([table], "md")


def test_a_lower_loss_is_better():
    losses = GENERATOR.random(50)
    records = [
        make_record(name, {"log_loss": (losses + more).tolist()}, metric="log_loss", higher_is_better=False)
        for name, more in (("runs/x", 0.0), ("hog", 0.5), ("pixels", 0.4))
    ]
    (table,) = compare(arrange(records))
    assert table.compared.better == {"runs/x 0"}


def test_comparisons_are_written_in_full_for_other_programs():
    table = compared_table()
    rows = json.loads(comparisons_text([table], "json"))
    assert [row["baseline"] for row in rows] == ["hog", "pixels"]
    assert rows[0]["p_holm"] == table.compared.rows[0].p_adjusted
    assert rows[0]["protocol"] == "linear-probe@1"
    assert rows[0]["better"] is True
    assert comparisons_text([table], "csv").count("\n") == 3


def test_a_table_is_narrowed_to_what_was_compared():
    records = [answers(name, right, id=name) for name, right in RIGHT.items()]
    records = [
        record.model_copy(update={"metrics": {**record.metrics, "top5": Metric(value=1.0)}}) for record in records
    ]
    (table,) = compare(arrange(records), subjects=["runs/x"], baselines=["hog"])
    assert [record.subject.name for record in table.narrowed().records] == ["runs/x", "hog"]
    assert table.narrowed().metrics == ("accuracy",)
