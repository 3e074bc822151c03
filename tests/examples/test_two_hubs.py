"""The demo on an engine that hubs can share: two of them behind one nginx, in a real Chromium, and one is killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from milepost.auth import issue_token
from tests.browser.visitor import Visitor as Person
from tests.engines.redis_server import running_redis
from tests.examples.conftest import EXAMPLES, Demo, running, until

ENGINES = ["redis", "postgres"]

# What the page shows from now on, apart from its header, where it says how its connection is.
WATCH = """
() => {
  window.toasts = new Set();
  window.tones = new Set();
  window.values = [];
  new MutationObserver((records) => {
    for (const toast of document.querySelectorAll('.milepost-toast')) {
      window.toasts.add(toast);
      window.tones.add(toast.dataset.tone);
    }
    for (const { target, attributeName } of records)
      if (attributeName === 'value' && target.matches('.milepost-bar')) window.values.push(target.value);
  }).observe(document.body, { subtree: true, childList: true, attributes: true });
}
"""


@pytest.fixture(name="data")
def fixture_data() -> Iterator[Path]:
    """A data folder that everybody may look into: pytest's own refuse the user to whom root's PostgreSQL belongs."""
    folder = Path(tempfile.mkdtemp(prefix="milepost-demo-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


def hub_ports(demo: Demo) -> list[int]:
    """Where the hubs listen, as nginx has it."""
    text = (demo.folder / "nginx" / "nginx.conf").read_text()
    return [int(port) for port in re.findall(r"server 127\.0\.0\.1:(\d+)", text)]


def streams(demo: Demo, port: int) -> int:
    """The open streams of the hub on a port, by its own count; 0 where there is none."""
    token = issue_token((demo.folder / "secret").read_text(), user="tests", scope="admin")
    try:
        told = httpx2.get(f"http://127.0.0.1:{port}/metrics", headers={"authorization": f"Bearer {token}"}, timeout=10)
    except httpx2.TransportError:
        return 0
    found = re.search(r"^sse_connections_total (\S+)$", told.text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def listens(port: int) -> int:
    """The process that listens on a port of the loopback; 0 where nobody does."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1] == f"0100007F:{port:04X}" and row[3] == "0A"}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(handle.readlink()) in inodes for handle in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:  # not ours, or it has just ended
            continue
    return 0


def family(pid: int) -> list[int]:
    """A process and all that it started, and they again."""
    pids = [pid]
    for one in pids:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            pids += map(int, children.read_text().split())
    return pids


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_hub_is_killed_mid_job(browser: Browser, data: Path, engine: str) -> None:
    """Kill -9 to the hub that the page's stream is on: the progress goes on through the other one to the end, in the
    same toast, never backwards, and nothing is told twice; the killed hub comes back by itself.
    """
    with running(data, "--engine", engine) as demo:
        person = Person(browser, demo.url, {})
        person.expect("net::ERR_", "50[24]")
        person.generate("complaint", "discovery", speed="Slow")
        expect(person.bar).to_have_attribute("max", "16", timeout=30_000)
        person.page.evaluate(WATCH)
        (port,) = until(lambda: [port for port in hub_ports(demo) if streams(demo, port)], what="the page's stream")
        pid = listens(port)
        assert pid in demo.children("hub")
        person.picture(f"two-hubs-{engine}-before")
        seen = int(person.bar.get_attribute("value") or 0)
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in demo.children("hub"), what="the hub is dead")
        person.picture(f"two-hubs-{engine}-killed")
        later = "|".join(str(step) for step in range(seen + 1, 17))
        expect(person.bar).to_have_attribute("value", re.compile(f"^({later})$"), timeout=30_000)
        person.picture(f"two-hubs-{engine}-after")
        expect(person.toast("Complaint", "success")).to_be_visible(timeout=60_000)
        expect(person.card("completed")).to_have_count(1)
        expect(person.page.locator(".job")).to_have_count(1)
        expect(person.page.locator(".milepost-badge")).to_have_text("1")
        values = person.page.evaluate("values")
        assert values == sorted(set(values))
        assert person.page.evaluate("toasts.size") == 1
        assert set(person.page.evaluate("[...tones]")) <= {"progress", "success"}
        until(lambda: listens(port) in demo.children("hub"), seconds=60, what="the killed hub is back")
        person.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("engine", "how"), [("redis", signal.SIGKILL), ("postgres", signal.SIGINT)])
def test_no_process_is_left(data: Path, engine: str, how: signal.Signals) -> None:
    """Ctrl-C, or kill -9 to the demo, ends hubs, workers, nginx and the store."""
    with running(data, "--engine", engine) as demo:
        demo.visitor().submit()
        pids = family(demo.process.pid)
        assert len(demo.children("hub")) == 2
        assert len(demo.children("program")) == 2
        demo.process.send_signal(how)
        demo.process.wait(60)
        until(lambda: not any(alive(pid) for pid in pids), seconds=60)
        assert demo.process.returncode == (0 if how == signal.SIGINT else -how)


def alive(pid: int) -> bool:
    """Whether a process is there, and is no zombie that nobody has waited for yet."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_made_is_there_after_a_restart(data: Path, engine: str) -> None:
    """The store's data is in the data folder: a job that was completed is there when the demo is started again."""
    with running(data, "--engine", engine) as demo:
        visitor = demo.visitor()
        job_id = visitor.submit()
        assert visitor.end_of(job_id, seconds=60)["state"] == "completed"
        cookies = {b"cookie": "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items()).encode()}
    with running(data, "--engine", engine) as demo:
        job = httpx2.get(f"{demo.url}/api/jobs/{job_id}", headers=cookies, timeout=20).json()["job"]
        assert job["state"] == "completed"


def test_on_a_store_that_runs(tmp_path: Path) -> None:
    """An engine's URL: two hubs on it, and no store of the demo's own; its password is shown to nobody."""
    with running_redis(tmp_path / "redis") as redis:
        redis.do("CONFIG", "SET", "requirepass", "a-password")
        url = redis.url.replace("//", "//:a-password@")
        with running(tmp_path / "data", "--engine", url) as demo:
            visitor = demo.visitor()
            assert visitor.end_of(visitor.submit(), seconds=60)["state"] == "completed"
            assert len(demo.children("hub")) == 2
            assert len(demo.children("program")) == 1  # nginx
            assert demo.process.stdout
            assert demo.process.stdout.readline() == f"· 2 hubs behind one nginx, on {redis.url}\n"


def test_an_engine_that_is_none(tmp_path: Path) -> None:
    """A word that names no engine is refused with a sentence that says which do."""
    command = [sys.executable, str(EXAMPLES), "--data-dir", str(tmp_path / "data"), "--engine", "mysql"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    assert "sqlite, redis, postgres" in told.stderr
