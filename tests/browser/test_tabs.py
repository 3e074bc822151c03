"""Many tabs of one person: they share one connection, whoever of them comes, goes, hides, freezes or crashes."""

from __future__ import annotations

from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Error, Page, Request, Route, expect

from tests.browser.chromium import CHROMIUM, FLAGS
from tests.browser.conftest import Visit
from tests.browser.proxy import FaultProxy
from tests.browser.stage import Stage, until
from tests.browser.test_connection import show
from tests.browser.visitor import Visitor

TIMING: Final[dict[str, Any]] = {"backoff": [100, 200], "idleBackoff": [100, 200], "hiddenGrace": 300}

# A lock that this tab has as long as it lives: who waits for it knows of this tab's end as soon as the browser does.
# And when this tab last asked for a stream.
CLOCKS = """
(() => {
  window.life = `life:${Math.random()}`;
  navigator.locks?.request(life, () => new Promise(() => {}));
  window.watch = (other) => {
    navigator.locks.request(other, () => { window.bereft = performance.now(); });
  };
  const real = window.fetch;
  window.fetch = (...call) => {
    if (String(call[0]).includes('/api/stream')) window.streamed = performance.now();
    return real(...call);
  };
})();
"""

# The promise is about the client; a busy machine may spoil a takeover, but not each of several.
TAKEOVER_MS: Final = 300


class Tabs:
    """Some tabs of one visitor, and which of them asked for a stream, one after the other."""

    def __init__(self, visitor: Visitor, number: int) -> None:
        self.asked: list[Page] = []
        self.visitor = visitor.id
        visitor.context.add_init_script(CLOCKS)
        connected(visitor.page)
        visitor.context.on("request", self._asks)
        visitor.page.reload()
        self.open = [visitor.page, *(visitor.tab() for _ in range(number - 1))]
        self.say("")

    def _asks(self, request: Request) -> None:
        if "/api/stream" in request.url:
            self.asked.append(request.frame.page)

    @property
    def leader(self) -> Page:
        """Who asked last."""
        return self.asked[-1]

    @property
    def followers(self) -> list[Page]:
        """The others."""
        return [tab for tab in self.open if tab != self.leader]

    def say(self, number: str) -> None:
        """Every tab is connected, its own way, and its bell shows this number."""
        for tab in self.open:
            connected(tab)
            expect(tab.locator(".milepost-badge")).to_have_text(number)

    def lose(self) -> Page:
        """The leader, which is going to be gone: the others wait for its end."""
        self.open.remove(self.leader)
        life = self.leader.evaluate("life")
        for tab in self.open:
            tab.evaluate("watch", life)
        waiting = "async life => (await navigator.locks.query()).pending.filter(({ name }) => name === life).length"
        until(lambda: self.open[0].evaluate(waiting, life) == len(self.open))
        return self.leader

    def taken(self) -> float:
        """How long the leader of now asked for its stream after it could know that the one before was gone."""
        return float(self.leader.evaluate("streamed - bereft"))


def _in(tab: Page, status: str) -> None:
    until(lambda: tab.evaluate("client.connection.getSnapshot().status") == status, what=status)


def connected(tab: Page) -> None:
    """Wait until it is, its own way."""
    _in(tab, "connected")


def test_twelve_tabs_make_one_connection(proxy: FaultProxy, visit: Visit, casefile: Stage) -> None:
    """Each shows what comes, one of them with a toast; what one marks as read is read in all. All over one stream,
    and nothing is asked twelve times.
    """
    visitor = visit(proxy.url)
    tabs = Tabs(visitor, 12)
    assert len(tabs.asked) == 1
    assert proxy.streams == 1
    before = len(proxy.seen)
    for number in "12345":
        casefile.notify(visitor.id, f"News {number}", level="error")
        tabs.say(number)
        shown = sum(tab.locator(".milepost-toast").filter(has_text=f"News {number}").count() for tab in tabs.open)
        assert shown == 1
    other = tabs.followers[3]
    other.bring_to_front()
    other.locator("#bell button").first.click()
    other.get_by_role("dialog", name="Notifications").get_by_role("button", name="Unread: News 3").click()
    tabs.say("4")
    assert len(proxy.seen) == before + 1
    assert proxy.streams == 1


def test_a_tab_that_comes_late(proxy: FaultProxy, visit: Visit, casefile: Stage) -> None:
    """It gets all of it from the leader: inbox, badge, the job that runs, and what happens from then on."""
    visitor = visit(proxy.url)
    tabs = Tabs(visitor, 1)
    casefile.notify(visitor.id, "Before", level="info")
    visitor.generate("complaint", "discovery", speed="To watch")
    expect(visitor.bar).to_have_attribute("max", "16")
    late = visitor.tab()
    expect(late.locator(".milepost-badge")).to_have_text("1")
    expect(late.locator(".milepost-toast progress")).to_have_attribute("max", "16")
    late.locator("#bell button").first.click()
    expect(late.get_by_role("dialog", name="Notifications").get_by_role("listitem")).to_contain_text(["Before"])
    expect(late.locator(".job[data-state=completed]")).to_be_visible()
    assert len(tabs.asked) == 1


