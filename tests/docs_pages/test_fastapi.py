"""docs/fastapi.md, followed as a newcomer follows it: its blocks in an empty folder, its command, a real Chromium."""

from __future__ import annotations

import os
import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.docs_pages.page import COMMAND, Page, running, slow_down
from tests.server.process import wait_until

PAGE = Page("fastapi.md")
SCREENSHOTS = os.environ.get("MILEPOST_SCREENSHOTS")


def added(diff: str) -> list[str]:
    """The lines that a diff adds, but for empty ones."""
    return [line[1:] for line in diff.splitlines() if line.startswith("+") and line[1:].strip()]


def test_five_lines_and_one_tag() -> None:
    """At most five lines of Python and one tag are added, and nothing else is; it is run by the same command."""
    python, html = map(added, PAGE.blocks("diff"))
    assert 1 <= len(python) <= 5
    (tag,) = html
    assert re.fullmatch(r"\s*<script [^>]*></script>", tag)
    assert f"$ {COMMAND}\n" in PAGE.text


def test_before(tmp_path: Path, browser: Browser) -> None:
    """What the page starts from works, and shows no progress."""
    PAGE.write(tmp_path)
    with running(tmp_path) as url:
        page = browser.new_page()
        page.goto(url)
        page.get_by_role("link", name="Sign in").click()
        with page.expect_response("**/export") as answer:
            page.get_by_role("button", name="Export").click()
        assert answer.value.ok
        expect(page.get_by_role("progressbar")).to_have_count(0)
        page.close()


def test_a_newcomer_sees_the_bar(tmp_path: Path, browser: Browser) -> None:
    """With the added lines a click shows the bar: it moves, is there again after a reload, and says when it is done;
    somebody else who is signed in sees none of it.
    """
    PAGE.write(tmp_path)
    PAGE.change(tmp_path, "app.py", "page.html")
    slow_down(tmp_path, 0.3)
    with running(tmp_path) as url:
        visitor, other = browser.new_context(), browser.new_context()
        page, elsewhere = visitor.new_page(), other.new_page()
        page.set_viewport_size({"width": 640, "height": 240})
        for one, name in ((page, "ada"), (elsewhere, "grace")):
            one.goto(f"{url}/sign-in?name={name}")
        page.get_by_role("button", name="Export").click()
        bar = page.get_by_role("progressbar", name="Export")
        expect(bar).to_be_visible(timeout=20_000)
        first = float(bar.get_attribute("value") or 0)
        wait_until(lambda: float(bar.get_attribute("value") or 0) > first, seconds=20, what="the bar moves")
        page.reload()
        expect(bar).to_be_visible(timeout=20_000)
        if SCREENSHOTS:
            expect(page.get_by_text("17 of 40")).to_be_visible()
            page.screenshot(path=f"{SCREENSHOTS}/fastapi.png")
        expect(page.locator(".milepost-toast", has_text="Export")).to_contain_text("Complete", timeout=30_000)
        expect(bar).to_have_count(0)
        expect(elsewhere.locator(".milepost-toast")).to_have_count(0)
        visitor.close()
        other.close()


def test_stops_while_a_page_looks_on(tmp_path: Path, browser: Browser) -> None:
    """Ctrl-C ends the application while pages are open."""
    PAGE.write(tmp_path)
    PAGE.change(tmp_path, "app.py", "page.html")
    page = browser.new_page()
    with running(tmp_path) as url, page.expect_response("**/milepost/api/stream*"):
        page.goto(f"{url}/sign-in?name=ada")
    page.close()


def test_a_bearer_token(tmp_path: Path, browser: Browser) -> None:
    """Where the sign-in is a bearer token, the page's own client sends it, and its user's jobs are there."""
    PAGE.write(tmp_path)
    PAGE.change(tmp_path, "app.py", "page.html")
    app, html = tmp_path / "app.py", tmp_path / "page.html"
    by_cookie, by_header = 'session: Annotated[str, Cookie()] = ""', 'authorization: Annotated[str, Header()] = ""'
    head = f"def current_user({by_cookie}) -> str:\n"
    assert head in app.read_text()
    bearer = f"def current_user({by_header}) -> str:\n    session = authorization.removeprefix('Bearer ')\n"
    app.write_text(
        app.read_text()
        .replace(head, bearer)
        .replace("import BackgroundTasks, Cookie", "import BackgroundTasks, Header")
    )
    html.write_text(f"<!doctype html><p>Exports</p>{PAGE.blocks('html')[1]}")
    visitor = browser.new_context()
    tab = visitor.new_page()
    with running(tmp_path) as url:
        tab.goto(f"{url}/sign-in?name=ada")
        (key,) = [cookie.get("value", "") for cookie in visitor.cookies() if cookie.get("name") == "session"]
        tab.evaluate("key => localStorage.setItem('token', key)", key)
        tab.reload()
        wait_until(
            lambda: tab.evaluate("client.connection.getSnapshot().status") == "connected", seconds=30, what="connected"
        )
        tab.evaluate("key => fetch('/export', {method: 'POST', headers: {authorization: `Bearer ${key}`}})", key)
        wait_until(lambda: tab.evaluate("client.jobs.getSnapshot().length") == 1, seconds=30, what="the job is there")
    visitor.close()
