"""docs/moving-from-….md: what each page starts from works, and what it leads to shows the same, in a real Chromium."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Tab

from tests.client.hub import Hub, environment
from tests.docs_pages.page import Page, changed, running, slow_down
from tests.engines.redis_server import RedisServer
from tests.server.process import wait_until

POLLING = Page("moving-from-polling.md")
SSE = Page("moving-from-sse.md")
PUBSUB = Page("moving-from-redis-pubsub.md")

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


@pytest.mark.parametrize("after", [False, True], ids=["bridge", "worker"])
def test_from_redis(tmp_path: Path, redis_server: RedisServer, after: bool) -> None:
    """The worker as it was is seen through the bridge's file of the page; changed as the page says, it is seen without
    a Redis: in both cases up to the link to its file, and by its owner.
    """
    worker = PUBSUB.blocks("python")[0]
    flags = []
    surroundings = environment(REDIS_URL=redis_server.url)
    with pytest.MonkeyPatch.context() as patch:
        if after:
            worker = changed(worker, PUBSUB.blocks("diff")[0])
            assert "redis" not in worker
        else:
            (tmp_path / "bridge.toml").write_text(PUBSUB.blocks("toml")[0])
            patch.setenv("REDIS_URL", redis_server.url)
            flags = ["--bridge", str(tmp_path / "bridge.toml")]
        (tmp_path / "worker.py").write_text(worker)
        hub = Hub(tmp_path, *flags)
        hub.start()
    try:
        if not after:
            wait_until(lambda: redis_server.do("PUBSUB", "NUMPAT") >= 1, seconds=20, what="the bridge subscribes")
        surroundings |= {"MILEPOST_URL": hub.url, "MILEPOST_TOKEN": hub.token("importer", "produce")}
        subprocess.run(
            [sys.executable, "worker.py", "import-1"], cwd=tmp_path, env=surroundings, check=True, timeout=60
        )
        mine = {**surroundings, "MILEPOST_TOKEN": hub.token("ada", "consume")}
        watched = subprocess.run(
            [sys.executable, "-m", "milepost", "watch", "import-1"],
            env=mine,
            capture_output=True,
            text=True,
            check=True,
        )
        assert watched.stdout.splitlines()[-1].strip() == "completed 100 %  /files/import-1.csv"
        with httpx2.Client(headers={"authorization": f"Bearer {mine['MILEPOST_TOKEN']}"}) as http:
            job = http.get(f"{hub.url}/api/jobs/import-1").json()["job"]
        seen = (job["owner"], job["current"], job["total"], job["title"], job["output_url"])
        assert seen == ("ada", 40, 40, "Import import-1", "/files/import-1.csv")
    finally:
        hub.close()
