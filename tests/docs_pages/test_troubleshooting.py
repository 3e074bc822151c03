"""docs/troubleshooting.md: what it says that a browser shows, a browser shows. (Its commands run in test_docs.py.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Request
from playwright.sync_api import Page as Tab

from tests.docs_pages.page import Page, running
from tests.server.process import wait_until

HOUSE = Page("fastapi.md")
TEXT = Page("troubleshooting.md").text


def state(tab: Tab) -> dict[str, Any]:
    """What the page tells the reader to look at."""
    (code,) = (line for line in TEXT.splitlines() if line.startswith("Milepost.client.connection.getSnapshot()"))
    found: dict[str, Any] = tab.evaluate(code.partition(";")[0])
    return found


def settled(tab: Tab, status: str) -> dict[str, Any]:
    """The connection's state once it has this status."""
    return wait_until(lambda: found if (found := state(tab))["status"] == status else None, seconds=30, what=status)


@pytest.mark.parametrize(
    ("path", "environment", "status", "reason", "transports"),
    [
        ("/sign-in?name=ada", {}, "connected", None, {"sse"}),
        ("/", {}, "closed", "signed-out", {"sse"}),
        (
            "/sign-in?name=ada",
            {"MILEPOST_ENABLE_SSE_NOTIFICATIONS": "false"},
            "polling",
            None,
            {"long-poll", "poll"},
        ),
    ],
    ids=["well", "401", "polls"],
)
def test_what_the_console_says(
    tmp_path: Path,
    browser: Browser,
    path: str,
    environment: dict[str, str],
    status: str,
    reason: str | None,
    transports: set[str],
) -> None:
    """The line for the console tells a connection that is well from one that is signed out and one that polls."""
    HOUSE.write(tmp_path)
    HOUSE.change(tmp_path, "app.py", "page.html")
    tab = browser.new_page()
    with running(tmp_path, **environment) as url:
        tab.goto(url + path)
        found = settled(tab, status)
        assert (found["reason"], found["transport"] in transports) == (reason, True)
    tab.close()


@pytest.mark.parametrize("key", [False, True], ids=["without a key", "with a key"])
def test_two_connections(tmp_path: Path, browser: Browser, key: bool) -> None:
    """Two tabs of a user have a stream each, and with ``data-user-key`` one together."""
    HOUSE.write(tmp_path)
    HOUSE.change(tmp_path, "app.py", "page.html")
    if key:
        page = tmp_path / "page.html"
        page.write_text(page.read_text().replace("data-auto", 'data-auto data-user-key="ada"'))
    visitor = browser.new_context()
    open_: set[Request] = set()
    visitor.on("request", lambda request: open_.add(request) if "/api/stream" in request.url else None)
    for end in ("requestfinished", "requestfailed"):
        visitor.on(end, lambda request: open_.discard(request))  # noqa: PLW0108 - it is given a mark, which a method cannot take
    with running(tmp_path) as url:
        for number in (1, 2):
            tab = visitor.new_page()
            tab.goto(f"{url}/sign-in?name=ada" if number == 1 else url)
            settled(tab, "connected")
        shared = 1 if key else 2
        wait_until(lambda: state(tab) and len(open_) == shared, seconds=30, what=f"{shared} streams")
    visitor.close()
