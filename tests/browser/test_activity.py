"""The dashboard in a real Chromium: what a person meets, and that it polls, but not while nobody looks."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import Open
from tests.browser.reader import SOME
from tests.browser.stage import Stage, until


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
    reader.expect(r"net::ERR_", r"^htmx:")
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
