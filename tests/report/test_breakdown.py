"""Breakdowns put each image into its bin, and say how sure the mean of a bin is."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.optimize import minimize

from ssl_ce.errors import UserError
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.report.breakdown import break_down, breakdown_frame, print_breakdown, render_breakdown
from ssl_ce.report.breakdown_figure import draw_breakdown, spread
from ssl_ce.rings import RINGS

N = 60
GENERATOR = np.random.default_rng(0)
MISSING = GENERATOR.uniform(0.02, 0.35, N)
MIXES = np.where(GENERATOR.random(N) < 0.1, np.nan, (GENERATOR.random(N) < 0.6).astype(float))
REACHED = GENERATOR.integers(1, 5, N)  # rings that each image's hole has


def record(subject: str, psnr: np.ndarray, **fields) -> Record:
    l1 = 10.0 ** (-psnr / 20.0)
    outcomes = {"psnr": psnr, "l1": l1, "missing": MISSING[: len(psnr)], "mixes": MIXES[: len(psnr)]}
    for number, ring in enumerate(RINGS):
        outcomes[ring] = np.where(number < REACHED[: len(psnr)], l1 * (1 + number), np.nan)
    values = {
        "id": f"{subject} {fields.get('variant')} {fields.get('seed')}",
        "cell": "c",
        "protocol": "inpainting@1",
        "variant": {"holes": "free-form"},
        "subject": SubjectInfo(name=subject, identity=subject),
        "dataset": DatasetInfo(name="photos", split="test", fingerprint="f" * 32, n=len(psnr), size=(32, 32)),
        "seed": 0,
        "metrics": {
            "psnr": Metric(value=float(psnr.mean())),
            "l1": Metric(value=float(l1.mean()), higher_is_better=False),
        },
        "outcomes": {name: values.tolist() for name, values in outcomes.items()},
    }
    return Record(**values | fields)


LOW, HIGH = GENERATOR.normal(14, 2, N) - 10 * MISSING, GENERATOR.normal(20, 2, N) - 10 * MISSING
BOTH = [record("mean-color", LOW), record("telea", HIGH)]


def test_each_image_counts_in_the_bin_of_its_missing_share_and_rows_come_best_first():
    (table,) = break_down(BOTH, ["missing"])
    assert [row.subject.name for row in table.records] == ["telea", "mean-color"]
    bins = {"≤ 10 %": (0.0, 0.1), "10–20 %": (0.1, 0.2), "20–30 %": (0.2, 0.3), "30–40 %": (0.3, 0.4)}
    assert list(table.counts) == list(bins)
    for name, (least, most) in bins.items():
        inside = [value for value, share in zip(HIGH, MISSING, strict=True) if least < share <= most]
        found = table.records[0].metrics[name]
        assert table.counts[name] == len(inside)
        assert found.value == pytest.approx(sum(inside) / len(inside))
        error = np.std(inside) / math.sqrt(len(inside))
        assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.4 * error)
        assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.4 * error)


@pytest.mark.parametrize(
    ("share", "name"),
    [(0.1, "≤ 10 %"), (0.1001, "10–20 %"), (0.3, "20–30 %"), (0.6, "50–60 %"), (0.601, "> 60 %"), (1.0, "> 60 %")],
)
def test_a_bin_includes_its_upper_end(share, name):
    one = record("telea", HIGH[:3])
    one.outcomes["missing"] = [share] * 3
    (table,) = break_down([one], ["missing"])
    assert dict(table.counts) == {name: 3}


def test_the_error_by_distance_is_averaged_over_the_images_that_reach_so_far():
    (table,) = break_down(BOTH, ["distance"])
    assert table.metric == "l1"
    assert list(table.counts) == ["1 px", "2 px", "3–4 px", "5–8 px"]
    for number, name in enumerate(table.counts):
        errors = [
            10.0 ** (-psnr / 20.0) * (1 + number) for psnr, far in zip(HIGH, REACHED, strict=True) if far > number
        ]
        assert table.counts[name] == len(errors)
        assert table.records[0].metrics[name].value == pytest.approx(sum(errors) / len(errors))
    assert table.is_best(table.records[0], "1 px")


def test_the_last_ring_is_open():
    deep = record("telea", HIGH)
    deep.outcomes[RINGS[-1]] = [0.5] * N
    (table,) = break_down([deep], ["distance"])
    assert list(table.counts)[-1] == "33+ px"


def test_holes_that_mix_classes_are_set_against_those_that_do_not():
    (table,) = break_down(BOTH, ["mixes"])
    one, mixed = HIGH[MIXES == 0], HIGH[MIXES == 1]
    assert (table.counts["one class"], table.counts["mixed classes"]) == (len(one), len(mixed))
    found = table.records[0].metrics
    assert found["one class"].value == pytest.approx(one.mean())
    assert found["mixed classes"].value == pytest.approx(mixed.mean())
    difference = found["mixed − one"]
    error = math.sqrt(one.var() / len(one) + mixed.var() / len(mixed))
    assert difference.value == pytest.approx(mixed.mean() - one.mean())
    assert difference.low == pytest.approx(difference.value - 1.96 * error, abs=0.2 * error)
    assert difference.high == pytest.approx(difference.value + 1.96 * error, abs=0.2 * error)
    assert not any(table.is_best(row, "mixed − one") for row in table.records)
    assert f"images in no bin: {np.isnan(MIXES).sum()}" in table.caption
    value, interval = table.cell(table.records[0], "mixed − one")
    assert value[0] in "+−"
    assert interval[1] in "+−"


def test_a_mean_of_fewer_than_two_images_has_no_interval():
    few = record("telea", HIGH[:4])
    few.outcomes["mixes"] = [0.0, 1.0, 1.0, 1.0]
    few.outcomes["missing"] = [0.05, 0.15, 0.15, 0.15]
    by_share, by_class = break_down([few], ["missing", "mixes"])
    assert by_share.cell(by_share.records[0], "≤ 10 %") == (f"{HIGH[0]:.2f}", "")
    assert by_class.cell(by_class.records[0], "one class")[1] == ""
    assert by_class.cell(by_class.records[0], "mixed − one")[1] == ""
    assert by_class.cell(by_class.records[0], "mixed classes")[1] != ""


def test_there_is_a_table_for_each_question_and_set_of_holes():
    center = record("telea", HIGH, variant={"holes": "center"})
    again = record("telea", HIGH + 1, seed=1)
    headings = [table.heading for table in break_down([*BOTH, center, again])]
    assert headings == [
        f"inpainting@1 · photos/test · {which} · {what}"
        for what in ("psnr (dB) ↑ by share missing", "l1 (%) ↓ by distance to the context",
                     "psnr (dB) ↑ by classes under the hole")
        for which in ("holes: free-form · seed: 0", "holes: free-form · seed: 1", "holes: center")
    ]  # fmt: skip


def test_rows_whose_images_are_in_other_bins_stand_apart():
    other = record("fsr", HIGH)
    other.outcomes["missing"] = MISSING[::-1].tolist()
    first, second = break_down([*BOTH, other], ["missing"])
    assert [len(table.records) for table in (first, second)] == [2, 1]
    assert first.heading != second.heading


def test_any_metric_of_single_images_can_be_averaged_and_by_distance_there_is_l1_only():
    tables = break_down(BOTH, metric="l1")
    assert [(table.by, table.metric) for table in tables] == [("missing", "l1"), ("distance", "l1"), ("mixes", "l1")]
    assert [table.by for table in break_down(BOTH, metric="psnr")] == ["missing", "mixes"]
    inside = [10.0 ** (-value / 20.0) for value, share in zip(HIGH, MISSING, strict=True) if share <= 0.1]
    assert tables[0].records[0].metrics["≤ 10 %"].value == pytest.approx(sum(inside) / len(inside))
    assert tables[0].records[0].metrics["≤ 10 %"].higher_is_better is False
    with pytest.raises(UserError, match=r"By distance there is l1, and no psnr"):
        break_down(BOTH, ["distance"], "psnr")
    with pytest.raises(UserError, match="Did you mean psnr"):
        break_down(BOTH, metric="psnt")
    with pytest.raises(UserError, match="named 'missing'"):  # an outcome, and no metric
        break_down(BOTH, metric="missing")


def test_records_that_cannot_answer_are_left_out_and_none_is_an_error_that_says_what_to_run():
    old = record("old", LOW, outcomes={"psnr": LOW.tolist()})
    without = record("without", LOW, outcomes=None)
    unlabelled = [one.model_copy(update={"outcomes": {**one.outcomes}}) for one in BOTH]
    for one in unlabelled:
        del one.outcomes["mixes"]
    assert {table.by for table in break_down([old, without, *unlabelled])} == {"missing", "distance"}
    (table,) = break_down([old, without, *BOTH], ["missing"])
    assert len(table.records) == 2
    with pytest.raises(UserError, match="needs label maps beside the test images"):
        break_down(unlabelled, ["missing", "mixes"])
    with pytest.raises(UserError, match="Run ce evaluate inpainting"):
        break_down([old, without])
    with pytest.raises(UserError, match="Run ce evaluate inpainting"):
        break_down([old, without], ["distance"])


def test_images_of_one_bin_are_told_in_one_line():
    center = record("telea", HIGH, variant={"holes": "center"})
    center.outcomes["missing"] = [0.25] * N
    tables = break_down([center, *BOTH], ["missing"])
    line = "inpainting@1 · photos/test · holes: center · by share missing: all 60 images in one bin, 20–30 %."
    assert [table.alone for table in tables] == [line, None]
    center.outcomes["mixes"] = [1.0] * (N - 4) + [math.nan] * 4
    (by_class,) = break_down([center], ["mixes"])
    assert by_class.alone.endswith(": all 56 images in one bin, mixed classes; images in no bin: 4.")
    text = render_breakdown(tables, "md")
    assert text.startswith(f"{line}\n\n### ")
    assert text.count("| subject") == 1
    console = Console(file=io.StringIO(), width=200)
    print_breakdown(tables, console)
    assert console.file.getvalue().startswith(f"{line}\n\ninpainting@1 · photos/test · holes: free-form · psnr")


def test_a_table_names_its_bins_with_how_many_images_are_in_them():
    tables = break_down(BOTH, ["distance"])
    console = Console(file=io.StringIO(), width=80)
    print_breakdown(tables, console)
    for text in (render_breakdown(tables, "md"), console.file.getvalue()):
        assert "l1 (%) ↓ by distance to the context" in text.replace(" \n", " ")
        assert all(f"(n = {count})" in text for count in tables[0].counts.values())
    assert max(map(len, console.file.getvalue().splitlines())) <= 80
    assert f"| `telea`      | **{tables[0].cell(tables[0].records[0], '1 px')[0]}**" in render_breakdown(tables, "md")


def test_csv_and_json_have_a_row_for_each_subject_and_bin_in_full_precision():
    tables = break_down(BOTH)
    rows = list(csv.DictReader(io.StringIO(render_breakdown(tables, "csv"))))
    assert len(rows) == 2 * sum(len(table.counts) for table in tables)
    (row,) = [row for row in rows if (row["subject"], row["by"], row["bin"]) == ("telea", "missing", "10–20 %")]
    found = tables[0].records[0].metrics["10–20 %"]
    assert (row["metric"], int(row["images"]), int(row["n"])) == ("psnr", tables[0].counts["10–20 %"], N)
    assert [float(row[name]) for name in ("value", "low", "high")] == [found.value, found.low, found.high]
    few = record("telea", HIGH[:4])
    few.outcomes["mixes"] = [0.0, 1.0, 1.0, 1.0]
    rows = json.loads(render_breakdown(break_down([few], ["mixes"]), "json"))
    assert [(row["bin"], row["images"], row["low"] is None) for row in rows] == [
        ("one class", 1, True),
        ("mixed classes", 3, False),
        ("mixed − one", 4, True),
    ]
    assert list(breakdown_frame(tables).columns) == list(row)


def pixels_near(path, color: tuple[int, int, int]) -> int:
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((np.abs(sheet - color).sum(2) < 20).sum())


def test_the_picture_has_a_panel_for_each_set_of_holes_and_a_line_for_each_subject(tmp_path):
    center = [record(name, LOW, variant={"holes": "center"}) for name in ("mean-color", "telea")]
    draw_breakdown(tmp_path / "one.png", break_down(BOTH, ["distance"]))
    draw_breakdown(tmp_path / "two.png", break_down([*BOTH, *center], ["distance"]))
    draw_breakdown(tmp_path / "three.png", break_down([*BOTH, *center]))
    one, two, three = (Image.open(tmp_path / f"{name}.png").size for name in ("one", "two", "three"))
    assert two[0] == pytest.approx(2 * one[0], rel=0.05)
    assert three == (two[0], pytest.approx(3 * one[1], rel=0.05))
    for color in ((31, 119, 180), (255, 127, 14)):  # matplotlib's C0 and C1
        assert pixels_near(tmp_path / "one.png", color) > 100


def test_the_picture_leaves_out_tables_of_one_bin_and_is_not_made_of_these_alone(tmp_path):
    center = record("telea", HIGH, variant={"holes": "center"})
    center.outcomes["missing"] = [0.25] * N
    draw_breakdown(tmp_path / "one.png", break_down(BOTH, ["missing"]))
    draw_breakdown(tmp_path / "same.png", break_down([*BOTH, center], ["missing"]))
    assert Image.open(tmp_path / "one.png").size == Image.open(tmp_path / "same.png").size
    with pytest.raises(UserError, match="nothing to draw"):
        draw_breakdown(tmp_path / "none.png", break_down([center], ["missing"]))
    assert not (tmp_path / "none.png").exists()


def test_a_picture_of_many_subjects_shows_the_first_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_ce.report.breakdown_figure.MOST_LINES", 1)
    draw_breakdown(tmp_path / "few.png", break_down(BOTH[1:], ["missing"]))
    draw_breakdown(tmp_path / "first.png", break_down(BOTH, ["missing"]))
    assert pixels_near(tmp_path / "first.png", (31, 119, 180)) > 100
    assert pixels_near(tmp_path / "first.png", (255, 127, 14)) == 0
    assert (tmp_path / "first.png").read_bytes() != (tmp_path / "few.png").read_bytes()  # "1 of 2 subjects"


def test_names_are_moved_no_further_than_they_must():
    heights = np.array([0.5, 0.1, 0.52, 0.9, 0.49])
    placed = spread(heights, 0.1)
    order = np.argsort(heights)
    assert (np.diff(placed[order]) >= 0.1 - 1e-9).all()
    apart = [{"type": "ineq", "fun": lambda p, i=i, j=j: p[j] - p[i] - 0.1} for i, j in itertools.pairwise(order)]
    best = minimize(lambda p: np.square(p - heights).sum(), np.linspace(0, 1, 5)[np.argsort(order)], constraints=apart)
    np.testing.assert_allclose(placed, best.x, atol=1e-4)
    np.testing.assert_array_equal(spread(np.array([0.9, 0.1]), 0.1), [0.9, 0.1])