def test_the_leader_closes(proxy: FaultProxy, visit: Visit, casefile: Stage) -> None:
    """Another tab has the connection within 300 ms, and nothing that came meanwhile is lost."""
    visitor = visit(proxy.url)
    tabs = Tabs(visitor, 5)
    taken = []
    for number in "123":
        tabs.lose().close()
        casefile.notify(tabs.visitor, "Meanwhile", level="info")
        tabs.say(number)
        until(lambda: proxy.streams == 1)
        taken.append(tabs.taken())
    assert min(taken) < TAKEOVER_MS
    assert len(tabs.asked) == 4


def test_the_leader_crashes(proxy: FaultProxy, visit: Visit, casefile: Stage) -> None:
    """The same where it could not say good-bye."""
    visitor = visit(proxy.url)
    tabs = Tabs(visitor, 4)
    taken = []
    for number in "12":
        with pytest.raises(Error, match="chrome://crash"):
            tabs.lose().goto("chrome://crash")
        casefile.notify(tabs.visitor, "Meanwhile", level="info")
        tabs.say(number)
        taken.append(tabs.taken())
    assert min(taken) < TAKEOVER_MS


def test_a_frozen_leader(proxy: FaultProxy, visit: Visit, casefile: Stage) -> None:
    """A leader that does not answer loses its place to a tab that is looked at. When it wakes up it follows."""
    visitor = visit(proxy.url)
    visitor.expect("Synchronous XMLHttpRequest")
    tabs = Tabs(visitor, 3)
    frozen, shown = tabs.leader, tabs.followers[0]
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    frozen.route("**/thaw", hold)
    # Until it is answered, this page does nothing else.
    frozen.evaluate(
        """() => {
          const wait = new XMLHttpRequest();
          wait.open('GET', '/thaw', false);
          setTimeout(() => wait.send());
        }"""
    )
    until(lambda: shown.evaluate("1") and held)
    show(shown, "visible")
    until(lambda: shown.evaluate("1") and tabs.leader == shown)
    casefile.notify(tabs.visitor, "Meanwhile", level="info")
    expect(shown.locator(".milepost-badge")).to_have_text("1")
    held[0].fulfill(body="")
    tabs.say("1")
    until(lambda: proxy.streams == 1)
    casefile.notify(tabs.visitor, "Then", level="info")
    tabs.say("2")
    assert len(tabs.asked) == 2


def test_a_hidden_leader_hands_over(proxy: FaultProxy, visit: Visit, casefile: Stage) -> None:
    """To one that is not. When all are hidden there is no connection; the first that is shown again catches up."""
    visitor = visit(proxy.url, options={"timing": TIMING})
    tabs = Tabs(visitor, 2)
    first, second = tabs.leader, tabs.followers[0]
    show(first, "hidden")
    until(lambda: second.evaluate("1") and tabs.leader == second)
    _in(first, "idle")
    _in(second, "connected")
    show(second, "hidden")
    _in(second, "idle")
    until(lambda: proxy.streams == 0)
    casefile.notify(visitor.id, "Meanwhile", level="info")
    show(first, "visible")
    expect(first.locator(".milepost-badge")).to_have_text("1")
    show(second, "visible")
    tabs.say("1")
    assert tabs.asked == [first, second, first]


def test_signing_out_in_one_tab(proxy: FaultProxy, visit: Visit) -> None:
    """Signs out all of them, also one that is hidden and has no connection: each is told once, nothing asks any more,
    and nothing of the user's stays in the browser.
    """
    visitor = visit(proxy.url, options={"timing": TIMING})
    tabs = Tabs(visitor, 3)
    visitor.page.bring_to_front()  # a page behind another one draws no frames
    visitor.generate("letter")
    for tab in tabs.open:
        expect(tab.locator(".milepost-badge")).to_have_text("1")
    here, hidden = tabs.followers
    show(hidden, "hidden")
    _in(hidden, "idle")
    for tab in tabs.open:
        tab.evaluate("() => { window.outs = 0; addEventListener('milepost:signed-out', () => { outs += 1; }); }")
    here.evaluate("client.close({ forget: true })")
    for tab in (tabs.leader, hidden):
        expect(tab.locator("#connection")).to_contain_text("Signed out")
        assert tab.evaluate("outs") == 1
    until(lambda: here.evaluate("1") and proxy.streams == 0)
    assert here.evaluate("outs") == 0
    assert here.evaluate("client.connection.getSnapshot().reason") == "closed"
    show(hidden, "visible")
    _in(hidden, "closed")
    kept = "[localStorage, sessionStorage].flatMap(Object.keys).filter(key => key.startsWith('milepost'))"
    for tab in tabs.open:
        assert tab.evaluate(kept) == []
    assert proxy.streams == 0


def test_an_insecure_origin(casefile: Stage, browser: Browser, proxy: FaultProxy) -> None:
    """Without Web Locks, as over plain http in a local network, every tab that is looked at has its own connection."""
    rules = "--host-resolver-rules=MAP casefile.test 127.0.0.1"
    plain = browser.browser_type.launch(executable_path=CHROMIUM, args=[*FLAGS, rules])
    visitor = Visitor(plain, proxy.url.replace("127.0.0.1", "casefile.test"), {"timing": TIMING})
    visitor.expect("Cross-Origin-Opener-Policy")
    assert visitor.page.evaluate("navigator.locks") is None
    tabs = Tabs(visitor, 2)
    assert proxy.streams == 2
    casefile.notify(visitor.id, "News", level="info")
    tabs.say("1")
    show(visitor.page, "hidden")
    until(lambda: visitor.page.evaluate("1") and proxy.streams == 1)
    visitor.close()
    plain.close()
