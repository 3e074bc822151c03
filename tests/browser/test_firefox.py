"""A few of the tests that Chromium has in full, in the system's Firefox: its fetch, its locks, its EventSource."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from milepost.auth import issue_token
from tests.browser.firefox import Firefox, Tab
from tests.browser.proxy import FaultProxy
from tests.browser.stage import Stage, until
from tests.browser.test_connection import TIMING
from tests.dialects.conftest import PAGES
from tests.server.process import SECRET, Server

Open = Callable[..., Tab]


@pytest.fixture(name="firefox", scope="module")
def fixture_firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """One for all of them."""
    with Firefox.started(tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox


@pytest.fixture(name="open_tab")
def fixture_open_tab(firefox: Firefox, casefile: Stage) -> Iterator[Open]:
    """Opens the demo as somebody who has never been there, or as the ``visitor`` of a tab that is open already."""
    opened: list[Tab] = []

    def open_tab(url: str = "", *, visitor: str = "", options: dict[str, Any] | None = None) -> Tab:
        opened.append(firefox.tab(visitor or firefox.visitor(), url or casefile.url, options))
        return opened[-1]

    yield open_tab
    for tab in opened:
        tab.close()
    assert [tab.noise for tab in opened if tab.noise] == []


def generate(tab: Tab, *kinds: str) -> None:
    """Chooses these documents and a speed to watch, and sends the form."""
    chosen = list(kinds)
    tab.look(f"document.getElementsByName('kinds').forEach((box) => {{ box.checked = {chosen}.includes(box.value); }})")
    tab.look("[...document.querySelectorAll('label')].find((one) => one.textContent === 'To watch').click()")
    tab.click("#submit")


def reached(tab: Tab, step: int) -> None:
    """Waits until the toast's bar has come so far."""
    tab.until(f"document.querySelector('.milepost-toast progress')?.value >= {step}")


def succeeds(tab: Tab) -> None:
    """Waits for the toast of a job that has ended well."""
    tab.shows(".milepost-toast[data-tone=success]", "Complaint")


@contextmanager
def workers_held(casefile: Stage) -> Iterator[None]:
    """The workers stand still meanwhile."""
    casefile.hold_workers(True)
    try:
        yield
    finally:
        casefile.hold_workers(False)


def visitor_of(tab: Tab) -> str:
    """Who this is to the hub."""
    return str(tab.look("document.body.dataset.visitor"))


def test_1_a_job_to_its_end(open_tab: Open) -> None:
    """A form is sent, its toast counts to the end, links to the result, and leaves by itself."""
    tab = open_tab()
    generate(tab, "complaint")
    reached(tab, 1)
    tab.shows(".milepost-toast", "of 6")
    succeeds(tab)
    assert tab.look("document.querySelector('.milepost-toast a').getAttribute('href')").startswith("/documents/files/")
    tab.until("!document.querySelector('.milepost-toast')")
    tab.shows(".job[data-state=completed]")


def test_4_a_reload_in_the_middle(open_tab: Open, casefile: Stage) -> None:
    """Toast and card are back after a reload, no earlier than they were, and go on to the end."""
    tab = open_tab()
    generate(tab, "complaint", "discovery")
    reached(tab, 4)
    with workers_held(casefile):  # however long the reload takes, it stays the middle
        tab.reload()
        reached(tab, 4)
        tab.shows(".job[data-state=running]")
    succeeds(tab)
    assert tab.look("document.querySelectorAll('.milepost-toast').length") == 1


def test_bell_and_badge(open_tab: Open, casefile: Stage) -> None:
    """What is told now is on the badge, in a toast and in the inbox, without a reload; to read it clears the badge."""
    tab = open_tab()
    tab.look("(window.stays = true)")
    casefile.notify(visitor_of(tab), "Hearing moved", level="warning")
    tab.shows(".milepost-badge", "1")
    tab.shows(".milepost-toast[data-tone=warning]", "Hearing moved")
    tab.click("#bell button")
    tab.shows("#bell [role=dialog] li", "Hearing moved")
    tab.look(
        "[...document.querySelectorAll('#bell button')].find((one) => /all as read/.test(one.textContent)).click()"
    )
    tab.until("document.querySelector('.milepost-badge').textContent === ''")
    assert tab.look("stays")


