"""The outbox of a real page, against a hub that knows its keys, over a network that loses requests and replies."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.stage import until
from tests.faults.proxy import Proxy
from tests.server.process import Server

NUMBER = 200
OPEN = """
token => {
  window.outbox = Milepost.createOutbox({
    userKey: 'u7',
    max: 500,
    headers: () => ({ authorization: `Bearer ${token}` }),
  });
}
"""
SEND = """
([from, to]) => {
  for (let n = from; n < to; n += 1)
    outbox.send({ url: '/api/notifications', body: { user: 'u7', title: `Request ${n}` } });
}
"""
WAITING = "outbox.getSnapshot().waiting.length"


def test_two_hundred_of_two_hundred(browser: Browser, tmp_path: Path) -> None:
    """Two hundred requests, while replies are lost, connections cut and the page reloaded: the server has carried out
    each of them once, in their order.
    """
    server = Server(tmp_path)
    server.start()
    proxy = Proxy(server.port)
    page = browser.new_context().new_page()
    someone = server.someone()

    def load() -> None:
        page.goto(f"http://127.0.0.1:{proxy.port}/healthz")
        page.add_script_tag(url=f"http://127.0.0.1:{proxy.port}/milepost.js")
        page.evaluate(OPEN, someone.token)

    try:
        load()
        for start in range(0, NUMBER, 20):
            lost = proxy.lose_reply(b"/api/notifications")
            page.evaluate(SEND, [start, start + 20])
            assert lost.wait(30)
            proxy.cut()
            if start % 60 == 40:
                load()
        until(lambda: page.evaluate(WAITING) == 0, seconds=120)
        listed: list[str] = []
        before = ""
        while len(listed) < NUMBER:
            got = someone.get(f"/notifications?limit=100{before}")["notifications"]
            listed += [one["title"] for one in got]
            before = f"&before={got[-1]['id']}"
        assert listed == [f"Request {n}" for n in reversed(range(NUMBER))]
    finally:
        page.context.close()
        proxy.close()
        server.close()
