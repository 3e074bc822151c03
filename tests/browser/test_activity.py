"""The dashboard in a real Chromium: it polls, not while nobody looks, and its pages read themselves again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from tests.browser.stage import Stage, until
from tests.browser.visitor import Person

Open = Callable[..., "Reader"]

# When each element of the page was told to read itself again, and what came through the window.
LISTEN = """
(() => {
  window.told = {};
  window.heard = [];
  for (const type of ['milepost:refresh', 'refreshDocument', 'refreshDocuments'])
    addEventListener(type, ({ target }) => (told[target.id] ??= []).push(performance.now()), true);
  for (const type of ['toast', 'notification:created', 'document:activity', 'job:activity'])
    addEventListener(type, ({ detail }) => heard.push([type, detail]));
})();
"""

SOME = re.compile(r"^[1-9]\d*$")


class Reader(Person):
    """A person in front of the dashboard. ``asked`` is every request of theirs to the hub, by tab and path."""

    def __init__(self, browser: Browser, stage: Stage, options: dict[str, Any] | None = None, **context: Any) -> None:
        self.asked: list[tuple[Page, str]] = []
        self.stage = stage
        super().__init__(browser, stage.url, options or {}, **context)
        self.context.add_init_script(LISTEN)
        self.context.on("request", self._asks)
        self.page.reload()

    def _asks(self, request: Request) -> None:
        path = request.url.partition("/activity")[2].partition("?")[0]
        if path.startswith("/api/"):
            self.asked.append((request.frame.page, path))

    @property
    def id(self) -> str:
        """Who this is to the hub."""
        return self.page.locator("body").get_attribute("data-visitor") or ""

    def go(self, path: str, tab: Page | None = None) -> None:
        """To one of the pages."""
        (tab or self.page).goto(f"{self.stage.url}{path}")

    def take(self, sample: str = "Services agreement") -> str:
        """Takes a sample into the register; the path of its page, which is open then."""
        self.go("/documents")
        self.page.get_by_role("button", name=sample, exact=True).click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(sample)
        return self.page.url.removeprefix(self.stage.url)

    def begin(self, button: str, speed: str = "To watch") -> None:
        """Starts a job on the document whose page is open."""
        self.page.get_by_label(speed).check()
        self.page.get_by_role("button", name=button).click()

    def mark(self) -> None:
        """Notes that this page is this page: a reload would forget it."""
        self.page.evaluate("() => { window.same = true; }")

    @property
    def is_same(self) -> bool:
        """Whether the page was not loaded again since ``mark``."""
        return bool(self.page.evaluate("() => window.same === true"))

    def job(self, state: str) -> Locator:
        """The jobs of this state in the page's own list."""
        return self.page.locator(f".job[data-state={state}]")

    def badge(self, tab: Page | None = None) -> Locator:
        """The number at the bell."""
        return (tab or self.page).locator(".milepost-badge")

    def ready(self, tab: Page | None = None) -> None:
        """Waits until a tab is kept up to date."""
        expect((tab or self.page).locator("#connection")).to_contain_text("Updates by polling")

    def show(self, state: str, tab: Page | None = None) -> None:
        """Tells a page that it is ``hidden`` or ``visible``: without a screen, Chromium keeps all of them visible."""
        (tab or self.page).evaluate(
            """state => {
              Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
              document.dispatchEvent(new Event('visibilitychange'));
            }""",
            state,
        )


