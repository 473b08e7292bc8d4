"""The pages in a real browser: keys, light and dark, phone width, and what axe says of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from served_runs import rows_of, serving, write_weighed

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt install chromium"),
    pytest.mark.xdist_group("browser"),
]
SCREENS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the dev extra)")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights of a job."""
    folder = tmp_path_factory.mktemp("browser")
    for night in range(1, 4):
        write_weighed(folder / "nights" / f"{night:06d}" / "gen", seed=night, state="none" if night == 2 else "named")
    return folder


@pytest.fixture(scope="module")
def url(state: Path) -> Iterator[str]:
    with serving(str(state), "--port", "0", "--quiet") as (_, said):
        yield said["url"]


@pytest.fixture
def page_of(browser: Any, url: str) -> Iterator[Callable[[str], Any]]:
    """Return a page on one of the screens that has shown the token; what its console complains of fails the test."""
    complaints: list[str] = []

    def call(screen: str = "light") -> Any:
        context = browser.new_context(**SCREENS[screen])
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    contexts: list[Any] = []
    yield call
    for context in contexts:
        context.close()
    assert complaints == []


def addresses(page: Any) -> list[str]:
    """Return every kind of page, by following links."""
    run = page.locator("a.open").first.get_attribute("href")
    compare = page.locator("a", has_text="compare").first.get_attribute("href")
    page.goto(page.url + run[1:])
    match = page.locator("a.open").first.get_attribute("href")
    return [
        "/",
        run,
        f"{run}?verdict=named&sort=q",
        f"{run}?identity=nobody",
        f"{run}/identities",
        f"{run}/evidence",
        match,
        compare,
    ]


def test_on_a_phone_the_figures_are_read_and_the_news_are_seen(page_of, url):
    page, base = page_of("phone"), url.partition("/?")[0]
    new = page.locator("tr[data-row] td.n").first.bounding_box()
    assert new["x"] + new["width"] <= 390

    page.goto(base + addresses(page)[5])

    texts = page.locator("svg.figure text.ink")
    boxes = sorted((texts.nth(n).bounding_box() for n in range(texts.count())), key=lambda box: (box["y"], box["x"]))
    assert len(boxes) == 4
    assert all(box["height"] >= 9 for box in boxes)
    assert all(a["y"] + 9 < b["y"] or a["x"] + a["width"] < b["x"] for a, b in pairwise(boxes))


@pytest.mark.slow
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing_on_any_page(page_of, screen, url):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe-playwright-python (the dev extra)"
    )
    page, base = page_of(screen), url.partition("/?")[0]

    found = []
    for address in addresses(page):
        page.goto(base + address)
        violations = axe.Axe().run(page).response["violations"]
        found += [(address, one["impact"], one["id"], one["nodes"][0]["html"][:80]) for one in violations]
        if screen == "phone":
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, address

    assert found == []


def test_keys_move_through_rows_and_matches(page_of):
    page = page_of()
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.closest('tr').rowIndex") == 1
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/runs/gen-000003-"))
    for key in "jjk":
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.closest('tr').rowIndex") == 1
    page.keyboard.press("n")
    page.wait_for_url(re.compile("after="))
    assert "51 to 100 of 400" in page.locator(".pager p").first.inner_text().replace("\N{THIN SPACE}", " ")
    page.keyboard.press("p")
    page.wait_for_url(re.compile("before="))
    assert page.locator(".pager p").first.inner_text().startswith("1 to 50")

    page.locator("a.open").first.click()
    page.wait_for_url(re.compile(r"/matches/\d+"))
    first = page.locator(".pair .score b").inner_text()
    for key in "jk":
        with page.expect_navigation():
            page.keyboard.press(key)
    assert page.locator(".pair .score b").inner_text() == first == f"{max(row['score'] for row in rows_of(3)):.3f}"
    page.keyboard.press("u")
    page.wait_for_url(re.compile(r"/runs/gen-000003-[0-9a-f]+$"))


def test_slash_leads_to_the_filters_and_empty_ones_stay_out_of_the_address(page_of):
    page = page_of()
    page.locator("a.open").first.click()
    page.wait_for_url(re.compile("/runs/"))
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "identity"
    page.keyboard.type("person-0j")  # letters in a field are letters
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"\?identity=person-0&"))

    assert page.url.partition("?")[2] == "identity=person-0&sort=score&rows=50"
    assert set(re.findall(r"person-0\d", page.inner_text("tbody"))) <= {f"person-0{n}" for n in range(10)}


def test_the_question_mark_lists_the_keys(page_of):
    page = page_of()
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    assert "next and previous row" in page.inner_text("#keys")
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()


def test_dark_and_light_are_the_readers_own(page_of):
    grounds = {
        screen: page_of(screen).evaluate("getComputedStyle(document.body).backgroundColor")
        for screen in ("light", "dark")
    }

    assert grounds == {"light": "rgb(251, 250, 248)", "dark": "rgb(21, 24, 27)"}


def test_on_a_phone_the_filters_wait_until_they_are_asked_for(page_of):
    page = page_of("phone")
    page.locator("a.open").first.click()
    page.wait_for_url(re.compile("/runs/"))
    assert not page.locator("input[name=identity]").is_visible()
    page.locator("summary").click()
    assert page.locator("input[name=identity]").is_visible()


def test_a_finding_is_acknowledged_and_taken_back(page_of, state):
    page = page_of()
    page.locator("a.open").first.click()
    page.goto(page.url + "?identity=person-01")
    page.locator("a.open").first.click()
    page.wait_for_url(re.compile("/matches/"))
    page.keyboard.press("a")
    page.keyboard.type("seen, licensed")
    page.keyboard.press("Enter")
    page.locator(".badge.ok", has_text="acknowledged").first.wait_for()
    assert "seen, licensed" in (state / "acknowledged.json").read_text()

    page.get_by_role("button", name="Take it back").click()
    page.get_by_role("button", name="Acknowledge").wait_for()

    assert "seen, licensed" not in (state / "acknowledged.json").read_text()


def test_crops_are_shown_and_nothing_else_is_loaded(page_of, url):
    page, asked = page_of(), []
    page.on("request", lambda request: asked.append(request.url))
    row = max(range(len(rows_of(3))), key=lambda n: n < 1)
    run = page.locator("a.open").first.get_attribute("href")
    page.goto(f"{url.partition('/?')[0]}{run}/matches/{row}")

    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")

    assert widths == [112, 112]
    assert {address.partition("//")[2].partition("/")[0] for address in asked} == {
        url.partition("//")[2].partition("/")[0]
    }
