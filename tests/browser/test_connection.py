"""What the page does when its connection is spoilt: buffered, cut, refused, expired, hidden, signed out."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.proxy import FaultProxy
from tests.browser.stage import Stage, until

# The rules of the client's clock, faster.
TIMING: Final[dict[str, Any]] = {
    "backoff": [100, 200],
    "idleBackoff": [100, 200],
    "firstByte": 400,
    "longPoll": 2_000,
    "notice": 1_000,
    "poll": 150,
    "probe": 1_500,
}


def asked(page: Page, path: str) -> list[str]:
    """The requests of a page below this path, from now on."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url) if path in request.url else None)
    return seen


def show(page: Page, state: str) -> None:
    """Tells a page that it is ``hidden`` or ``visible``: without a screen, Chromium keeps all of them visible."""
    page.evaluate(
        """state => {
          Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        state,
    )


def test_a_buffering_proxy(visit: Visit, casefile: Stage, proxy: FaultProxy) -> None:
    """A proxy that keeps streams to itself: polling takes over and the page says so, a job and a notification arrive
    all the same; when the proxy lets streams through the page returns to one, and polls no more.
    """
    proxy.turn("buffer")
    visitor = visit(proxy.url, options={"timing": {**TIMING, "probe": 5_000}})
    expect(visitor.notice).to_contain_text("polling")
    assert 3 <= sum("/api/stream" in path for path in proxy.seen) < 6  # three strikes, not ten failed connects
    visitor.generate("complaint", "discovery", speed="To watch")
    expect(visitor.bar).to_have_attribute("max", "16")
    casefile.notify(visitor.id, "By polling", level="info")
    expect(visitor.page.locator(".milepost-badge")).to_have_text("1")
    assert visitor.faults() == []
    visitor.picture("polling")
    proxy.turn("pass")
    expect(visitor.notice).not_to_contain_text("polling")
    polls = asked(visitor.page, "/api/changes")
    assert visitor.page.evaluate("client.connection.getSnapshot().status") == "connected"
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    assert polls == []
    assert proxy.streams == 1


def test_an_overloaded_server(visit: Visit, proxy: FaultProxy) -> None:
    """Connections cut and everything answered with 503: the toast stays as it is, "Reconnecting…" is said, and when
    the server is back the page goes on by itself.
    """
    visitor = visit(proxy.url, options={"timing": TIMING})
    visitor.expect("net::ERR_", "503")
    visitor.generate("complaint", "discovery", speed="To watch")
    expect(visitor.bar).to_have_attribute("max", "16")
    proxy.turn("away")
    proxy.cut()
    expect(visitor.notice).to_contain_text("Reconnecting…")
    expect(visitor.bar).to_be_visible()
    proxy.turn("pass")
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    expect(visitor.notice).not_to_contain_text("Reconnecting…")


def test_an_expired_token(visit: Visit, casefile: Stage, proxy: FaultProxy) -> None:
    """The token runs out in the middle of a job: the stream ends, the page gets a new one of its own server, and goes
    on; nothing is said to the visitor, and nothing is missed.
    """
    visitor = visit(proxy.url)
    visitor.expect("net::ERR_", "401")
    visitor.generate("complaint", "discovery", "letter", "deposition", "exhibits", speed="To watch")
    expect(visitor.bar).to_have_attribute("value", re.compile(r"\d"))
    renewed = asked(visitor.page, "/session")
    token = casefile.token(visitor.id, seconds=6)
    visitor.context.add_cookies(
        [{"name": "milepost_token", "value": token, "domain": "127.0.0.1", "path": "/documents", "httpOnly": True}]
    )
    visitor.page.evaluate("() => { client.connection.subscribe(() => { window.said ||= connection.textContent; }); }")
    streams = asked(visitor.page, "/api/stream")
    proxy.cut()
    until(lambda: visitor.page.evaluate("1") and streams and proxy.streams == 1)
    assert renewed == []
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    until(lambda: visitor.page.evaluate("1") and renewed)
    assert len(renewed) == 1
    assert visitor.page.evaluate("window.said") == ""
    expect(visitor.page.locator(".milepost-badge")).to_have_text("1")


def test_signed_out(visit: Visit, proxy: FaultProxy) -> None:
    """Refused, and refused again with what the page's own server had to offer: the client stops, says so, and tells
    the page by its event, once. It asks no more.
    """
    visitor = visit(proxy.url, options={"timing": TIMING})
    visitor.expect("net::ERR_", "401")
    visitor.page.evaluate("() => { window.outs = 0; addEventListener('milepost:signed-out', () => { outs += 1; }); }")
    until(lambda: proxy.streams == 1)
    visitor.context.clear_cookies()
    proxy.cut()
    expect(visitor.notice).to_contain_text("Signed out")
    assert visitor.page.evaluate("outs") == 1
    asked_again = asked(visitor.page, "/api/")
    visitor.page.evaluate("dispatchEvent(new Event('online'))")
    assert visitor.page.evaluate("client.connection.getSnapshot().status") == "closed"
    assert asked_again == []
    assert proxy.streams == 0


@pytest.mark.parametrize("rung", ["poll", "long-poll"])
def test_a_hidden_tab_asks_for_nothing(visit: Visit, casefile: Stage, rung: str) -> None:
    """While another tab polls on and on, the hidden one asks for nothing. Shown again it catches up at once, from the
    other; alone it goes on asking, except while it is hidden.
    """
    visitor = visit(options={"timing": {**TIMING, "longPoll": 150}, "transports": [rung]})
    shown = visitor.tab()
    expect(visitor.notice).to_contain_text("polling")
    hidden = visitor.page
    under_way = asked(hidden, "/api/changes")
    others = asked(shown, "/api/changes")
    show(hidden, "hidden")
    until(lambda: shown.evaluate("1") and len(others) >= 3)  # what was under way has come to its end
    before = len(under_way)
    casefile.notify(visitor.id, "While hidden", level="info")
    expect(shown.locator(".milepost-badge")).to_have_text("1")
    until(lambda: shown.evaluate("1") and len(others) >= 8)
    assert len(under_way) == before
    expect(hidden.locator(".milepost-badge")).to_be_hidden()
    show(hidden, "visible")
    expect(hidden.locator(".milepost-badge")).to_have_text("1")
    assert len(under_way) == before
    shown.close()
    until(lambda: hidden.evaluate("1") and len(under_way) > before)
    show(hidden, "hidden")
    until(lambda: hidden.evaluate("client.connection.getSnapshot().status") == "idle")
    casefile.notify(visitor.id, "While hidden", level="info")
    show(hidden, "visible")
    expect(hidden.locator(".milepost-badge")).to_have_text("2")