@pytest.fixture(name="docket", scope="module")
def fixture_docket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One demo for all of these. It ends as it should, and nothing went wrong inside it."""
    docket = Stage(tmp_path_factory.mktemp("docket"), "activity")
    yield docket
    docket.close()
    assert "Traceback" not in docket.log, docket.log


@pytest.fixture(name="read")
def fixture_read(docket: Stage, browser: Browser) -> Iterator[Open]:
    """Opens the dashboard as somebody who has never been there. Nobody ever asked for a stream."""
    readers: list[Reader] = []

    def read(**context: Any) -> Reader:
        readers.append(Reader(browser, docket, **context))
        return readers[-1]

    yield read
    for reader in readers:
        reader.close()
        assert not [path for _, path in reader.asked if "stream" in path]


# --- the scenarios ----------------------------------------------------------------------------------------------------


def test_1_begin_progress_complete_and_the_toast_leaves(read: Open, docket: Stage) -> None:
    """A press begins a job: row and toast count, what is found stands there without a reload, the toast leaves."""
    reader = read()
    reader.take()
    reader.mark()
    reader.begin("Analyse")
    row = reader.page.locator("#work progress")
    expect(row).to_have_attribute("value", SOME)
    docket.hold_workers(True)
    try:
        expect(row).to_have_attribute("max", "31")
        expect(reader.bar).to_have_attribute("max", "31")
        expect(reader.bar).to_have_attribute("value", SOME)
    finally:
        docket.hold_workers(False)
    expect(reader.toast("Analysis of Services agreement", "success")).to_contain_text("497 words")
    expect(reader.page.locator("#analyse")).to_contain_text("8 dates")
    expect(reader.job("completed")).to_contain_text("497 words")
    expect(reader.toasts).to_have_count(0)
    assert reader.is_same


def test_2_a_failure_stays(read: Open) -> None:
    """There is no earlier version to compare with: the toast says so and stays, on the next page too."""
    reader = read()
    reader.take()
    reader.begin("Compare")
    expect(reader.toast("NO_EARLIER_VERSION", "error")).to_contain_text("only one version so far")
    reader.job("failed").get_by_role("link").click()
    expect(reader.page.locator("#job")).to_contain_text("NO_EARLIER_VERSION")
    expect(reader.toast("NO_EARLIER_VERSION", "error")).to_be_visible()
    reader.toasts.get_by_role("button", name="Dismiss").click()
    expect(reader.toasts).to_have_count(0)


def test_4_a_reload_during_progress(read: Open) -> None:
    """The page is made on the server with the job as it is; its toast comes back, and both go on."""
    reader = read()
    reader.take()
    reader.begin("Analyse", "Slow")
    row = reader.page.locator("#work progress")
    expect(row).to_have_attribute("value", SOME)
    before = int(row.get_attribute("value") or 0)
    reader.page.reload()
    after = int(row.get_attribute("value") or 0)
    assert after >= before
    expect(reader.bar).to_be_visible()
    until(lambda: int(row.get_attribute("value") or 0) > after)
    reader.job("running").get_by_role("link").click()
    reader.page.get_by_role("button", name="Cancel").click()
    expect(reader.page.locator("#job")).to_contain_text("Cancelled on your request")


def test_5_two_jobs_two_toasts(read: Open, docket: Stage) -> None:
    """Each has a row and a toast of its own, with a bar of its own."""
    reader = read()
    reader.take()
    docket.hold_workers(True)
    try:
        for number in (1, 2):
            reader.begin("Analyse", "Full speed")
            expect(reader.page.locator("#work progress")).to_have_count(number)
            expect(reader.bar).to_have_count(number)
    finally:
        docket.hold_workers(False)
    expect(reader.job("completed")).to_have_count(2, timeout=30_000)
    expect(reader.toast("Analysis", "success")).to_have_count(2)


def test_6_the_server_is_killed_and_restarted(read: Open, docket: Stage) -> None:
    """Kill -9 of the hub, which stays away: "Reconnecting…" is said. When it is back the job goes on, and what it
    found stands on the page without a reload, though the page could not be read meanwhile.
    """
    # A request that the server holds for long is only given up when it has been held for longer.
    reader = read(options={"timing": {"longPoll": 1000, "connect": 3000}})
    reader.expect(r"net::ERR_", r"^htmx:sendError")
    reader.take()
    reader.mark()
    reader.begin("Analyse")
    expect(reader.page.locator("#work progress")).to_have_attribute("value", SOME)
    docket.hold_hub_back(True)
    try:
        docket.kill_hub()
        expect(reader.page.locator("#connection")).to_contain_text("Reconnecting…", timeout=30_000)
    finally:
        docket.hold_hub_back(False)
    expect(reader.page.locator("#analyse")).to_be_visible(timeout=60_000)
    expect(reader.job("completed")).to_be_visible()
    reader.ready()
    assert reader.is_same


def test_8_a_job_that_has_ended_already(read: Open) -> None:
    """A link to it, opened in another browser of the same person's: how it ended, and the way to what it found."""
    reader = read()
    reader.take()
    reader.begin("Analyse", "Full speed")
    link = reader.job("completed").get_by_role("link")
    expect(link).to_be_visible()
    path = (link.get_attribute("href") or "").removeprefix("/activity")
    elsewhere = read(storage_state={"cookies": reader.context.cookies(), "origins": []})
    elsewhere.go(path)
    expect(elsewhere.page.locator("#job")).to_contain_text("497 words")
    elsewhere.page.get_by_role("link", name="See what it found").click()
    expect(elsewhere.page.locator("#analyse")).to_be_in_viewport()


