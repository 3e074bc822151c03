"""docs/moving-from-….md: what each page starts from works, and what it leads to shows the same, in a real Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Tab

from tests.docs_pages.page import Page, running, slow_down
from tests.server.process import wait_until

POLLING = Page("moving-from-polling.md")
SSE = Page("moving-from-sse.md")

# what a person can see of the bar, each value once
WATCH = """
window.seen = [];
setInterval(() => {
  const bar = document.querySelector('progress');
  if (bar && bar.position >= 0 && window.seen.at(-1) !== bar.position) window.seen.push(bar.position);
}, 20);
"""


def watched(tab: Tab) -> list[float]:
    """Press the button and look on until the bar is full: all that it showed."""
    tab.get_by_role("button", name="Import").click()
    wait_until(lambda: tab.evaluate("window.seen.at(-1)") == 1, seconds=60, what="the bar is full")
    return [float(value) for value in tab.evaluate("window.seen")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_from_polling(tmp_path: Path, browser: Browser, after: bool) -> None:
    """Before, the page asks again and again and the bar jumps; after, it asks nothing of the application and the bar
    moves.
    """
    POLLING.write(tmp_path)
    if after:
        POLLING.change(tmp_path, "app.py", "page.html")
    slow_down(tmp_path, 0.2)
    tab = browser.new_page()
    tab.add_init_script(WATCH)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if request.method == "GET" else None)
    with running(tmp_path) as url:
        tab.goto(url)
        seen = watched(tab)
        polls = [address for address in asked if address.startswith(f"{url}/imports/")]
        assert seen == sorted(seen)
        if after:
            assert polls == []
            assert len(seen) > 10
        else:
            assert len(polls) >= 3
            expect(tab.locator("script[src]")).to_have_count(0)
    tab.close()


@pytest.mark.parametrize("steps", [0, 2, 3], ids=["before", "server", "page"])
def test_from_sse(tmp_path: Path, browser: Browser, steps: int) -> None:
    """The bar moves by the application's own stream; by a dialect's, to which the page changed only its address; and by
    the client's, where the page has no EventSource any more.
    """
    SSE.write(tmp_path)
    SSE.change(tmp_path, *["app.py", "page.html", "page.html"][:steps])
    slow_down(tmp_path, 0.2)
    tab = browser.new_page()
    tab.add_init_script(WATCH)
    streams: list[str] = []
    tab.on("request", lambda request: streams.append(request.url) if request.resource_type == "eventsource" else None)
    with running(tmp_path) as url:
        tab.goto(url)
        seen = watched(tab)
        assert seen == sorted(seen)
        assert len(seen) > 10
        if steps < 3:
            address = f"{url}/milepost/api/jobs/" if steps else f"{url}/imports/"
            assert streams
            assert all(stream.startswith(address) for stream in streams)
        else:
            assert streams == []
    tab.close()
