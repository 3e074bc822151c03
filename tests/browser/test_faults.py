"""Whatever the network does to streams, the screen ends right, and meanwhile the page tells the truth about it."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.proxy import FaultProxy, Mode
from tests.browser.stage import Stage, until
from tests.browser.test_connection import TIMING
from tests.browser.visitor import Visitor

# The notice takes its real 10 s: on its way down to polling the client is without a connection for a while. In that
# time it must not have failed ten times.
SPOILT: Final[dict[str, Any]] = {
    **TIMING,
    "backoff": [1_000, 2_000],
    "idleBackoff": [1_000, 2_000],
    "notice": 10_000,
    "silence": 3_000,
    "probe": 500,
}

# Every sentence that the page has said about its connection, and every toast that it has shown.
LISTEN = """
() => {
  window.told = [];
  window.shown = new Set();
  new MutationObserver(() => {
    for (const toast of document.querySelectorAll('.milepost-toast')) shown.add(toast);
  }).observe(document.body, { subtree: true, childList: true });
  const notice = document.querySelector('#connection');
  const look = () => {
    const text = notice.textContent.trim();
    if (text && told.at(-1) !== text) told.push(text);
  };
  new MutationObserver(look).observe(notice, { subtree: true, childList: true, characterData: true });
}
"""
POLLING: Final = ["Updates by polling"]
NOTHING: Final[list[str]] = []

FAULTS: Final[list[tuple[Mode, list[str]]]] = [
    ("pass", NOTHING),  # only cut, once
    ("slow", NOTHING),
    ("stutter", NOTHING),
    ("reorder", NOTHING),
    ("compress", NOTHING),
    ("mute", POLLING),
    ("buffer", POLLING),
    ("forbid", POLLING),
    ("away", ["Reconnecting…"]),
]


@pytest.mark.parametrize(("mode", "told"), FAULTS, ids=[mode for mode, _ in FAULTS])
def test_what_a_network_does_to_streams(
    visit: Visit, casefile: Stage, proxy: FaultProxy, mode: Mode, told: list[str]
) -> None:
    """In the middle of a job the network changes: job and notification arrive all the same, once; polling is said where
    there is polling, no connection where there is none, and nothing else. When it is over nothing is said.
    """
    visitor = visit(proxy.url, options={"timing": SPOILT})
    visitor.expect("net::ERR_", "40[13]", "503")
    visitor.page.evaluate(LISTEN)
    visitor.generate("complaint", "discovery", speed="To watch")
    expect(visitor.bar).to_have_attribute("max", "16")
    before = len(proxy.seen)
    proxy.turn(mode)
    proxy.cut()
    until(lambda: visitor.page.evaluate("told") == told and len(proxy.seen) > before, seconds=30)
    casefile.notify(visitor.id, "Meanwhile", level="info")
    if mode == "away":
        proxy.turn("pass")
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    _ends_right(visitor, told)
    proxy.turn("pass")
    until(lambda: visitor.page.evaluate("client.connection.getSnapshot().status") == "connected")
    expect(visitor.notice).to_have_text("")
    assert visitor.page.evaluate("told") == told


def test_a_peer_that_is_gone_without_a_word(visit: Visit, casefile: Stage, proxy: FaultProxy) -> None:
    """A stream that stands open and brings nothing is given up for its silence; a new one brings what was missed."""
    visitor = visit(proxy.url, options={"timing": SPOILT})
    visitor.page.evaluate(LISTEN)
    visitor.generate("complaint", "discovery", speed="To watch")
    expect(visitor.bar).to_have_attribute("max", "16")
    proxy.strand()
    casefile.notify(visitor.id, "Meanwhile", level="info")
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    assert any(re.search("after=.*reason=silent", target) for target in proxy.seen)
    _ends_right(visitor, NOTHING)


def _ends_right(visitor: Visitor, told: list[str]) -> None:
    """What the screen shows is what the server says."""
    expect(visitor.page.locator(".milepost-badge")).to_have_text("2")  # that the job is done, and what came meanwhile
    assert visitor.page.evaluate("shown.size") == 1
    job_id = visitor.card("completed").get_attribute("data-job-id")
    look = "async id => (await (await fetch(`api/jobs/${id}`)).json()).job.rev === client.job(id).getSnapshot().rev"
    assert visitor.page.evaluate(look, job_id)
    assert visitor.page.evaluate("told") == told
