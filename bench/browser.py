"""What a person waits for: the figures of a real Chromium on the page of ``milepost demo``, with its real workers.

Times within the page are the page's own; those that begin elsewhere are on the clock of the machine, which all its
processes share. Ten thousand events are what requirements call an hour of work; here they come in half a minute.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

from bench import machine
from bench.protocol import Address, Answers, connect, post
from bench.report import Figure, Goal, Table
from milepost.auth import issue_token
from tests.browser.chromium import FLAGS

TIMES: Final = 5
EVENTS: Final = 50
HOUR: Final = 10_000
JOBS: Final = 20
PAUSE: Final = 0.05  # between two batches of an event for each job
WATCH: Final = """
(() => {
  const seen = { sent: null, progress: null, success: null, shown: null, delays: [], longest: 0 };
  window.bench = seen;
  const painted = (name) => requestAnimationFrame(() => { seen[name] ??= performance.now(); });
  let last = '';
  const look = () => {
    if (document.querySelector('.job[data-state=running]')) painted('shown');
    if (document.querySelector('.job[data-state=running], .job[data-state=completed]')) seen.progress ??= Date.now();
    if (document.querySelector('.job[data-state=completed]') && document.querySelector('[data-tone=success]'))
      seen.success ??= Date.now();
    const text = document.querySelector('[data-job-id=bench] .job-message')?.textContent ?? '';
    if (text === last || !/^\\d{13} /.test(text)) return;
    last = text;
    seen.delays.push(Date.now() - Number(text.slice(0, 13)));
  };
  const all = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document, all);
  addEventListener('click', (event) => { if (event.target.closest('#submit')) seen.sent = Date.now(); }, true);
  let before = performance.now();
  const frame = (now) => {
    seen.longest = Math.max(seen.longest, now - before);
    before = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})();
"""


def run() -> Sequence[Table]:
    """Measure."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("There is no Chromium here.")
    with machine.folder() as folder, _demo(folder) as demo, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        table = Table(f"In Chromium {browser.version}, on the page of the demo", ("", "measured", "goal", ""))
        submitted = [_submit(browser, demo) for _ in range(TIMES)]
        _row(table, "submit → first progress", Figure([s[0] for s in submitted], " ms"), 3_000)
        _row(table, "last event → success shown", Figure([s[1] for s in submitted], " ms"), 2_000)
        with _page(browser, demo) as page:
            delays = _events(page, demo)
            _row(table, f"event → DOM, {EVENTS} events", Figure(delays, " ms"), 200)
            _row(table, "reload → job on screen", Figure([_reload(page) for _ in range(TIMES)], " ms"), 500)
        with _page(browser, demo) as page:
            counted, longest, grown = _hour(page, demo)
            _row(table, f"{counted:,} job events: longest frame", Figure([longest], " ms"), 100)
            _row(table, f"{counted:,} job events: heap growth", Figure([grown], " MB"), 5)
        browser.close()
    return [table]


def _row(table: Table, name: str, figure: Figure, limit: float) -> None:
    """The worst must keep the goal, not the median."""
    goal = Goal(name, "≤", limit, max(figure.values), figure.unit)
    table.rows.append((name, str(figure), *goal.row[1::2]))
    table.goals.append(goal)


