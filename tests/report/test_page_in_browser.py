"""The report page in headless Chromium: it sorts, fits a phone and paper, and asks nothing of a network."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ssl_ce.records.store import RecordStore
from ssl_ce.report.comparisons import compare
from ssl_ce.report.layout import arrange
from ssl_ce.report.page.write import write_page

CHROMIUM = Path("/usr/bin/chromium")  # Debian's
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PAPER = 688  # CSS pixels of A4 between margins of 14 mm

LACKING = [
    name
    for name, there in (("playwright", importlib.util.find_spec("playwright")), (str(CHROMIUM), CHROMIUM.exists()))
    if not there
]
pytestmark = pytest.mark.skipif(
    bool(LACKING) and "SSL_CE_NEED_BROWSER" not in os.environ, reason=f"not installed: {', '.join(LACKING)}"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def path(filled_once: Any) -> Path:
    tables = compare(arrange(RecordStore(filled_once.records).records(with_outcomes=True)))
    path: Path = filled_once.root / "report.html"
    write_page(path, filled_once.records, tables, runs=filled_once.root)
    return path


@pytest.fixture
def page(browser: Any, path: Path) -> Iterator[Any]:
    """The page, opened from disk. Whatever it asks for or complains of fails the test."""
    asked: list[str] = []
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.route("**/*", lambda route: route.continue_() if route.request.url == path.as_uri() else route.abort())
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    yield page
    page.evaluate("scrollTo(0, document.body.scrollHeight)")  # what loads late has loaded
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert said == []
    context.close()


def test_every_section_is_seen(page: Any):
    assert page.title() == "measured & <b>kept · results"
    for name in ("tables", "times", "layers", "training", "fills", "retrieval", "manifest"):
        assert page.locator(f"#{name} h2").is_visible(), name
    pictures = (
        "Array.from(document.images, (one) => (one.loading = 'eager', one.decode().then(() => one.naturalWidth)))"
    )
    assert page.evaluate(f"Promise.all({pictures})") == [80, 80, 80, 80]
    assert page.locator("img[onerror]").count() == 0


def test_a_table_is_sorted_by_click_and_by_keyboard(page: Any):
    table = page.locator("#t1 table").first

    def column(number: int) -> list[str]:
        return [text.split()[0] for text in table.locator(f"tbody tr > :nth-child({number})").all_inner_texts()]

    def numbers(number: int) -> list[float]:
        return [float(text.strip("★")) for text in column(number) if text != "–"]

    heads = table.locator("thead th")
    assert heads.nth(1).get_attribute("aria-sort") == "descending"
    assert numbers(2) == sorted(numbers(2), reverse=True)

    heads.nth(2).get_by_role("button").click()
    assert heads.nth(2).get_attribute("aria-sort") == "ascending"  # of losses, the least is best
    assert heads.nth(1).get_attribute("aria-sort") is None
    assert numbers(3) == sorted(numbers(3))
    assert column(3)[-2:] == ["–", "–"]  # what has no value stands last
    assert column(1)[0] == "runs/suite/a-s0@conv2"

    heads.nth(2).get_by_role("button").press("Enter")
    assert heads.nth(2).get_attribute("aria-sort") == "descending"
    assert numbers(3) == sorted(numbers(3), reverse=True)
    assert column(3)[-2:] == ["–", "–"]

    heads.nth(0).get_by_role("button").focus()
    page.keyboard.press("Space")
    assert column(1).index("hog") < column(1).index("pixels") < column(1).index("runs/gone@conv1")


def test_infinity_is_the_best(page: Any):
    table = page.locator("#t2 table").first
    head = table.locator("thead th").nth(1).get_by_role("button")
    head.click()
    assert table.locator("tbody th").all_inner_texts() == ["telea", "runs/suite/b-s0", "exact", "odd"]
    head.click()
    assert table.locator("tbody th").all_inner_texts() == ["exact", "runs/suite/b-s0", "telea", "odd"]


def test_a_link_opens_what_it_leads_to(page: Any):
    page.locator("#t2").get_by_role("link", name="telea").first.click()
    page.wait_for_function("document.querySelector(location.hash).open")
    assert page.locator(":target dl").is_visible()
    assert page.locator(":target").evaluate("(place) => Math.abs(place.getBoundingClientRect().top) < innerHeight")


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_is_never_wider_than_the_screen(page: Any, width: int):
    page.set_viewport_size({"width": width, "height": 844})
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.locator("#t2 .scroll").first
    if width < 400:
        assert wide.evaluate("(box) => box.scrollWidth > box.clientWidth")  # it scrolls in its own box


def test_paper_shows_every_table_whole(page: Any):
    page.set_viewport_size({"width": PAPER, "height": 1000})
    page.emulate_media(media="print")
    tables = page.locator("#tables table")
    assert tables.count() == 5  # two, one of them over the whole image too, each with its comparisons
    for table in tables.all():
        assert table.evaluate("(one) => one.checkVisibility({contentVisibilityAuto: true})")
        assert table.bounding_box()["height"] > 20
        assert table.bounding_box()["width"] <= PAPER
    assert not page.locator("nav").is_visible()
    assert len(page.pdf(format="A4")) > 10_000


def test_it_follows_the_colours_of_the_screen(page: Any):
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(paper) == "rgb(22, 24, 27)"