# --- polling ----------------------------------------------------------------------------------------------------------


def test_polling_only(read: Open, docket: Stage) -> None:
    """The page says that it polls; a notification moves the bell, without a reload; nobody asked for a stream."""
    reader = read()
    reader.ready()
    reader.mark()
    docket.notify(reader.id, "By polling", level="warning")
    expect(reader.badge()).to_have_text("1")
    expect(reader.toast("By polling", "warning")).to_be_visible()
    expect(reader.page.locator("#freshness")).to_be_hidden()  # "As of …" is for pages that nobody keeps up to date
    expect(reader.page.locator(".entry")).to_contain_text("By polling")
    assert reader.is_same
    assert {path for _, path in reader.asked} >= {"/api/client-config", "/api/changes"}
    assert not [path for _, path in reader.asked if "stream" in path]


def test_a_hidden_tab_does_not_poll(read: Open, docket: Stage) -> None:
    """Hidden, the page says since when it is paused and asks for nothing. Shown, it catches up at once: bell, feed, and
    the time at which that was.
    """
    reader = read()
    reader.ready()
    reader.show("hidden")
    expect(reader.page.locator("#freshness")).to_contain_text("Paused while hidden since")
    assert reader.page.title().startswith("⏸")
    until(lambda: reader.page.evaluate("client.connection.getSnapshot().status") == "idle")
    before = len(reader.asked)
    docket.notify(reader.id, "While hidden", level="success", context={"document_id": "some"})
    # Another visitor's page has it meanwhile, and would again: so long nothing was asked here.
    other = read()
    other.ready()
    for number in ("1", "2"):
        docket.notify(other.id, "Meanwhile", level="info")
        expect(other.badge()).to_have_text(number)
    assert len(reader.asked) == before
    assert reader.page.evaluate("told") == {}
    reader.show("visible")
    expect(reader.page.locator("#freshness")).to_contain_text(
        re.compile(r"Paused while hidden for \d+ s; caught up at")
    )
    assert reader.page.title() == "Activity: Docket"
    expect(reader.badge()).to_have_text("1")
    expect(reader.page.locator(".entry")).to_contain_text("While hidden")
    expect(reader.toast("While hidden", "success")).to_be_visible()


def test_two_tabs_poll_once(read: Open, docket: Stage) -> None:
    """One of them asks, both show everything, and one of them raises the toast."""
    reader = read()
    reader.ready()
    tabs = [reader.page, reader.tab()]
    reader.ready(tabs[1])
    docket.notify(reader.id, "To both", level="info")
    for tab in tabs:
        expect(reader.badge(tab)).to_have_text("1")
    reader.asked.clear()
    for number in ("2", "3", "4"):
        docket.notify(reader.id, "To both", level="success")
        for tab in tabs:
            expect(reader.badge(tab)).to_have_text(number)
            expect(tab.locator(".entry")).to_have_count(int(number))
    assert len({tab for tab, path in reader.asked if path == "/api/changes"}) == 1
    until(lambda: sum(tab.locator(".milepost-toast").count() for tab in tabs) == 3)


