"""How the connection did, as the page tells the hub: nobody else can know why it had to connect again."""

from __future__ import annotations

from pathlib import Path
from signal import SIGKILL

from playwright.sync_api import Browser

from tests.browser.casefile import until
from tests.server.process import Server

OPEN = """
token => {
  const authorization = `Bearer ${token}`;
  window.client = Milepost.createClient({ userKey: 'u7', getToken: () => token });
  Milepost.attachAnalytics(client, { userKey: 'u7', headers: () => ({ authorization }), everyMs: 2000 });
  client.start();
}
"""
STATUS = "client.connection.getSnapshot().status"
CLIENT = "milepost_client_"


def test_a_killed_hub_and_a_delay_in_the_metrics(browser: Browser, tmp_path: Path) -> None:
    """The hub is killed and started again: its metrics say that a browser lost its stream to the network, and how long
    a notification and a job took to the screen; and they name nobody.
    """
    server = Server(tmp_path)
    server.start()
    page = browser.new_context().new_page()
    someone = server.someone("canary-user")
    try:
        page.goto(f"{server.url}/healthz")
        page.add_script_tag(url=f"{server.url}/milepost.js")
        page.evaluate(OPEN, someone.token)
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
    finally:
        page.context.close()
        server.close()
