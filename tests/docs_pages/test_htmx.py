"""docs/htmx.md, followed in a real Chromium: a page that a server renders refreshes itself, with either htmx."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Tab

from tests.docs_pages.page import Page, running, slow_down
from tests.server.process import wait_until

PAGE = Page("htmx.md")
PACKAGES = Path(__file__).parents[2] / "web" / "node_modules"
SCREENSHOTS = os.environ.get("MILEPOST_SCREENSHOTS")
SCRIPTS = re.findall(r'src="(https://cdn\.jsdelivr\.net/npm/htmx\.org@([\d.]+)/dist/htmx\.min\.js)"', PAGE.text)
HTMX_2, HTMX_4 = (url for url, _ in dict.fromkeys(SCRIPTS))


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A page whose htmx comes from where this project has it, and that has no error of its own."""
    context = browser.new_context(viewport={"width": 640, "height": 320})
    scripts = {HTMX_2: "htmx.org", HTMX_4: "htmx-4"}
    context.route(
        re.compile("cdn"),
        lambda route: route.fulfill(path=PACKAGES / scripts[route.request.url] / "dist" / "htmx.min.js"),
    )
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    context.close()
    assert errors == []


def follow(folder: Path) -> None:
    """All that the page says, up to its first picture."""
    PAGE.write(folder)
    (folder / "exports.html").write_text(PAGE.blocks("html")[1])
    PAGE.change(folder, "app.py", "page.html")


def test_before(tmp_path: Path, tab: Tab) -> None:
    """What the page starts from works, and shows what has changed only when it is loaded again."""
    PAGE.write(tmp_path)
    (tmp_path / "exports.html").write_text(PAGE.blocks("html")[1])
    with running(tmp_path) as url:
        tab.goto(url)
        with tab.expect_response("**/exports") as answer:
            tab.get_by_role("button").click()
        assert answer.value.status == 204
        expect(tab.get_by_role("listitem")).to_have_text("None yet.")
        tab.reload()
        expect(tab.get_by_role("listitem")).to_contain_text("of 40 pages")


@pytest.mark.parametrize("htmx", [HTMX_2, HTMX_4], ids=["htmx 2", "htmx 4"])
def test_the_list_refreshes_itself(tmp_path: Path, tab: Tab, htmx: str) -> None:
    """A click is followed by what comes of it, to the end, without a reload: at most four readings a second."""
    follow(tmp_path)
    page = tmp_path / "page.html"
    page.write_text(page.read_text().replace(HTMX_2, htmx))
    slow_down(tmp_path, 0.2)
    readings: list[str] = []
    tab.on("request", lambda request: readings.append(request.url) if request.method == "GET" else None)
    with running(tmp_path) as url:
        tab.goto(url)
        tab.evaluate("addEventListener('milepost:refresh', () => (window.told ??= []).push(performance.now()))")
        items = tab.get_by_role("listitem")
        for item in (0, 1):
            tab.get_by_role("button").click()
            expect(items.nth(item)).to_contain_text(re.compile(r"[1-9]\d* of 40 pages"), timeout=20_000)
        if SCREENSHOTS:
            expect(items.nth(1)).to_contain_text("17 of 40")
            tab.screenshot(path=f"{SCREENSHOTS}/htmx.png")
        for item in (0, 1):
            expect(items.nth(item)).to_have_text("Done: 40 pages", timeout=60_000)
        told = tab.evaluate("window.told")
    assert len([one for one in readings if one == f"{url}/exports"]) <= len(told)
    assert min(after - before for before, after in pairwise(told)) > 249


@pytest.mark.parametrize("htmx", [HTMX_2, HTMX_4], ids=["htmx 2", "htmx 4"])
def test_a_bar_in_a_piece_that_is_read_at_the_end(tmp_path: Path, tab: Tab, htmx: str) -> None:
    """The element moves without a reading; its end is one, and is not followed by another."""
    follow(tmp_path)
    page = tmp_path / "page.html"
    trigger = re.search(r'`<main (hx-get="/exports" hx-trigger="milepost:settled")>`', PAGE.text)
    assert trigger
    said = re.search(r"(?<=<main ).*(?=>)", page.read_text())
    assert said
    page.write_text(page.read_text().replace(HTMX_2, htmx).replace(said[0], trigger[1]))
    done = "<p>{% if export.done %}Done{% endif %}</p>"
    piece = f"{{% for export in exports %}}{done}{PAGE.blocks('html')[2]}{{% endfor %}}"
    (tmp_path / "exports.html").write_text(piece)
    slow_down(tmp_path, 0.2)
    readings: list[str] = []
    with running(tmp_path) as url:
        tab.goto(url)
        with tab.expect_response("**/exports"):
            tab.get_by_role("button").click()
        tab.reload()
        bar = tab.get_by_role("progressbar")
        tab.on("request", lambda request: readings.append(request.url) if request.method == "GET" else None)
        wait_until(lambda: float(bar.get_attribute("value") or 0) > 5, seconds=60, what="the bar moves")
        assert f"{url}/exports" not in readings
        main = tab.locator("main")
        expect(main.get_by_text("Done")).to_have_count(1, timeout=60_000)
        expect(main.get_by_text("Complete")).to_have_count(1, timeout=20_000)
        # A second job: all that the first end would still cause has happened before it ends.
        with tab.expect_response("**/exports"):
            tab.get_by_role("button").click()
        tab.reload()
        expect(main.get_by_text("Done")).to_have_count(2, timeout=60_000)
        expect(main.get_by_text("Complete")).to_have_count(2, timeout=20_000)
        assert readings.count(f"{url}/exports") == 2


def test_without_htmx(tmp_path: Path, tab: Tab) -> None:
    """The page's listener in the place of htmx."""
    follow(tmp_path)
    page = tmp_path / "page.html"
    (listener,) = PAGE.blocks("js")
    page.write_text(
        re.sub(r'\s*<script src="https://.*</script>', "", page.read_text())
        .replace("hx-get=", "data-url=")
        .replace("</main>", f"</main><script>{listener}</script>")
    )
    with running(tmp_path) as url:
        tab.goto(url)
        tab.evaluate("fetch('/exports', {method: 'POST'})")
        expect(tab.get_by_role("listitem")).to_have_text("Done: 40 pages", timeout=60_000)
