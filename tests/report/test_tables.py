"""Tables say what was measured, on what, and which row is best."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from ssl_ce.errors import UserError
from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.report.comparisons import compare
from ssl_ce.report.frames import results_frame, tidy_frame
from ssl_ce.report.layout import arrange, with_metrics
from ssl_ce.report.tables import render, render_tables
from ssl_ce.report.terminal import print_table
from ssl_ce.report.units import show_p, unit_of

DIGITS = DatasetInfo(name="digits", split="test", fingerprint="f" * 32, n=1360, size=(32, 32))


def make_record(subject: str, metrics: dict[str, float], **fields) -> Record:
    values = {
        "id": f"{subject} {fields.get('variant')} {fields.get('seed')}",
        "cell": "c",
        "protocol": "linear-probe@1",
        "subject": SubjectInfo(name=subject, identity="a"),
        "dataset": DIGITS,
        "seed": 0,
        "metrics": {
            name: Metric(
                value=value,
                low=value - 0.02,
                high=value + 0.02,
                spread="bootstrap over test images",
                higher_is_better=name not in ("l1", "l2"),
            )
            for name, value in metrics.items()
        },
    }
    return Record(**values | fields)


PROBED = [
    make_record("pixels", {"accuracy": 0.885}),
    make_record("runs/my_run@conv4", {"accuracy": 0.914}),
    make_record("hog?cell=4&bins=9|x", {"accuracy": 0.9}),
]
FILLED = [
    make_record("mean-color", {"l1": 0.16, "psnr": 14.834}, protocol="inpainting@1", variant={"holes": "center"}),
    make_record("telea", {"l1": 0.134, "psnr": 15.59}, protocol="inpainting@1", variant={"holes": "center"}),
]
EXACT = make_record("exact", {}).model_copy(update={"metrics": {"psnr": Metric(value=math.inf)}})


def markdown_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_there_is_one_table_for_each_protocol_data_and_variant():
    others = [
        make_record("pixels", {"accuracy": 0.7}, variant={"labels": "10 a class"}),
        make_record("pixels", {"accuracy": 0.7}, dataset=DIGITS.model_copy(update={"name": "objects"})),
    ]
    assert [table.heading for table in arrange([*PROBED, *FILLED, *others])] == [
        "linear-probe@1 · digits/test",
        "inpainting@1 · digits/test · holes: center",
        "linear-probe@1 · digits/test · labels: 10 a class",
        "linear-probe@1 · objects/test",
    ]


def test_rows_come_best_first_by_the_headline_metric():
    table, losses = arrange(PROBED + FILLED)
    assert [record.subject.name for record in table.records] == [
        "runs/my_run@conv4",
        "hog?cell=4&bins=9|x",
        "pixels",
    ]
    assert [record.subject.name for record in losses.records] == ["telea", "mean-color"]


def test_other_settings_and_other_images_make_another_table_and_the_heading_says_so():
    loose = make_record("pixels", {"accuracy": 0.99}, config={"standardise": False})
    other = make_record("pixels", {"accuracy": 0.99}, dataset=DIGITS.model_copy(update={"fingerprint": "0" * 32}))
    strict = make_record("pixels", {"accuracy": 0.8}, config={"standardise": True})
    headings = [table.heading for table in arrange([loose, strict])]
    assert headings == [f"linear-probe@1 · digits/test · standardise: {value}" for value in ("False", "True")]
    assert [table.heading for table in arrange([strict, other])][1].endswith("images: 00000000")


def test_strategies_judged_in_separate_calls_stand_in_one_table():
    apart = [
        record.model_copy(update={"config": {"holes": holes}})
        for record, holes in zip(FILLED, (["center"], ["center", "random-block"]), strict=True)
    ]
    assert len(arrange(apart)) == 1


def test_the_caption_gives_n_size_training_set_and_seed():
    train = DIGITS.model_copy(update={"split": "train", "n": 1437})
    (table,) = arrange([make_record("pixels", {"accuracy": 0.9}, train=train)])
    assert table.caption.split("; ") == [
        "n = 1,360 (32 x 32 px)",
        "train: digits/train, n = 1,437",
        "seed 0",
        "[95 % interval]: bootstrap over test images",
    ]


def test_rows_of_several_seeds_or_training_sets_say_which():
    trains = [DIGITS.model_copy(update={"split": "train", "fingerprint": letter * 32}) for letter in "de"]
    records = [make_record("pixels", {"accuracy": 0.9}, seed=seed, train=trains[seed]) for seed in (0, 1)]
    rows = markdown_rows(render(records, "md"))
    assert [row[:3] for row in rows[2:]] == [
        ["`pixels`", "0", "digits/train (dddddddd)"],
        ["`pixels`", "1", "digits/train (eeeeeeee)"],
    ]


def test_markdown_shows_intervals_in_the_metrics_unit_and_the_best_in_bold():
    assert markdown_rows(render(PROBED, "md")) == [
        ["subject", "accuracy (%) ↑"],
        ["----------------------", "--------------------:"],
        ["`runs/my_run@conv4`", "**91.4** [89.4, 93.4]"],
        ["`hog?cell=4&bins=9\\|x`", "90.0 [88.0, 92.0]"],
        ["`pixels`", "88.5 [86.5, 90.5]"],
    ]


def test_the_best_loss_is_the_lowest():
    rows = markdown_rows(render(FILLED, "md"))
    assert rows[0] == ["subject", "l1 (%) ↓", "psnr (dB) ↑"]
    assert rows[2] == ["`telea`", "**13.40** [11.40, 15.40]", "**15.59** [15.57, 15.61]"]


def test_values_that_look_equal_are_equally_bold_and_a_lone_row_is_not():
    equal = [make_record("a", {"accuracy": 0.90001}), make_record("b", {"accuracy": 0.9})]
    assert render(equal, "md").count("**90.0**") == 2
    assert "**" not in render(equal[:1], "md")


def test_a_metric_that_a_row_lacks_or_cannot_have_is_a_dash():
    records = [make_record("a", {"psnr": 20.0, "ssim": 0.5}), make_record("b", {"psnr": math.nan})]
    assert markdown_rows(render(records, "md"))[3] == ["`b`", "–", "–"]


def test_a_metric_without_an_interval_is_shown_without():
    records = [EXACT]
    assert markdown_rows(render(records, "md"))[2] == ["`exact`", "∞"]
    assert "interval" not in render(records, "md")


def test_csv_is_tidy_and_in_full_precision():
    value = 1 / 3
    rows = list(csv.DictReader(io.StringIO(render([make_record("a,b", {"accuracy": value, "l1": 0.1})], "csv"))))
    assert [row["metric"] for row in rows] == ["accuracy", "l1"]
    assert rows[0]["subject"] == "a,b"
    assert float(rows[0]["value"]) == value
    assert float(rows[0]["high"]) == value + 0.02
    assert (rows[0]["n"], rows[0]["split"], rows[0]["seed"]) == ("1360", "test", "0")


def test_json_is_a_list_of_objects_that_other_programs_can_read():
    records = [*PROBED, EXACT]
    rows = json.loads(render(records, "json"), parse_constant=pytest.fail)
    assert rows[0].keys() >= {"id", "cell", "protocol", "subject", "dataset", "split", "n", "seed", "metrics"}
    assert rows[0]["metrics"] == {"accuracy": {"value": 0.885, "low": 0.865, "high": 0.905}}
    assert (rows[0]["subject"], rows[0]["dataset"], rows[0]["split"], rows[0]["n"]) == (
        "pixels",
        "digits",
        "test",
        1360,
    )
    assert rows[-1]["metrics"]["psnr"]["value"] is None


def test_latex_is_booktabs_with_everything_escaped():
    text = render(PROBED, "latex")
    for part in (
        r"\toprule",
        r"\texttt{runs/my\_run@conv4} & \textbf{91.4} {\small [89.4, 93.4]} \\",
        r"hog?cell=4\&bins=9|x",
        r"accuracy (\%) $\uparrow$",
        r"\caption{linear-probe@1 $\cdot$ digits/test (n = 1,360",
    ):
        assert part in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert text.isascii()


def test_comparisons_stand_below_their_own_table():
    draws = [0.1 * i for i in range(10)]
    made = [
        record.model_copy(
            update={
                "outcomes": {"psnr_draws": [value - shift + record.metrics["psnr"].value - 0.45 for value in draws]}
            }
        )
        for record, shift in zip(FILLED, (0.0, 0.0), strict=True)
    ]
    tables = compare(arrange(PROBED)) + compare(arrange(made), baselines=["mean-color"], metric="psnr")
    first, second = render_tables(tables, "md").split("### inpainting")
    assert "Two-sided" not in first
    row = ["`telea` − `mean-color`", "+0.76 [+0.76, +0.76]", "0.002", "0.002"]
    assert row in markdown_rows(second)
    assert "Two-sided exact sign-flip test over 10 draws. [95 % interval] of the difference: over draws." in second
    latex = render_tables(tables, "latex")
    assert r"\texttt{telea} $-$ \texttt{mean-color} & +0.76 [+0.76, +0.76] & 0.002 & 0.002 \\" in latex
    assert "difference in psnr (dB)" in html_rows(render_tables(tables, "html"))[-2]


def html_rows(text: str) -> list[list[str]]:
    """The cells of each row of an HTML page, without tags."""
    rows = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n")).iter("tr")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def test_html_is_one_page_of_wellformed_tables_that_fetches_nothing():
    text = render([*PROBED, *FILLED], "html")
    rows = html_rows(text)
    assert rows[:2] == [["subject", "accuracy (%) ↑"], ["runs/my_run@conv4", "91.4 [89.4, 93.4]"]]
    assert rows[2][0] == "hog?cell=4&bins=9|x"
    assert text.count("<section>") == 2
    assert text.count("<b>") == 3
    assert not any(word in text for word in ("<script", "http:", "https:", "src=", "<link"))


def test_a_paper_gets_the_second_best_underlined_and_the_precision_it_asks_for():
    three = [
        make_record(name, {"accuracy": value, "l1": value}) for name, value in (("a", 0.9), ("b", 0.8), ("c", 0.7))
    ]
    tables = [table.for_paper(2) for table in arrange(three)]
    rows = markdown_rows(render_tables(tables, "md"))
    assert rows[2][1:] == ["**90.00** [88.00, 92.00]", "90.00 [88.00, 92.00]"]
    assert rows[3][1:] == ["<u>80.00</u> [78.00, 82.00]", "<u>80.00</u> [78.00, 82.00]"]
    assert rows[4][1:] == ["70.00 [68.00, 72.00]", "**70.00** [68.00, 72.00]"]
    assert r"\underline{80.00} {\small [78.00, 82.00]} & \underline{80.00}" in render_tables(tables, "latex")
    assert html_rows(render_tables(tables, "html"))[2] == ["b", "80.00 [78.00, 82.00]", "80.00 [78.00, 82.00]"]
    assert "<u>80.00</u>" in render_tables(tables, "html")
    two = [table.for_paper() for table in arrange(three[:2])]
    assert "<u>" not in render_tables(two, "md")
    assert "**90.0** [88.0, 92.0]" in render_tables(two, "md")


def test_latex_has_as_many_cells_in_every_row_as_columns_and_balanced_braces():
    seeds = [make_record("a_b%", {"psnr": 1.0, "image_psnr": 2.0}, seed=seed, variant={"x": "{1}"}) for seed in (0, 1)]
    text = render([*PROBED, *FILLED, *seeds, EXACT], "latex")
    tables = re.findall(r"\\begin{tabular}{(lr*)}\n\\toprule\n(.*?)\\bottomrule", text, re.DOTALL)
    assert len(tables) == text.count(r"\begin{table}") == text.count(r"\end{table}") == 4
    for columns, body in tables:
        for line in body.replace("\\midrule\n", "").splitlines():
            assert line.endswith(r" \\")
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.isascii()


def test_no_records_give_empty_text_and_frames():
    assert [render([], layout).strip() for layout in ("md", "csv", "json")] == ["", "", "[]"]
    assert len(results_frame([])) == len(tidy_frame([])) == 0


def test_the_results_frame_has_a_row_for_each_record():
    frame = results_frame(PROBED + FILLED)
    assert list(frame["subject"]) == [record.subject.name for record in PROBED + FILLED]
    assert frame.loc[0, "accuracy_low"] == PROBED[0].metrics["accuracy"].low
    assert frame.loc[3, "variant"] == "holes=center"


@pytest.mark.parametrize("width", [200, 80, 50])
def test_the_terminal_shows_every_value_and_interval_at_any_width(width):
    metrics = dict.fromkeys(("l1", "l2", "psnr", "psnr_of_mean_l2", "ssim"), 0.1234)
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_table([make_record("nearest:runs/x@conv4", metrics), *FILLED], console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for part in (
        "nearest:runs/x@conv4",
        "[10.34, 14.34]",
        "[0.10, 0.14]",
        "[0.103, 0.143]",
        "psnr_of_mean_l2",
        "n = 1,360",
    ):
        assert part in text


def test_metrics_over_the_whole_image_stand_below_those_over_the_hole():
    metrics = dict.fromkeys(("psnr", "image_psnr", "l1", "lpips", "image_l1"), 0.1234)
    records = [make_record(name, metrics, protocol="inpainting@1", variant={"holes": "center"}) for name in "ab"]
    (table,) = arrange(records)
    assert table.blocks == (("psnr", "l1"), ("image_psnr", "lpips", "image_l1"))
    first, second = (block.strip().splitlines() for block in render(records, "md").split("\n\n")[1:3])
    assert [head.strip() for head in first[0].split("|")[1:-1]] == ["subject", "psnr (dB) ↑", "l1 (%) ↓"]
    assert [len(first), len(second)] == [4, 4]
    assert "image_l1 (%)" in second[0]
    assert render(records, "latex").count(r"\begin{table}") == 2
    console = Console(width=200, file=io.StringIO(), color_system=None)
    print_table(records, console, everything=True)
    assert printed_heads(console) == ["psnr", "image_psnr"]
    assert "Also measured" not in console.file.getvalue()


def printed_heads(console: Console) -> list[str]:
    """The first metric of each block that was printed."""
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    return [words[1] for words in lines if words[:1] == ["subject"]]


def test_a_terminal_shows_what_repeats_over_the_whole_image_on_request_and_names_it_in_one_last_line():
    console = Console(width=200, file=io.StringIO(), color_system=None)
    metrics = dict.fromkeys(("psnr", "seam", "image_psnr", "lpips", "image_l1"), 0.1)
    print_table([make_record("a", metrics), make_record("b", metrics, variant={"holes": "center"})], console)
    assert printed_heads(console) == ["psnr", "lpips"] * 2  # LPIPS was asked for
    text = console.file.getvalue()
    assert text.count("image_") == 2
    assert text.splitlines()[-1] == (
        "Also measured: image_psnr, image_l1. To see them: ce results show DIR --metrics all"
    )
    alone = Console(width=200, file=io.StringIO(), color_system=None)
    print_table([make_record("a", {"image_psnr": 0.1})], alone)
    assert printed_heads(alone) == ["image_psnr"]


def test_chosen_metrics_are_shown_in_their_order_and_the_first_sorts_the_rows():
    records = [
        make_record("a", {"psnr": 20.0, "l1": 0.2}),
        make_record("b", {"psnr": 19.0, "l1": 0.1}),
        make_record("c", {"accuracy": 0.5}),
    ]
    chosen = with_metrics(records, ["l1", "psnr"])
    assert [list(record.metrics) for record in chosen] == [["l1", "psnr"]] * 2
    assert [record.subject.name for record in arrange(chosen)[0].records] == ["b", "a"]
    assert set(tidy_frame(with_metrics(records, ["l1"]))["metric"]) == {"l1"}
    assert list(records[0].metrics) == ["psnr", "l1"]
    with pytest.raises(UserError, match=r"named 'pnsr'\. Did you mean psnr"):
        with_metrics(records, ["l1", "pnsr"])


def test_a_metric_over_the_whole_image_has_the_unit_of_the_same_over_the_hole():
    for name in ("psnr", "l1", "l2", "ssim", "psnr_of_mean_l2"):
        assert unit_of(f"image_{name}") == unit_of(name)
    assert [unit_of(name).show(0.12345) for name in ("seam", "image_ms_ssim", "lpips", "fid")] == [
        "12.35", "0.123", "0.123", "0.12",
    ]  # fmt: skip


def test_units_are_known_by_the_first_word_of_a_metric():
    assert unit_of("accuracy_k10") == unit_of("accuracy")
    assert unit_of("psnr_of_mean_l2").symbol == "dB"
    assert unit_of("something new").show(0.12345) == "0.123"


def test_small_p_values_are_not_shown_as_zero():
    assert [show_p(p) for p in (0.0004, 0.00195, 1.0)] == ["<0.001", "0.002", "1.000"]


def test_a_spread_is_neither_good_nor_bad():
    records = [make_record(name, {"accuracy": value}) for name, value in (("a", 0.9), ("b", 0.8))]
    spread = Metric(value=0.01, higher_is_better=None)
    records = [record.model_copy(update={"metrics": {**record.metrics, "accuracy_sd": spread}}) for record in records]
    (table,) = arrange(records)
    assert table.column("accuracy_sd") == "accuracy_sd (%)"
    assert not any(table.is_best(record, "accuracy_sd") for record in records)
