"""How the connection did, as the page tells the hub: nobody else can know why it had to connect again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.stage import until
from tests.server.process import Server

OPEN = """
([token, everyMs]) => {
  const authorization = `Bearer ${token}`;
  window.client = Milepost.createClient({ userKey: 'u7', getToken: () => token });
  Milepost.attachAnalytics(client, { userKey: 'u7', headers: () => ({ authorization }), everyMs });
  window.heard = 0;
  client.on('notification.created', () => { heard += 1; });
  client.start();
}
"""
STATUS = "client.connection.getSnapshot().status"
COUNTING = "navigator.locks.query().then(({ held }) => held.some(({ name }) => name.endsWith(':analytics')))"
CLIENT = "milepost_client_"


@pytest.fixture(name="server")
def fixture_server(tmp_path: Path) -> Iterator[Server]:
    """A hub of the test's own: what it counts is of one page."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.close()


@pytest.fixture(name="page")
def fixture_page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page of the hub's, with the script and nothing else."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/healthz")
    page.add_script_tag(url=f"{server.url}/milepost.js")
    yield page
    context.close()


def test_a_killed_hub_and_a_delay_in_the_metrics(page: Page, server: Server) -> None:
    """The hub is killed and started again: its metrics say that a browser lost its stream to the network, and how long
    a notification and a job took to the screen; and they name nobody.
    """
    someone = server.someone("canary-user")
    page.evaluate(OPEN, [someone.token, 2_000])
    until(lambda: page.evaluate(STATUS) == "connected")
    server.signal(SIGKILL)
    server.wait(10)
    until(lambda: page.evaluate(STATUS) == "reconnecting")
    server.start()
    until(lambda: page.evaluate(STATUS) == "connected", seconds=60)
    assert server.metric('sse_reconnection_attempts_total{reason="network"}') >= 1
    until(lambda: server.metric(f'{CLIENT}reconnections_total{{reason="network"}}') == 1, seconds=60)

    someone.job("canary-job")
    someone.notify(title="canary-title")
    until(lambda: server.metric(f"{CLIENT}delivery_seconds_count") == 2, seconds=60)
    assert server.metric(f'{CLIENT}delivery_seconds_bucket{{le="30.0"}}') == 2
    assert server.metric(f'{CLIENT}actions_total{{action="notified"}}') == 1
    admin = server.someone("root", "operators", "admin")
    text = server.http.get("/metrics", headers={"authorization": f"Bearer {admin.token}"}).text
    assert "canary" not in text


def test_a_page_that_is_left_reports(page: Page, server: Server) -> None:
    """What it has counted by then arrives, although the page is gone."""
    someone = server.someone()
    page.evaluate(OPEN, [someone.token, 3_600_000])
    until(lambda: page.evaluate(STATUS) == "connected" and page.evaluate(COUNTING))
    notified = f'{CLIENT}actions_total{{action="notified"}}'
    someone.notify(title="It asks what time it is")
    until(lambda: server.metric(notified) == 1, seconds=30)
    someone.notify(title="Another one")
    until(lambda: page.evaluate("heard") == 2)
    page.goto("about:blank")
    until(lambda: server.metric(notified) == 2, seconds=30)