def test_a_token_that_is_gone_is_made_anew(read: Open, docket: Stage) -> None:
    """The hub refuses the next poll; the page's own session makes a new token, and nothing is missed."""
    reader = read()
    reader.expect("401")
    reader.ready()
    reader.context.clear_cookies(name="milepost_token")
    for number in ("1", "2"):
        docket.notify(reader.id, "Still here", level="info")
        expect(reader.badge()).to_have_text(number, timeout=60_000)


# --- pages that read themselves again ---------------------------------------------------------------------------------


def test_a_page_is_read_again_at_most_once_in_250_ms(read: Open, docket: Stage) -> None:
    """Thirty notifications in one breath: all are in the feed, and no element was told more often than that."""
    reader = read()
    reader.ready()
    with docket.milepost() as line:
        for number in range(30):
            line.notify(reader.id, title=f"Number {number}", level="info")
    expect(reader.page.locator(".entry").first).to_contain_text("Number 29", timeout=30_000)
    expect(reader.page.locator(".entry")).to_have_count(25)
    reader.take()
    reader.begin("Analyse")
    expect(reader.page.locator("#analyse")).to_be_visible(timeout=30_000)
    told = reader.page.evaluate("told")
    assert {"work", "findings"} <= set(told)
    for times in told.values():
        assert all(later - earlier >= 249 for earlier, later in pairwise(times)), told


def test_the_focus_stays_where_it_is(read: Open) -> None:
    """Somebody on the way to a job by keyboard is not thrown back when its row is read again."""
    reader = read()
    reader.take()
    reader.begin("Analyse", "Slow")
    row = reader.page.locator("#work progress")
    expect(row).to_have_attribute("value", SOME)
    before = row.get_attribute("value") or ""
    link = reader.job("running").get_by_role("link")
    link.focus()
    expect(row).not_to_have_attribute("value", before)
    expect(link).to_be_focused()
    reader.page.keyboard.press("Enter")
    reader.page.get_by_role("button", name="Cancel").click()
    expect(reader.page.locator("#job")).to_contain_text("Cancelled on your request")


def test_a_document_s_page_is_told_by_its_id(read: Open) -> None:
    """What happens to another document leaves it alone; what happens to this one is read, by its other tab too."""
    reader = read()
    here = reader.take()
    there = reader.tab()
    reader.go(here, there)
    reader.ready(there)
    reader.take("Minutes of the trustees")
    reader.begin("Analyse", "Full speed")
    expect(reader.page.locator("#analyse")).to_be_visible()
    expect(reader.badge(there)).to_have_text("3")
    assert "findings" not in there.evaluate("told")
    reader.go(here)
    reader.page.get_by_role("button", name="Services agreement, as amended").click()
    expect(there.locator("#versions")).to_contain_text("Version 2")
    reader.begin("Compare", "Full speed")
    expect(there.locator("#compare del").first).to_have_text("September")
    assert "findings" in there.evaluate("told")


def test_the_list_of_documents_is_read_again(read: Open) -> None:
    """What is added in one tab stands in the list of the other, and so does what was found in it."""
    reader = read()
    listing = reader.tab()
    reader.go("/documents", listing)
    reader.ready(listing)
    reader.take()
    expect(listing.locator(".document")).to_contain_text("Services agreement")
    reader.begin("Analyse", "Full speed")
    expect(listing.locator(".document")).to_contain_text("497 words")


def test_window_events(read: Open, docket: Stage) -> None:
    """``toast``, ``notification:created``, ``document:activity`` and ``job:activity``, one of each."""
    reader = read()
    reader.ready()
    docket.notify(reader.id, "Told", message="In words", level="error", context={"document_id": "d 1", "job_id": "j1"})
    until(lambda: len(reader.page.evaluate("heard")) == 4)
    heard = dict(reader.page.evaluate("heard"))
    assert heard["toast"] == {"type": "error", "text": "In words", "href": "/activity/documents/d%201"}
    for event in ("notification:created", "document:activity", "job:activity"):
        assert heard[event]["title"] == "Told"
    reader.toasts.get_by_role("button", name="Dismiss").click()


