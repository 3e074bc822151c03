"""The traces example: a modal in React, 19 and 18, that follows one import and is closed and opened at any moment."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Route, ViewportSize, expect

from tests.browser.importer import Importer
from tests.browser.proxy import FaultProxy
from tests.browser.react import ScriptOf
from tests.browser.stage import Stage, until
from tests.browser.visitor import LOOKS

ONCE = pytest.mark.parametrize("script_of", ["react-19"], indirect=True)  # where another React could not differ
ANY_BUILD = pytest.mark.parametrize("script_of", ["react-19", "react-18", "development"], indirect=True)
DESK: Final[ViewportSize] = {"width": 1280, "height": 800}
NARROW: Final[ViewportSize] = {"width": 320, "height": 800}

# Everything that happens to the page from now on, except to the entries below the form.
WATCH = """
() => {
  window.changes = [];
  new MutationObserver((records) => {
    for (const { type, target, attributeName } of records) {
      const element = target.nodeType === Node.TEXT_NODE ? target.parentElement : target;
      if (!element?.closest('.start')) changes.push(`${type} ${attributeName} ${element?.outerHTML}`);
    }
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}
"""
# The jobs that this browser would follow again after a reload.
TRACKED = """
() => Object.entries(localStorage).filter(([key]) => key.startsWith('milepost:')).some(([, value]) =>
  value.includes('import-'))
"""


Open = Callable[..., Importer]


@pytest.fixture(name="spanfile", scope="module")
def fixture_spanfile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The example, for the tests of this file. It ends as it should, and nothing went wrong inside it."""
    stage = Stage(tmp_path_factory.mktemp("traces"), "traces")
    yield stage
    stage.close()


@pytest.fixture(name="network")
def fixture_network(spanfile: Stage) -> Iterator[FaultProxy]:
    """A network between browser and example that a test can spoil, and whose streams it can count."""
    proxy = FaultProxy(spanfile.port, path="/traces/")
    yield proxy
    proxy.close()


@pytest.fixture(name="visit")
def fixture_visit(
    spanfile: Stage,
    browser: Browser,
    script_of: ScriptOf,
    network: FaultProxy,  # ends after those who may be on it
) -> Iterator[Open]:
    """Opens the page as somebody who has never been there, with the React that the test is for."""
    del network
    people: list[Importer] = []

    def visit(url: str = "", **context: Any) -> Importer:
        people.append(Importer(browser, url or f"{spanfile.url}/", {}, script=script_of("traces"), **context))
        expect(people[-1].page.get_by_role("heading", name="Import a file")).to_be_visible()
        return people[-1]

    yield visit
    for person in people:
        person.close()


@contextmanager
def standing_still(spanfile: Stage) -> Iterator[None]:
    """In it no import goes on: what is looked at does not end while a slow machine looks."""
    spanfile.hold_workers(True)
    try:
        yield
    finally:
        spanfile.hold_workers(False)


def test_1_submit_progress_complete(visit: Open, spanfile: Stage, network: FaultProxy) -> None:
    """The modal opens with the start, follows the import from stage to stage and ends with its summary; what was
    imported then stands on the page, read from the database, and the connection is released.
    """
    person = visit(network.url)
    expect(person.page.get_by_text("Nothing yet.")).to_be_visible()
    with standing_still(spanfile):
        person.start(1_200)
        expect(person.stage).to_have_text("Queue")
        expect(person.modal).to_contain_text("Waiting for a worker")
    assert sum("/api/stream" in path for path in network.seen) == 1  # no other before there was something to follow
    expect(person.modal).to_contain_text(re.compile(r"about \d+ s left"))
    with standing_still(spanfile):
        expect(person.stage).to_have_text("Import")
        expect(person.modal.locator(".modal-percent")).to_have_text(re.compile(r"^\d+ %$"))
        expect(person.modal).to_contain_text(re.compile(r"line \d+ of 1,200"))
        expect(person.modal).to_contain_text("Live")
    expect(person.modal).to_contain_text("1,200 spans imported")
    result = person.job()["result"]
    expect(person.modal.get_by_role("row", name=re.compile("^Traces"))).to_contain_text(str(result["traces"]))
    expect(person.modal.get_by_role("row", name="The slowest")).to_contain_text(result["slowest"]["name"])
    expect(person.bar).to_have_count(0)
    person.modal.get_by_role("button", name="Look at the traces").click()
    expect(person.modal).to_have_count(0)
    expect(person.page.get_by_role("heading", name="Imported")).to_be_focused()
    expect(person.listed).to_contain_text("1,200")
    traces = person.page.get_by_role("table").first.get_by_role("row")
    traces.nth(2).get_by_role("button").click()
    spans = person.page.locator(".spans").get_by_role("row")
    expect(spans.nth(1)).to_contain_text("0.00 ms")
    expect(spans.nth(1).locator(".span-bar")).to_have_js_property("style.width", "100%")
    until(lambda: person.page.evaluate("1") and network.streams == 0, what="the connection is released")


def test_2_a_mistake_stays_until_it_is_read(visit: Open) -> None:
    """Row and reason, the code, and that nothing was kept; the modal stays, and the list behind it is as it was."""
    person = visit()
    person.start(source="With a mistake", speed="Full speed")
    alert = person.modal.get_by_role("alert")
    expect(alert).to_contain_text("Line 1,204: start is later than end")
    expect(alert).to_contain_text("IMPORT_ROW")
    expect(person.modal).to_contain_text("Nothing of this file is in the database.")
    expect(person.modal.locator(".stages")).to_contain_text("Import failed")
    assert person.page.request.get(f"{person.url}imports").json()["imports"] == []
    person.modal.get_by_role("button", name="Close").last.click()
    expect(person.modal).to_have_count(0)
    expect(person.page.get_by_text("Nothing yet.")).to_be_visible()


def test_3_an_unknown_total_becomes_known(visit: Open, spanfile: Stage) -> None:
    """While the lines are counted the bar is indeterminate, then it counts: the same bar in the same modal."""
    person = visit()
    person.start(600, speed="Slow")
    expect(person.modal).to_contain_text("lines so far")
    with standing_still(spanfile):
        expect(person.stage).to_have_text("Count")
        assert person.bar.evaluate("bar => (window.before = bar).matches(':indeterminate')")
    person.reached(5)
    assert person.bar.evaluate("bar => bar === window.before && !bar.matches(':indeterminate')")
    person.modal.get_by_role("button", name="Cancel the import").click()
    expect(person.modal).to_contain_text("CANCELLED")
    assert person.job()["state"] == "cancelled"
    expect(person.entries).to_have_count(0)


def test_4_a_reload_during_progress(visit: Open, spanfile: Stage) -> None:
    """With the modal open it is open again, no earlier than it was; closed, the page shows the import under way."""
    person = visit()
    person.start(600)
    person.reached(20)
    with standing_still(spanfile):
        person.page.reload()
        person.reached(20)
        person.page.keyboard.press("Escape")
        expect(person.modal).to_have_count(0)
        person.page.reload()
        expect(person.entries).to_contain_text(re.compile(r"Import running \d\d %"))
        expect(person.modal).to_have_count(0)
        person.entries.click()
    expect(person.modal).to_contain_text("600 spans imported")


def test_5_two_imports(visit: Open, spanfile: Stage) -> None:
    """Sent at the same time, each has an entry and a modal of its own; one fails, the other goes on to its end."""
    person = visit()
    held = hold_uploads(person)
    person.start(400)
    person.page.keyboard.press("Escape")
    person.start(source="With a mistake", speed="Full speed")
    person.page.keyboard.press("Escape")
    expect(person.entries.filter(has_text="Sending")).to_have_count(2)
    until(lambda: person.page.evaluate("1") and len(held) == 2)
    with standing_still(spanfile):
        for route in held:
            route.continue_()
        expect(person.entries.filter(has_text="Import queued")).to_have_count(2)
        person.entries.filter(has_text="400.jsonl").click()
        expect(person.modal).to_contain_text("400.jsonl")
        person.page.keyboard.press("Escape")
    expect(person.listed).to_contain_text("400")
    expect(person.entries).to_have_text("Import failedshop-mistake.jsonl")
    person.entries.click()
    expect(person.modal.get_by_role("alert")).to_contain_text("Line 1,204")
    person.page.keyboard.press("Escape")
    expect(person.entries).to_have_count(0)


def test_6_the_hub_is_killed_and_restarted(visit: Open, spanfile: Stage) -> None:
    """Kill -9 in the middle, and it stays away: the modal says so after 10 s and keeps what it shows; when the hub is
    back it goes on, to the end.
    """
    person = visit()
    person.expect("net::ERR_")
    person.start(600)
    person.reached(10)
    with standing_still(spanfile):
        spanfile.hold_hub_back(True)
        spanfile.kill_hub()
    expect(person.modal).to_contain_text("Reconnecting…")
    assert person.modal.get_by_role("button", name="Try now").is_visible()
    person.reached(10)
    person.picture("traces-reconnecting")
    spanfile.hold_hub_back(False)
    expect(person.modal).to_contain_text("600 spans imported", timeout=30_000)


def test_7_the_same_progress_twice(visit: Open, spanfile: Stage, network: FaultProxy) -> None:
    """Every frame comes twice and older ones after it, and the bar never goes back. Then, with the workers stopped, all
    of them come again: not one change in the modal or the page.
    """
    network.turn("stutter")
    person = visit(network.url)
    person.page.evaluate(
        """() => {
          window.values = [];
          new MutationObserver((records) => {
            for (const { target } of records) if (target.matches('progress[value]')) values.push(target.value);
          }).observe(document.body, { subtree: true, attributeFilter: ['value'] });
        }"""
    )
    person.start(1_000)
    person.reached(40)
    values = person.page.evaluate("values")
    assert values == sorted(set(values))
    with standing_still(spanfile):
        person.page.evaluate(WATCH)
        settle(person, spanfile, "First")
        person.page.evaluate("() => { changes.length = 0; }")
        assert network.replay() >= 8
        settle(person, spanfile, "Second")
        assert person.page.evaluate("changes") == []
    expect(person.modal).to_contain_text("1,000 spans imported")


def settle(person: Importer, spanfile: Stage, title: str) -> None:
    """Waits until all that was sent so far is on the screen: what comes last is one more import under way."""
    spanfile.milepost().start_job(title=title, kind="import", owner=person.id)
    expect(person.page.locator(".running")).to_contain_text(title)


def test_8_an_import_that_has_ended_already(visit: Open, spanfile: Stage) -> None:
    """A link to one that ended before this browser first looked shows its summary at once; to a stranger it is none."""
    person = visit()
    person.start(200, speed="Full speed")
    expect(person.modal).to_contain_text("200 spans imported")
    link = person.page.url
    assert person.job()["id"] in link
    elsewhere = visit(link, storage_state={"cookies": person.context.cookies(), "origins": []})
    expect(elsewhere.modal).to_contain_text("200 spans imported")
    stranger = visit(f"{spanfile.url}/?import=import-of-nobody")
    stranger.expect("404")
    expect(stranger.modal.get_by_role("alert")).to_contain_text("There is no such import.")


@ANY_BUILD
def test_it_closes_at_any_moment(visit: Open, spanfile: Stage, network: FaultProxy) -> None:
    """While the file is sent, while it waits, while it is imported: Esc closes the modal, the focus goes back, nothing
    follows the job any more, the import goes on, and the entry on the page opens it again. When it has ended and nobody
    looks, there is no connection.
    """
    person = visit(network.url)
    held = hold_uploads(person)
    person.fill_in(1_000)
    person.send()
    expect(person.stage).to_have_text("Upload")
    close(person)
    expect(person.entries).to_contain_text("Sending")
    assert network.streams == 0

    with standing_still(spanfile):
        until(lambda: person.page.evaluate("1") and held)
        held[0].continue_()
        expect(person.entries).to_contain_text("Import queued")
        person.entries.click()
        expect(person.stage).to_have_text("Queue")
        person.page.wait_for_function(TRACKED)
        close(person)
    expect(person.entries).to_contain_text(re.compile("Import running [1-9]"))
    with standing_still(spanfile):
        person.entries.click()
        expect(person.stage).to_have_text("Import")
        person.page.wait_for_function(TRACKED)
        assert network.streams == 1
        close(person)
    expect(person.entries).to_contain_text(re.compile("Import running [4-9]"))
    expect(person.listed).to_contain_text("1,000")
    expect(person.entries).to_have_count(0)
    expect(person.modal).to_have_count(0)
    until(lambda: person.page.evaluate("1") and network.streams == 0, what="the connection is released")


def hold_uploads(person: Importer) -> list[Route]:
    """What the page sends from now on does not arrive before the test says so."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    person.page.route("**/imports?*", hold)
    return held


def close(person: Importer) -> None:
    """Esc. The focus is where it was, and no job is followed."""
    person.page.keyboard.press("Escape")
    expect(person.modal).to_have_count(0)
    assert person.page.evaluate("document.activeElement.localName") == "button"
    person.page.wait_for_function(f"() => !({TRACKED})()")


@ONCE
def test_updates_are_paused_and_resumed(visit: Open, network: FaultProxy) -> None:
    """Paused, the modal stands still without a connection while the import goes on; resumed, it catches up."""
    person = visit(network.url)
    person.start(1_000)
    person.reached(10)
    person.modal.get_by_role("button", name="Pause updates").click()
    expect(person.modal).to_contain_text("Updates are paused")
    until(lambda: person.page.evaluate("1") and network.streams == 0, what="the connection is released")
    shown = person.bar.evaluate("bar => bar.value")
    until(lambda: person.page.evaluate("1") and person.job()["percent"] > shown + 10)
    assert person.bar.evaluate("bar => bar.value") == shown
    before = len(network.seen)
    person.modal.get_by_role("button", name="Resume updates").click()
    expect(person.modal).to_contain_text("1,000 spans imported")
    assert any("/api/stream" in path for path in network.seen[before:])


@ONCE
def test_leaving_in_the_middle(visit: Open, spanfile: Stage, network: FaultProxy) -> None:
    """Whoever goes to another page leaves no stream behind, and finds the import under way on coming back."""
    person = visit(network.url)
    person.start(600)
    person.reached(10)
    with standing_still(spanfile):
        close(person)
        assert network.streams == 1
        person.page.goto("about:blank")
        until(lambda: person.page.evaluate("1") and network.streams == 0, what="the connection is released")
        person.page.goto(network.url)
        expect(person.entries).to_contain_text("Import running")
    expect(person.listed).to_contain_text("600")


@ONCE
def test_an_upload_is_cancelled_and_one_is_refused(visit: Open, tmp_path: Path) -> None:
    """A cancelled one is no import; one that is too large says so before it is sent, and stays until it is read."""
    person = visit()
    person.expect("net::ERR_ABORTED")
    hold_uploads(person)
    person.fill_in(10)
    person.send()
    person.modal.get_by_role("button", name="Cancel the upload").click()
    expect(person.modal).to_have_count(0)
    expect(person.entries).to_have_count(0)
    assert person.page.request.get(f"{person.url}api/jobs?kind=import").json()["jobs"] == []
    person.page.unroute("**/imports?*")
    large = tmp_path / "large.jsonl"
    with large.open("wb") as file:
        file.truncate(20 * 1024**2 + 1)
    person.page.locator("input[type=file]").set_input_files(large)
    person.send()
    expect(person.modal.get_by_role("alert")).to_contain_text("This is larger than 20 MiB.")


@ONCE
def test_a_deadline_ends_it(visit: Open) -> None:
    """With 10 s and the slow speed the import fails with GENERATOR_TIMEOUT, about when the modal said it would."""
    person = visit()
    person.start(source="Sample", speed="Slow", deadline="10 seconds")
    expect(person.modal.locator(".facts")).to_contain_text(re.compile(r"Deadline\d\d:\d\d:\d\d"))
    alert = person.modal.get_by_role("alert")
    expect(alert).to_contain_text("GENERATOR_TIMEOUT", timeout=30_000)
    expect(alert).to_contain_text("It took longer than its deadline allows.")
    expect(person.page.get_by_text("Nothing yet.")).to_be_attached()


@ONCE
def test_streaming_is_blocked(visit: Open, spanfile: Stage, network: FaultProxy) -> None:
    """A network that forbids streams: polling takes over, the modal says so, and the import is followed to its end."""
    network.turn("forbid")
    person = visit(network.url)
    person.expect("403")
    with standing_still(spanfile):
        person.start(600)
        expect(person.modal).to_contain_text("Updates by polling", timeout=30_000)
    expect(person.modal).to_contain_text("600 spans imported", timeout=40_000)
    assert network.streams == 0


@ONCE
def test_the_modal_by_keyboard(visit: Open) -> None:
    """It begins at its title, Tab stays within it, its cross and a click beside it close it too."""
    person = visit()
    page = person.page
    person.fill_in(2_000, speed="Slow")
    page.get_by_role("button", name="Import", exact=True).press("Enter")
    expect(person.modal.get_by_role("heading")).to_be_focused()
    inside = "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
    for _ in range(8):  # the browser's own controls come in between
        page.keyboard.press("Tab")
        assert page.evaluate(inside)
    person.modal.get_by_role("button", name="Close", exact=True).press("Enter")
    expect(person.modal).to_have_count(0)
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_focused()
    person.entries.press("Enter")
    expect(person.modal).to_be_visible()
    page.mouse.click(5, 5)
    expect(person.modal).to_have_count(0)
    expect(person.entries).to_be_focused()
    person.entries.press("Enter")
    person.modal.get_by_role("button", name="Cancel the import").press("Enter")
    expect(person.modal.get_by_role("alert")).to_contain_text("CANCELLED")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_focused()


@ONCE
@pytest.mark.parametrize("scheme", LOOKS)
def test_axe_finds_nothing(visit: Open, scheme: str) -> None:
    """Empty, under way with the modal open and closed, failed, done, and the traces; nor at 320 px, where nothing has
    to be scrolled sideways either.
    """
    person = visit(viewport=DESK, reduced_motion="reduce", **LOOKS[scheme])
    page = person.page

    def look(state: str) -> None:
        person.picture(f"traces-{state}-{scheme}")
        for size in (NARROW, DESK):
            page.set_viewport_size(size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], state
            if size is DESK or scheme == "light":
                assert person.faults() == [], (state, size)

    look("empty")
    person.start(source="Sample", speed="Slow")
    person.reached(1)
    look("importing")
    page.keyboard.press("Escape")
    expect(person.entries).to_contain_text("%")
    look("closed")
    person.entries.click()
    person.modal.get_by_role("button", name="Cancel the import").click()
    expect(person.modal.get_by_role("alert")).to_be_visible()
    look("failed")
    page.keyboard.press("Escape")
    person.start(source="Sample", speed="Full speed")
    expect(person.modal).to_contain_text("2,220 spans imported")
    look("done")
    person.modal.get_by_role("button", name="Look at the traces").click()
    expect(page.locator(".spans")).to_be_visible()
    look("traces")


@ONCE
def test_hostile_names_are_text(visit: Open) -> None:
    """What stands in a file, and its name, is shown as it is."""
    person = visit()
    hostile = '<img src=x onerror="window.pwned=1"><b>bold</b>'
    found = {"trace_id": hostile, "span_id": "s", "name": hostile, "service": hostile, "start": 1_772_442_000}
    line = json.dumps({**found, "duration_ms": 1}).encode()
    person.page.get_by_label("Your file").first.check()
    file = {"name": "<b>x.jsonl", "mimeType": "", "buffer": line}
    person.page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type] # a FilePayload
    person.send()
    expect(person.modal).to_contain_text("1 span imported")
    expect(person.modal).to_contain_text("<b>x.jsonl")
    person.modal.get_by_role("button", name="Look at the traces").click()
    expect(person.page.locator(".spans")).to_contain_text(hostile)
    assert person.page.evaluate("document.querySelectorAll('#app :is(img, .spans b)').length") == 0
    assert person.page.evaluate("window.pwned") is None
