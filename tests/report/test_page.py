"""The report page says what the records say, shows what is there, and is whole in itself."""

from __future__ import annotations

import base64
import math
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ssl_ce.records.record import Metric
from ssl_ce.records.store import RecordStore
from ssl_ce.report.comparisons import compare
from ssl_ce.report.layout import arrange
from ssl_ce.report.page.charts import show_seconds, ticks
from ssl_ce.report.page.pictures import collect
from ssl_ce.report.page.runs import find_runs, run_of
from ssl_ce.report.page.write import write_page


class Elements(HTMLParser):
    """Every element that a browser would make: (tag, attributes)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def page_of(filled: Any, **options: Any) -> str:
    tables = compare(arrange(RecordStore(filled.records).records(with_outcomes=True)))
    write_page(filled.root / "report.html", filled.records, tables, runs=filled.root, **options)
    return (filled.root / "report.html").read_text(encoding="utf-8")


def section(html: str, name: str) -> str:
    return html[html.index(f'<section id="{name}">') :].partition("</section>")[0]


def rows(html: str) -> dict[str, list[str]]:
    """{subject: the texts of its cells} of the first table of `html`."""
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    found = {}
    for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL):
        name, *cells = re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)
        found[unescape(re.sub(r"<.*?>", "", name))] = [unescape(re.sub(r"<.*?>", "", cell)) for cell in cells]
    return found


def charts(html: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r'<svg viewBox="0 0 420 300".*?</svg>', html, re.DOTALL)]


def axis(chart: ET.Element, anchor: str, coordinate: str, shift: float) -> dict[str, float]:
    """{text of a tick: its place}, of the y axis (anchored at the end) or the x axis (in the middle)."""
    texts = [text for text in chart.iter("text") if text.get("text-anchor") == anchor and not text.get("class")]
    return {text.text or "": float(text.get(coordinate, "")) - shift for text in texts}


def dots(chart: ET.Element) -> dict[str, tuple[float, float]]:
    """{note: place} of every point."""
    found = {}
    for group in chart.iter("g"):
        (dot,) = (path for path in group.iter("path") if path.get("class") == "dot")
        x, y = re.findall(r"[\d.]+", dot.get("transform", ""))
        found[group.findtext("title") or ""] = float(x), float(y)
    return found


def test_the_tables_show_every_value_with_its_interval(filled: Any):
    html = page_of(filled)
    found = rows(section(html, "tables"))
    assert found["hog"] == ["60.0 [55.0, 65.0]", "0.400"]
    assert found["runs/suite/a-s0@conv2"][0] == "95.0★ [90.0, 100.0]"
    assert next(iter(found)).startswith("runs/suite/a-s0@")
    assert html.count("<strong>95.0</strong>") == 2  # @all is as good
    fills = rows(section(html, "tables").partition("inpainting@1")[2])
    assert list(fills) == ["exact", "runs/suite/b-s0", "telea", "odd"]
    shown = [cells[0] for cells in fills.values()]
    assert shown == ["∞ [∞, ∞]", "16.25 [15.25, 17.25]", "15.50 [14.50, 16.50]", "–"]
    assert re.findall(r'<td data-v="(.*?)">', html.partition("inpainting@1 ·")[2])[::6][:4] == [
        "Infinity",
        "16.25",
        "15.5",
        "",
    ]


def test_what_beats_every_baseline_is_marked_and_explained(filled: Any):
    tables = section(page_of(filled), "tables")
    marked = [row for row in re.findall(r"<tr>.*?</tr>", tables, re.DOTALL) if 'class="star"' in row]
    assert any("runs/suite/a-s0@conv2" in row for row in marked)
    assert not any(">hog<" in row for row in marked)
    assert "every baseline" in tables.partition("</table>")[2].partition("<details>")[0]
    assert "runs/suite/a-s0@conv2 − hog" in tables


def test_nothing_from_a_record_becomes_markup(filled: Any):
    html = page_of(filled)
    elements = Elements(html).found
    assert [tag for tag, _ in elements].count("script") == 1
    assert not [attributes for _, attributes in elements if any(name.startswith("on") for name in attributes)]
    assert "alert('x')" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;alert(&#39;x&#39;)" in html


def test_the_page_needs_nothing_else(filled: Any):
    html = page_of(filled)
    for tag, attributes in Elements(html).found:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), tag
    assert not re.search(r"@import|url\(|https?://", html)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")


def test_links_lead_to_places_on_the_page(filled: Any):
    elements = Elements(page_of(filled)).found
    places = [attributes["id"] for _, attributes in elements if "id" in attributes]
    links = [attributes["href"][1:] for tag, attributes in elements if tag == "a"]  # type: ignore[index]
    assert len(places) == len(set(places))
    assert len(links) > 15
    assert set(links) <= set(places)


def test_the_same_records_make_the_same_page(filled: Any):
    assert page_of(filled) == page_of(filled)


def test_a_point_stands_at_its_runs_time_and_its_value(filled: Any):
    chart = charts(section(page_of(filled), "times"))[0]
    y, x = axis(chart, "end", "y", 4.0), axis(chart, "middle", "x", 0.0)
    found = dots(chart)
    assert len(found) == 3  # @all for its taps, and two taps of the other; not what has no run, nor whose run is gone
    place = found["runs/suite/b-s0@conv2: 72.0, 16.7 min"]
    low, high = y["40"], y["80"]
    assert place[1] == pytest.approx(low + (72 - 40) / 40 * (high - low), abs=0.6)
    (one, two) = (math.log(120), x["2 min"]), (math.log(600), x["10 min"])
    slope = (two[1] - one[1]) / (two[0] - one[0])
    assert place[0] == pytest.approx(one[1] + slope * (math.log(1000) - one[0]), abs=0.6)
    floors = {path.findtext("title") for path in chart.iter("path") if path.get("class") == "floor"}
    assert {"hog: 60.0", "pixels: 40.0"} <= floors
    assert [floor for floor in floors if "@conv2, untrained: 50.0" in str(floor)]


def test_layers_stand_in_order_and_the_chosen_one_is_ringed(filled: Any):
    (chart,) = charts(section(page_of(filled), "layers"))
    assert list(axis(chart, "middle", "x", 0.0)) == ["conv1", "pool1", "conv2"]
    found = dots(chart)
    assert len(found) == 5
    assert not [note for note in found if "@all" in note]
    ringed = [group.findtext("title") for group in chart.iter("g") if group.find("circle") is not None]
    assert ringed == ["runs/suite/a-s0@conv2: 95.0"]
    assert len({x for note, (x, _) in found.items() if "@conv1" in note}) == 1


def test_long_curves_are_thinned_and_end_where_they_end(filled: Any):
    training = section(page_of(filled), "training")
    losses, scores = charts(training)
    lines = [line.get("points", "").split() for line in losses.iter("polyline")]
    assert [len(line) for line in lines] == [251, 251]
    right = max(axis(losses, "middle", "x", 0.0).items(), key=lambda tick: tick[1])
    assert right[0] == "1,000"
    assert float(lines[0][-1].partition(",")[0]) == pytest.approx(right[1], abs=0.2)
    assert len(list(scores.iter("g"))) == 2  # one point of each run
    assert rows(training)["runs/suite/a-s0"][:3] == ["1.67 min", "1,000", "64,000"]
    assert "<code>runs/gone</code> (it is not there)" in training


def test_pictures_are_embedded_bit_for_bit(filled: Any):
    html = page_of(filled)
    uris = [a["src"] or "" for tag, a in Elements(html).found if tag == "img"]
    shown = {base64.b64decode(uri.partition(",")[2]) for uri in uris}
    runs = filled.root / "runs" / "suite"
    last = [runs / name / "samples" / "step-0001000.png" for name in ("a-s0", "b-s0")]
    there = [filled.records / "failures-center-telea-000000.png", filled.records / "retrieval-center.png"]
    assert shown == {path.read_bytes() for path in (*last, *there)}
    assert all(a.get("alt") for tag, a in Elements(html).found if tag == "img")


def test_pictures_can_be_left_out(filled: Any):
    html = page_of(filled, pictures=False)
    assert "<img" not in html
    assert 'id="fills"' not in html
    assert 'href="#retrieval"' not in html


def test_what_there_is_no_room_for_is_named(filled: Any):
    small = (filled.records / "retrieval-center.png").stat().st_size
    (filled.records / "failures-torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    album = collect(filled.records, [], {}, most=small)
    assert [picture.caption for picture in album.retrieval] == ["Nearest contexts, holes: center"]
    assert album.fills == []
    assert {Path(path).name: reason for path, reason in album.left_out.items()} == {
        "failures-center-telea-000000.png": "there is no room",
        "failures-torn.png": "it is no PNG that can be read",
    }


def test_sections_are_there_only_with_something_in_them(filled: Any):
    html = page_of(filled)
    names = ["tables", "times", "layers", "training", "fills", "retrieval", "manifest"]
    assert re.findall(r'<section id="(\w+)">', html) == names
    records = [record for record in RecordStore(filled.records).records() if record.subject.name == "hog"]
    write_page(filled.root / "one.html", filled.root, arrange(records), runs=filled.root)
    assert re.findall(r'<section id="(\w+)">', (filled.root / "one.html").read_text()) == ["tables", "manifest"]


def test_the_manifest_tells_what_it_takes_to_run_it_again(filled: Any):
    manifest = unescape(section(page_of(filled), "manifest"))
    for record in RecordStore(filled.records).records():
        assert record.id in manifest
    for told in ("0123abc", "python 3.11.7, torch 2.15.0", "ce evaluate knn", "setting headline", "f" * 32):
        assert told in manifest
    assert manifest.count("<h3>Environment") == 1


def test_a_run_that_cannot_be_read_is_told(filled: Any):
    (filled.root / "runs" / "suite" / "b-s0" / "manifest.json").write_text("{")
    found, missing = find_runs(["runs/suite/a-s0@conv1", "nearest:init:runs/suite/b-s0", "hog", "gist"], filled.root)
    assert [run.label for run in found.values()] == ["a-s0"]
    assert list(missing) == ["runs/suite/b-s0"]
    assert missing["runs/suite/b-s0"].startswith("it cannot be read")


def test_runs_are_called_by_what_sets_them_apart(filled: Any):
    suite = filled.root / "runs" / "suite"

    def labels(*subjects: str) -> list[str]:
        return [run.label for run in find_runs(subjects, filled.root)[0].values()]

    assert labels("runs/suite/a-s0@conv1", "init:runs/suite/b-s0") == ["a-s0", "b-s0"]
    assert labels(f"{suite}/a-s0", f"{suite}/b-s0") == ["a-s0", "b-s0"]
    assert labels("runs/suite/a-s0", f"{suite}/b-s0") == [f"{suite}/b-s0", "runs/suite/a-s0"]


@pytest.mark.parametrize(
    ("subject", "run"),
    [
        ("runs/x@conv4?pool=2", "runs/x"),
        ("nearest?complete=runs/x&k=20&fill=poisson:hog", "runs/x"),
        ("fill:runs/x", "runs/x"),
        ("init:runs/x", None),
        ("hog?cell=4", None),
        ("torchvision:alexnet", None),
        ("what?is this", None),
    ],
)
def test_a_subject_stands_on_the_run_that_was_trained(subject: str, run: str | None):
    assert run_of(subject) == run


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (91.3, 93.6), (-0.004, 0.0031), (17, 23000), (5.5, 5.6)])
def test_ticks_are_round_equal_steps_inside_the_range(low: float, high: float):
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    assert low <= found[0] + 1e-9
    assert found[-1] - 1e-9 <= high
    step = found[1] - found[0]
    assert found == pytest.approx([found[0] + number * step for number in range(len(found))])
    assert f"{step:.6e}"[0] in "125"
    assert found[0] - step < low
    assert found[-1] + step > high


def test_durations_are_short():
    assert [show_seconds(s) for s in (0.25, 45, 90, 5400, 200000)] == ["0.25 s", "45 s", "1.5 min", "1.5 h", "2.31 d"]


def test_a_thousand_records_make_a_page_in_seconds(filled: Any):
    records = RecordStore(filled.records).records()[:1]
    many = [
        records[0].model_copy(
            update={
                "id": f"{number:016d}",
                "subject": records[0].subject.model_copy(update={"name": f"hog?cell={number}"}),
                "metrics": {f"accuracy_k{k}": Metric(value=number / 1000 + k / 1e6) for k in range(8)},
                "variant": {"labels": str(number // 50)},
            }
        )
        for number in range(1000)
    ]
    started = time.perf_counter()
    write_page(filled.root / "many.html", filled.records, arrange(many), runs=filled.root)
    assert time.perf_counter() - started < 10
    assert (filled.root / "many.html").stat().st_size < 3e6


def test_the_command_writes_a_page_and_refuses_to_replace_it(filled: Any, ce: Callable[[str], Any]):
    folder = f"'{filled.records}'"
    done = ce(f"results report {folder}")
    assert done.code == 0
    assert done.out.startswith("report.html: 15 records, 2 tables, ")
    before = Path("report.html").read_bytes()
    refused = ce(f"results report {folder}")
    assert (refused.code, Path("report.html").read_bytes()) == (2, before)
    assert "--force" in refused.err
    assert ce(f"results report {folder} --force --no-images").code == 0
    assert b"<img" not in Path("report.html").read_bytes()
    assert "contain images of yours" in " ".join(ce("results report --help").out.split())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("results report empty", "has no records.jsonl"),
        ("results report blank", "holds no records yet"),
        ("results report blank -o report.pdf", "Give --out report.html"),
        ("results report blank --runs nowhere", "There is no folder nowhere"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(line: str, reason: str, tmp_path: Path, ce: Callable[[str], Any]):
    for name in ("empty", "blank"):
        (tmp_path / name).mkdir()
    (tmp_path / "blank" / "records.jsonl").write_text("")
    answer = ce(line)
    assert answer.code == 2
    assert reason in answer.err
    assert answer.err.count("\n") == 1
    assert not list(tmp_path.glob("report.*"))


def test_the_page_does_not_wait_for_torch(filled: Any):
    code = (
        "import sys; from ssl_ce.cli.results import results\n"
        f"results(['report', {str(filled.records)!r}, '-o', {str(filled.root / 'r.html')!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=filled.root)
