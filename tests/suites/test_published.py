"""Published tables: several metrics side by side, printings that differ, rows that nobody published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ssl_ce.records.record import DatasetInfo, Metric, Record, SubjectInfo
from ssl_ce.suites.measured import Findings
from ssl_ce.suites.planning import make_plan
from ssl_ce.suites.published import published_sheets
from ssl_ce.suites.sheets import Sheet
from ssl_ce.suites.suite import load_suite

COLUMNS = {"l1": {"better": "lower", "unit": "%"}, "psnr": {"better": "higher", "unit": "dB"}}
ROWS = [
    {"label": "A", "subject": "telea", "published": {"l1": 19.9, "psnr": 12.79}},
    {"label": "B", "subject": "navier-stokes", "published": {"l1": [10.33, 9.37], "psnr": [17.59, 18.58]}},
    {"label": "C", "subject": "nearest:hog", "evaluator": "nn-inpainting", "published": {"l1": 10, "psnr": 17}},
    {"label": "D", "subject": "mean-color"},
]
# {subject: (L1, PSNR) as records hold them}
MEASURED = {"telea": (0.3, 11.0), "navier-stokes": (0.2, 14.0), "nearest:hog": (0.25, 15.0), "mean-color": (0.1, 12.0)}


@pytest.fixture
def sheet(write: Callable[..., Path], tmp_path: Path) -> Callable[..., Sheet]:
    """`sheet(measured, note="...")`: the sheet of one table of classical rows on digits, for those measured numbers."""

    def make(measured: dict[str, tuple[float, float]], **changes: Any) -> Sheet:
        table = {"title": "T", "source": "S", "evaluator": "inpainting", "columns": COLUMNS, "rows": ROWS, **changes}
        settings = {"settings": {"holes": ["center"]}, "floors": False}
        evaluate = [
            {"evaluator": "inpainting", "subjects": ["telea", "navier-stokes", "mean-color"], **settings},
            {"evaluator": "nn-inpainting", "subjects": ["hog"], **settings},
        ]
        suite = load_suite(str(write(pretrain={}, evaluate=evaluate, tables=[table])))
        plan = make_plan(suite, runs=tmp_path / "runs", results=tmp_path / "results")
        cells = {cell.hash: cell.subject for cell in plan.evaluations}
        records = {key: (_record(key, who, *measured[who]),) for key, who in cells.items() if who in measured}
        (found,) = published_sheets(Findings(plan, records))
        return found

    return make


def _record(cell: str, subject: str, l1: float, psnr: float) -> Record:
    return Record(
        id=cell,
        cell=cell,
        protocol="inpainting@1",
        variant={"holes": "center"},
        subject=SubjectInfo(name=subject, identity="a"),
        dataset=DatasetInfo(name="digits", split="test", fingerprint="f", n=9),
        seed=0,
        metrics={"psnr": Metric(value=psnr, low=psnr - 1, high=psnr + 1), "l1": Metric(value=l1)},
    )


def test_metrics_stand_side_by_side_in_one_unit(sheet):
    found = sheet(MEASURED)
    assert found.header == (
        "", "published l1 (%)", "measured l1 (%)", "published psnr (dB)", "measured psnr (dB)", "spread",
    )  # fmt: skip
    assert found.rows == (
        ("A", "19.90", "30.00", "12.79", "11.00 [10.00, 12.00]", "[ ] images"),
        ("B", "10.33 or 9.37", "20.00", "17.59 or 18.58", "14.00 [13.00, 15.00]", "[ ] images"),
        ("C", "10.00", "25.00", "17.00", "15.00 [14.00, 16.00]", "[ ] images"),
        ("D", "–", "10.00", "–", "12.00 [11.00, 13.00]", "[ ] images"),
    )
    assert "Published: S. l1: %; lower is better. psnr: dB; higher is better." in found.notes
    assert any("Rows without a published number stand in the measured order only." in note for note in found.notes)


def test_orders_leave_out_what_two_printings_do_not_settle(sheet):
    """In L1 one printing of B is better than C, one is worse; in PSNR both are better, and B is measured worse."""
    *_, l1, psnr = sheet(MEASURED).notes
    assert l1 == (
        "Order (l1, best first): published B > C > A; measured D > B > C > A: the same order "
        "(pairs left out because printings differ: 1)."
    )
    assert psnr == (
        "Order (psnr, best first): published B > C > A; measured C > B > D > A: 2 of 3 pairs in the same order."
    )


def test_rows_that_are_measured_alike_are_in_no_order(sheet):
    alike = {**MEASURED, "telea": MEASURED["nearest:hog"]}
    assert "1 of 2 pairs in the same order (pairs left out because printings differ: 1)." in sheet(alike).notes[-2]


def test_what_is_not_measured_is_said_and_not_compared(sheet):
    found = sheet({who: MEASURED[who] for who in ("nearest:hog", "mean-color")})
    assert found.rows[0] == ("A", "19.90", "–", "12.79", "–", "")
    assert "Order (l1): too few rows are measured to compare." in found.notes
    assert found.notes[-1] == (
        "Missing, not run or failed: A (l1: 0 of 1); A (psnr: 0 of 1); B (l1: 0 of 1); B (psnr: 0 of 1)."
    )


def test_a_unit_of_its_own_is_not_put_beside_the_measured_one(sheet):
    columns = {"loss": {"metric": "l1", "better": "lower", "unit": "sum over pixels"}}
    rows = [{"label": "A", "subject": "telea", "published": {"loss": 1894.29}}]
    found = sheet(MEASURED, columns=columns, rows=rows, compare="none", note="Read with care.")
    assert found.header == ("", "published, loss", "measured l1 (%), loss", "spread")
    assert found.rows == (("A", "1894.29", "30.00", ""),)
    assert found.notes[1:] == ("Published: S. loss: sum over pixels; lower is better.", "Read with care.")


def test_a_published_number_stays_beside_its_measured_one_on_a_narrow_terminal():
    header = ("", *(f"{who} {metric}" for metric in "abc" for who in ("published", "measured")), "spread")
    console = Console(width=60, record=True, force_terminal=False)
    Sheet("T", header, (("row", *"123456", "images"),), together=2).print(console)
    lines = [line.split() for line in console.export_text().splitlines() if "published" in line]
    assert len(lines) > 1
    assert [line.count("published") for line in lines] == [line.count("measured") for line in lines]