class _Demo:
    """The running demo, and the means to report jobs to it as its worker would."""

    def __init__(self, address: Address, secret: str) -> None:
        self.address = address
        self.url = f"http://{address.host}:{address.port}"
        self._secret = secret
        self._token = issue_token(secret, user="documents", scope="produce")
        self._connection: socket.socket | None = None
        self._answers = Answers()

    def report(self, commands: Sequence[dict[str, Any]]) -> None:
        """Carry out commands; returns when they are on the disk."""
        if self._connection is None:
            self._connection = connect(self.address)
        self._connection.sendall(post("/api/batch", self._token, {"commands": commands}))
        while not self._answers.feed(self._connection.recv(65_536)):
            pass

    def sent(self) -> int:
        """How many job events the hub has sent so far, by its own count."""
        token = issue_token(self._secret, user="bench", scope="admin")
        request = urllib.request.Request(f"{self.url}/metrics", headers={"authorization": f"Bearer {token}"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own
            for line in answer.read().decode().splitlines():
                if line.startswith('sse_messages_sent_total{event_type="job"}'):
                    return int(float(line.split()[-1]))
        return 0


@contextmanager
def _demo(folder: Path) -> Iterator[_Demo]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
    with (folder / "demo.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "milepost", "demo", "--port", "0", "--data-dir", str(folder / "data")],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            cwd=folder,
        )
        try:
            assert process.stdout
            url = process.stdout.readline().split(" at http://")[1].split()[0]
            host, _, port = url.partition(":")
            yield _Demo(Address(host, int(port)), (folder / "data" / "secret").read_text().strip())
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@contextmanager
def _page(browser: Browser, demo: _Demo) -> Iterator[Page]:
    """The page of a visitor who was never there before, with its stream open."""
    context = browser.new_context()
    context.add_init_script(WATCH)
    page = context.new_page()
    with page.expect_response(lambda answer: "/api/stream" in answer.url):
        page.goto(demo.url)
    yield page
    context.close()


def _submit(browser: Browser, demo: _Demo) -> tuple[float, float]:
    """From the click to the first progress of the worker; from the job's end in the hub to card and toast."""
    with _page(browser, demo) as page:
        for box in page.locator("[name=kinds]").all():
            box.set_checked(box.get_attribute("value") == "complaint")
        page.get_by_label("Full speed").check()
        page.get_by_role("button", name="Generate documents").click()
        page.wait_for_function("() => bench.success !== null", timeout=30_000)
        seen = page.evaluate("bench")
        name = page.locator(".job").get_attribute("data-job-id")
        job = page.request.get(f"{demo.url}/api/jobs/{name}").json()["job"]
        ended = datetime.fromisoformat(job["finished_at"]).timestamp() * 1000
        return seen["progress"] - seen["sent"], seen["success"] - ended


def _events(page: Page, demo: _Demo) -> list[float]:
    """Report progress, event by event; from before each is written until the page shows it."""
    visitor = page.locator("body").get_attribute("data-visitor")
    demo.report(
        [{"verb": "start", "job": "bench", "kind": "document", "title": "Bench", "owner": visitor, "total": EVENTS}]
    )
    for number in range(1, EVENTS + 1):
        text = f"{time.time_ns() // 1_000_000} event {number}"
        demo.report([{"verb": "advance", "job": "bench", "current": number, "message": text}])
        page.wait_for_function(f"() => bench.delays.length >= {number}", timeout=5_000)
    delays: list[float] = page.evaluate("bench.delays")
    return delays


def _reload(page: Page) -> float:
    """From the start of the navigation until the job that is under way is painted again."""
    page.reload()
    page.wait_for_function("() => bench.shown !== null", timeout=10_000)
    shown: float = page.evaluate("bench.shown")
    return shown


def _hour(page: Page, demo: _Demo) -> tuple[int, float, float]:
    """So many events of twenty jobs side by side: how many were sent, the longest frame, how far the heap grew."""
    visitor = page.locator("body").get_attribute("data-visitor")
    names = [f"hour-{number}" for number in range(JOBS)]
    job = {"verb": "start", "kind": "document", "owner": visitor, "total": HOUR}
    demo.report([{**job, "job": name, "title": f"Case {name}"} for name in names])
    _work(demo, names, 1, JOBS * 25)  # what is made once is there before the heap is measured
    page.wait_for_function(f"() => document.querySelectorAll('.job').length === {JOBS}")
    heap, before = _heap(page), demo.sent()
    page.evaluate("bench.longest = 0")
    done = _work(demo, names, 26, HOUR)
    page.wait_for_function(
        f"() => [...document.querySelectorAll('.job-message')].every((one) => one.textContent === 'Page {done}')"
    )
    longest: float = page.evaluate("bench.longest")
    return demo.sent() - before, longest, (_heap(page) - heap) / 1e6


def _work(demo: _Demo, names: Sequence[str], first: int, events: int) -> int:
    """Report progress until the hub has sent so many more events; the last page that was reported."""
    target, page = demo.sent() + events, first
    while True:
        began = time.monotonic()
        demo.report([{"verb": "advance", "job": name, "current": page, "message": f"Page {page}"} for name in names])
        # the hub joins what it had no time to send: it says itself when it has sent them all
        if page % 20 == 0 and demo.sent() >= target:
            return page
        page += 1
        time.sleep(max(0.0, PAUSE - (time.monotonic() - began)))


def _heap(page: Page) -> float:
    """The bytes that the page's scripts hold, garbage collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return used
