"""Who streams and who polls is the server's to say; the page obeys, and hears of a change by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from milepost.settings import rollout_bucket
from tests.browser.stage import until
from tests.server.process import Server

CONNECT = """
token => {
  const timing = { backoff: [100], idleBackoff: [100], poll: 200, longPoll: 500, probe: 300 };
  document.body.append(Object.assign(document.createElement('p'), { id: 'notice' }));
  window.client = Milepost.createClient({ getToken: () => token, storage: 'memory', timing });
  Milepost.attachConnection(client, document.querySelector('#notice'));
  client.start();
}
"""
STATUS = "client.connection.getSnapshot().status"
UNREAD = "client.notifications.getSnapshot().unreadCount"
ROLLOUT = "stream_rollout_percent = {}\n"


@pytest.fixture(name="hub")
def fixture_hub(tmp_path: Path) -> Iterator[Server]:
    """A hub on which half of the users stream."""
    hub = Server(tmp_path, toml=ROLLOUT.format(50))
    hub.start()
    yield hub
    hub.close()


def _open(browser: Browser, hub: Server, user: str) -> Page:
    page = browser.new_context().new_page()
    page.goto(f"{hub.url}/healthz")
    page.add_script_tag(url=f"{hub.url}/milepost.js")
    page.evaluate(CONNECT, hub.someone(user).token)
    return page


def _shows(page: Page, what: str, value: object) -> None:
    until(lambda: page.evaluate(what) == value, seconds=30, what=f"{what} is {value}")


def test_a_rollout_by_percentage(browser: Browser, hub: Server) -> None:
    """Half of the users stream, the others poll, are told so and miss nothing; when the rollout goes on, so do they,
    without a reload. Back at none, all of them poll.
    """
    users = [f"user-{n}" for n in range(40)]
    early = next(user for user in users if rollout_bucket("default", user) < 50)
    late = next(user for user in users if rollout_bucket("default", user) >= 50)
    assert hub.someone(early).get("/client-config")["transports"][0] == "sse"
    assert "sse" not in hub.someone(late).get("/client-config")["transports"]
    streaming, polling = (_open(browser, hub, user) for user in (early, late))
    _shows(streaming, STATUS, "connected")
    _shows(polling, STATUS, "polling")
    until(lambda: polling.locator("#notice").inner_text() == "Updates by polling")
    for page, user in ((streaming, early), (polling, late)):
        hub.someone(user).post("/notifications", {"user": user, "title": "News"})
        _shows(page, UNREAD, 1)
    assert hub.streams == 1
    for percent, status in ((100, "connected"), (0, "polling")):
        hub.close()
        (hub.folder / "milepost.toml").write_text(ROLLOUT.format(percent))
        hub.start()
        for page in (streaming, polling):
            _shows(page, STATUS, status)
    for page in (streaming, polling):
        assert page.evaluate(UNREAD) == 1
        page.context.close()
