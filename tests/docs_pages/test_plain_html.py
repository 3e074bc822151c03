"""docs/plain-html.md, followed in a real Chromium: its page, its parts, its events, signed in either way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Route, expect
from playwright.sync_api import Page as Tab

from tests.docs_pages.page import Page, running, slow_down

PAGE = Page("plain-html.md")
SECRET = "a secret of which nobody knows, 42 letters"
SCREENSHOTS = os.environ.get("MILEPOST_SCREENSHOTS")


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A page that has no error of its own, and is refused nothing by its policy."""
    context = browser.new_context(viewport={"width": 640, "height": 360})
    tab = context.new_page()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            errors.append(message.text)

    tab.on("console", note)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    context.close()
    assert errors == []


def test_the_page(tmp_path: Path, tab: Tab) -> None:
    """What the server has rendered moves after a click, through a reload, to a link; then the bell has one more. All of
    it under the page's own policy, and without a toast for a job that the page shows.
    """
    PAGE.write(tmp_path)
    slow_down(tmp_path, 0.3)
    (policy,) = PAGE.blocks("text")

    def with_policy(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": policy.strip()})

    with running(tmp_path) as url:
        tab.route(f"{url}/", with_policy)
        tab.goto(url)
        shown = tab.locator("milepost-progress")
        bar = tab.get_by_role("progressbar")
        expect(shown).to_have_text(re.compile("Not begun"))
        tab.evaluate("document.querySelector('progress').mark = 'from the server'")
        tab.evaluate("fetch('/import', {method: 'POST'})")
        expect(shown).to_contain_text("of 40 ·", timeout=20_000)
        assert tab.evaluate("document.querySelector('progress').mark") == "from the server"
        if SCREENSHOTS:
            expect(shown).to_contain_text(re.compile("4. %"), timeout=20_000)
        tab.reload()
        expect(bar).to_have_accessible_name("Parts list", timeout=20_000)
        if SCREENSHOTS:
            tab.screenshot(path=f"{SCREENSHOTS}/plain-html.png")
        listener = PAGE.blocks("js")[0]
        tab.evaluate(f"() => {{ {listener} }}")
        expect(shown.get_by_role("link")).to_have_attribute("href", "/parts", timeout=60_000)
        expect(tab).to_have_title("✓ Parts list")
        expect(tab.get_by_role("button", name="Notifications, 1 unread")).to_be_visible(timeout=20_000)
        expect(tab.locator(".milepost-toast")).to_have_count(1)
        expect(tab.locator(".milepost-toast")).to_contain_text("Parts list imported")


def test_marked_parts_and_a_token(tmp_path: Path, tab: Tab) -> None:
    """With the page's own markup, and with a token in the place of the cookie: nobody without it sees anything."""
    PAGE.write(tmp_path)
    _, parts, by_token = PAGE.blocks("html")
    app = (tmp_path / "app.py").read_text()
    assert 'return "ada"' in app
    (tmp_path / "app.py").write_text(app.replace('return "ada"', "return None"))
    (tmp_path / "page.html").write_text(f"<!doctype html><title>Import</title>{by_token}{parts}")
    made = subprocess.run(
        [Path(sys.executable).with_name("milepost"), "token", "--user", "ada", "--scope", "consume"],
        env={**os.environ, "MILEPOST_SECRET": SECRET},
        capture_output=True,
        text=True,
        check=True,
    )
    tab.route("**/my/live-token", lambda route: route.fulfill(body=made.stdout.strip()))
    with running(tmp_path, MILEPOST_SECRET=SECRET) as url:
        tab.goto(url)
        cells = tab.locator("milepost-progress").get_by_role("cell")
        expect(cells.nth(2)).to_have_text("Not begun")
        tab.evaluate("fetch('/import', {method: 'POST'})")
        expect(cells.nth(2)).to_have_text(re.compile(r"Row \d+"), timeout=20_000)
        expect(cells.nth(1)).to_have_text(re.compile(r"\d+ %"))
        expect(cells.nth(3).get_by_role("link")).to_have_attribute("href", "/parts", timeout=60_000)
        expect(cells.nth(3).get_by_role("link")).to_have_text("Parts")
        expect(tab.locator(".milepost-toast")).to_contain_text("Parts list imported", timeout=20_000)


def test_the_tag_twice(tmp_path: Path, tab: Tab) -> None:
    """A page whose parts each bring the tag has one connection, one bell, one toast."""
    PAGE.write(tmp_path)
    page = tmp_path / "page.html"
    tag = '<script src="/milepost/milepost.js" data-auto></script>'
    assert tag in page.read_text()
    page.write_text(page.read_text().replace(tag, tag + tag).replace("</html>", f"{tag}</html>"))
    streams: list[str] = []
    tab.on("request", lambda request: streams.append(request.url) if "/api/stream" in request.url else None)
    with running(tmp_path) as url:
        tab.goto(url)
        tab.evaluate("fetch('/import', {method: 'POST'})")
        expect(tab.locator(".milepost-toast")).to_contain_text("Parts list imported", timeout=60_000)
        expect(tab.locator(".milepost-toast")).to_have_count(1)
        expect(tab.locator(".milepost-bell")).to_have_count(1)
        assert len(streams) == 1