def test_a_refused_form_says_why(read: Open) -> None:
    """What the server refuses stands above the page, in its own words; the next press takes it away."""
    reader = read()
    reader.expect("422", "htmx:responseError|Response Status Error")
    reader.take()
    reader.page.evaluate("document.querySelector('[name=pace]:checked').value = '-1'")
    reader.page.get_by_role("button", name="Analyse").click()
    trouble = reader.page.get_by_role("alert")
    expect(trouble).to_contain_text("The form is not ours as it stands.")
    reader.page.evaluate("document.querySelector('[name=pace]:checked').value = '0'")
    reader.page.get_by_role("button", name="Analyse").click()
    expect(reader.page.locator("#analyse")).to_be_visible()
    expect(trouble).to_be_hidden()


def test_a_file_from_this_machine(read: Open) -> None:
    """Uploaded by hand, under a name of one's own; a file that is no text fails, and says where it breaks off."""
    reader = read()
    reader.go("/documents")
    text = "Paid: EUR 12.50 on 1 May 2026.".encode("utf-16")
    file = {"name": "letter.md", "mimeType": "text/markdown", "buffer": text}
    reader.page.get_by_label("A file").set_input_files(file)  # type: ignore[arg-type]
    reader.page.get_by_label("Its name here").fill("A letter")
    reader.page.get_by_role("button", name="Upload").click()
    expect(reader.page.get_by_role("heading", level=1)).to_have_text("A letter")
    reader.begin("Analyse", "Full speed")
    expect(reader.page.locator("#analyse")).to_contain_text("EUR 12.50")
    reader.page.get_by_label("A new version").set_input_files({**file, "buffer": b"caf\xe9"})  # type: ignore[arg-type]
    reader.page.get_by_role("button", name="Upload the new version").click()
    expect(reader.page.locator("#versions")).to_contain_text("Version 2")
    reader.begin("Analyse", "Full speed")
    expect(reader.toast("NOT_TEXT", "error")).to_contain_text("byte 3")


def test_without_a_script(read: Open) -> None:
    """Pages and forms: what is found is there after a reload, and the page says as of when it is."""
    reader = read(java_script_enabled=False)
    reader.take()
    expect(reader.page.get_by_text("Reload for what is new.")).to_be_visible()
    reader.begin("Analyse", "Full speed")
    expect(reader.page.locator(".job")).to_be_visible()

    def found() -> bool:
        reader.page.reload()
        return reader.page.locator("#analyse").is_visible()

    until(found, seconds=30)
    expect(reader.job("completed")).to_contain_text("497 words")


# --- for everybody ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "look", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}], ids=str
)
def test_axe_finds_nothing(read: Open, look: dict[str, str]) -> None:
    """On any of the pages, empty and full, and none of them scrolls sideways at 320 px."""
    reader = read(**look, reduced_motion="reduce", viewport={"width": 1280, "height": 900})
    name = "-".join(look.values())

    def check(page: str) -> None:
        reader.ready()
        reader.picture(f"docket-{page}-{name}")
        assert reader.faults() == [], page
        reader.page.set_viewport_size({"width": 320, "height": 800})
        assert reader.page.evaluate("document.documentElement.scrollWidth") == 320, page
        reader.page.set_viewport_size({"width": 1280, "height": 900})

    for page in ("", "documents", "jobs"):
        reader.go(f"/{page}")
        check(f"{page or 'feed'}-empty")
    reader.take()
    reader.page.get_by_role("button", name="Services agreement, as amended").click()
    for button, part in (("Compare", "#compare"), ("Analyse", "#analyse")):
        reader.begin(button, "Full speed")
        expect(reader.page.locator(part)).to_be_visible()
    check("document")
    reader.begin("Analyse", "Slow")
    reader.job("running").get_by_role("link").click()
    expect(reader.page.locator("#job")).to_contain_text("of 31")
    check("job")
    reader.page.get_by_role("button", name="Cancel").click()
    expect(reader.page.locator("#job")).to_contain_text("Cancelled on your request")
    for page in ("", "documents", "jobs"):
        reader.go(f"/{page}")
        check(page or "feed")
    reader.expect("404")
    reader.go("/documents/none")
    check("missing")