def test_6_the_hub_is_killed_and_restarted(open_tab: Open, casefile: Stage) -> None:
    """Kill -9 of the hub in the middle of a job: the bar stays, the page comes back from its cursor, the job ends."""
    tab = open_tab()
    generate(tab, "complaint", "discovery")
    reached(tab, 4)
    before = len(tab.asked)

    def resumed() -> list[str]:
        return [url for url in tab.asked[before:] if "/api/stream" in url]

    with workers_held(casefile):
        casefile.kill_hub()
        until(resumed, seconds=30, what="it asks for a stream again")
        assert tab.look("document.querySelector('.milepost-toast progress').value >= 4")
    succeeds(tab)
    assert all("after=" in url for url in resumed())


def test_two_tabs_make_one_connection(open_tab: Open, firefox: Firefox, casefile: Stage, proxy: FaultProxy) -> None:
    """Both show a job and the badge by one stream; when the tab that has it closes, the other takes over."""
    visitor = firefox.visitor()
    first = firefox.tab(visitor, proxy.url)
    second = open_tab(proxy.url, visitor=visitor)
    for tab in (first, second):
        tab.until("client.connection.getSnapshot().status === 'connected'")
    generate(first, "complaint", "discovery")
    casefile.notify(visitor_of(first), "To both", level="info")
    for tab in (first, second):
        tab.shows(".milepost-badge", "1")
        tab.shows(".job[data-state=running]")
    assert proxy.streams == 1
    assert not [url for url in second.asked if "/api/stream" in url]
    first.close()
    casefile.notify(visitor_of(second), "To who is left", level="info")
    second.shows(".milepost-badge", "2")
    second.shows(".job[data-state=completed]")
    until(lambda: proxy.streams == 1, what="one stream again")
    assert [url for url in second.asked if "/api/stream" in url]


def test_a_buffering_proxy(open_tab: Open, casefile: Stage, proxy: FaultProxy) -> None:
    """Where a proxy keeps streams to itself polling takes over, and the page says so; and back when it lets them by."""
    proxy.turn("buffer")
    # Firefox tells of an answer only with the first byte of its body, so here it is the time to connect that runs out.
    tab = open_tab(proxy.url, options={"timing": {**TIMING, "connect": 3_000}})
    tab.shows("#connection", "polling")
    casefile.notify(visitor_of(tab), "By polling", level="info")
    tab.shows(".milepost-badge", "1")
    proxy.turn("pass")
    tab.until("client.connection.getSnapshot().status === 'connected'")
    until(lambda: proxy.streams == 1, what="one stream")


def test_its_own_eventsource(firefox: Firefox, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Product D's page follows its job with Firefox's EventSource through a restart of the hub, to the job's end."""
    server = Server(tmp_path_factory.mktemp("serve"), allow_query_token="true")
    server.start()
    try:
        worker = server.someone("u7")
        worker.job("case-1", kind="document", total=4)
        tab = firefox.tab(firefox.visitor(), f"{server.url}/milepost.css?id=case-1")
        tab.look(f"(document.cookie = 'milepost_token={issue_token(SECRET, user='u7', ttl=3600)}')")
        page = (PAGES / "document.html").read_text()
        tab.look(f"(document.open('text/html'), document.write({page!r}), document.close())")
        worker.patch("/jobs/case-1", {"current": 1, "message": "Generating"})
        tab.shows("#toast", "Generating 1/4")
        server.close()
        tab.until("source.readyState === EventSource.CONNECTING")
        server.start()
        worker.patch("/jobs/case-1", {"current": 2})
        tab.shows("#toast", "Generating 2/4")
        worker.post("/jobs/case-1/complete", {"output_url": "/files/case.zip"})
        tab.shows("#toast", "4 documents: download")
        assert tab.look("source.readyState === EventSource.CLOSED")
        tab.close()
        assert tab.noise == []
    finally:
        server.close()
