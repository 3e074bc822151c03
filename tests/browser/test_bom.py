"""The bom example: a banner in React, 19 and 18, that follows one run of a bill of materials, and the next one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect

from tests.browser.buyer import HARBOR, NORTHWIND, Buyer, Open, fixture_arrive, standing_still
from tests.browser.proxy import FaultProxy
from tests.browser.stage import Stage
from tests.browser.visitor import LOOKS

__all__ = ["fixture_arrive"]

DESK: Final[ViewportSize] = {"width": 1280, "height": 900}
NARROW: Final[ViewportSize] = {"width": 320, "height": 800}

# One that is as it should be, one to look at, and two that are not found.
MIXED = "ref,mpn,qty\nU1,NE555D,1\nQ1,2N2222A,1\nU2,CV6O74,1\nU3,XX-0-YY,1\n" + "R1,AR0603F1002,9\n" * 8

# What the banner shows from now on: each state with its counts, and what is said aloud.
WATCH = """
() => {
  window.shown = [];
  window.said = [];
  const look = () => {
    const banner = document.querySelector('.banner');
    const text = (selector) => banner?.querySelector(selector)?.textContent ?? '';
    const now = `${banner?.dataset.state} ${text('.banner-counts')}`;
    if (shown.at(-1) !== now) shown.push(now);
    const words = text('[role=status]');
    if (words && said.at(-1) !== words) said.push(words);
  };
  new MutationObserver(look).observe(document.body, {
    subtree: true, childList: true, attributes: true, characterData: true,
  });
}
"""


@pytest.fixture(name="partsheet", scope="module")
def fixture_partsheet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The example, for the tests of this file. It ends as it should, and nothing went wrong inside it."""
    stage = Stage(tmp_path_factory.mktemp("bom"), "bom", BOM_REDIS_URL="")
    yield stage
    stage.close()


@pytest.fixture(name="visit")
def fixture_visit(arrive: Open, partsheet: Stage) -> Open:
    """The same, signed in."""

    def visit(organization: str = NORTHWIND, **context: Any) -> Buyer:
        buyer = arrive(partsheet, **context)
        buyer.sign_in(organization)
        return buyer

    return visit


def hub_requests(page: Page) -> list[str]:
    """What the page asks the hub from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    return asked


def test_1_a_run_from_its_beginning_to_its_end(visit: Open, partsheet: Stage) -> None:
    """Percent, counts, the part it is at, the forecast and the connection, each line as it is found, and at the end
    summary and file, until they are dismissed. It is said aloud at its start, at each quarter and at its end.
    """
    buyer = visit()
    buyer.add(sample="Sensor board")
    expect(buyer.banner).to_contain_text("62 parts, not enriched yet")
    buyer.page.evaluate(WATCH)
    with standing_still(partsheet):
        buyer.enrich()
        buyer.in_state("queued")
        expect(buyer.banner).to_contain_text("Waiting for a worker")
    buyer.reached(15)
    with standing_still(partsheet):
        buyer.in_state("running")
        expect(buyer.banner).to_contain_text("Live")
        expect(buyer.banner).to_contain_text(re.compile(r"\d+ %.*\d+ of 62 enriched.*(few seconds|about \d+ s) left"))
        item = buyer.banner.locator(".banner-item")
        expect(item).to_contain_text(re.compile(r"[A-Z0-9]+.*(stock|use|Not|Looking)"))
        expect(buyer.line(1)).to_have_attribute("data-status", "enriched")
        expect(buyer.line(1)).to_contain_text("Kestrel Devices")
        expect(buyer.line(3)).to_have_attribute("data-status", "warning")
        expect(buyer.line(8)).to_contain_text("did you mean CV6074?")
        expect(buyer.line(62)).to_have_attribute("data-status", "waiting")
        expect(buyer.page).to_have_title(re.compile(r"^\d+ % · sensor-board$"))
    expect(buyer.banner).to_have_attribute("data-state", "completed", timeout=60_000)
    expect(buyer.banner).to_contain_text(re.compile(r"55 of 62 enriched.*7 errors.*10 warnings.*€ 71.19 a board"))
    expect(buyer.line(62)).to_have_attribute("data-status", "enriched")
    expect(buyer.page).not_to_have_title(re.compile("%"))
    said = buyer.page.evaluate("said")
    assert said[-1] == "Enrichment completed: 55 enriched, 7 errors."
    assert len(said) <= 6
    buyer.page.get_by_label("To look at 17").check()
    expect(buyer.page.locator("tr[data-line]")).to_have_count(17)
    with buyer.page.expect_download() as download:
        buyer.banner.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "sensor-board-enriched.csv"
    assert len(download.value.path().read_text().splitlines()) == 63
    buyer.banner.get_by_role("button", name="Dismiss").click()
    expect(buyer.banner).to_contain_text("55 parts enriched")
    expect(buyer.banner.get_by_role("button", name="Re-enrich")).to_be_visible()


def test_2_a_failure_stays_and_is_retried(visit: Open) -> None:
    """Why and where, with its code; what was found until then stays. Retry, with other prices, completes it."""
    buyer = visit()
    buyer.add()
    buyer.enrich(speed="Full speed", prices="Next quarter’s")
    buyer.in_state("failed")
    expect(buyer.banner).to_contain_text("next-prices.csv, line 9: the price of SS34 is “10OO:0.055”.")
    expect(buyer.banner).to_contain_text("CATALOGUE_FAULT")
    expect(buyer.banner).to_contain_text("6 of 12 enriched")
    expect(buyer.line(6)).to_have_attribute("data-status", "enriched")
    expect(buyer.line(7)).to_have_attribute("data-status", "waiting")
    buyer.page.reload()
    buyer.in_state("failed")
    buyer.enrich(speed="Full speed", button="Retry")
    buyer.in_state("completed")
    expect(buyer.line(12)).to_have_attribute("data-status", "enriched")


def test_4_a_reload_finds_the_run(visit: Open, partsheet: Stage) -> None:
    """Banner and lines are back where they were, and go on to the end."""
    buyer = visit()
    buyer.add(30)
    buyer.enrich()
    buyer.reached(4)
    with standing_still(partsheet):
        buyer.page.reload()
        buyer.in_state("running")
        buyer.reached(4)
        expect(buyer.line(4)).to_have_attribute("data-status", "enriched")
        expect(buyer.banner).to_contain_text("Live")
    buyer.in_state("completed")
    expect(buyer.page.locator("tr[data-status=enriched]")).to_have_count(30)


def test_6_the_hub_is_killed_in_the_middle(visit: Open, partsheet: Stage) -> None:
    """Nothing on the screen is lost meanwhile, and it says so; then the run goes on to its end, every line found."""
    buyer = visit()
    buyer.expect("net::ERR_")
    buyer.add(30)
    buyer.enrich()
    buyer.reached(4)
    partsheet.hold_hub_back(True)
    partsheet.kill_hub()
    expect(buyer.banner).to_contain_text("Reconnecting…")
    buyer.reached(4)
    partsheet.hold_hub_back(False)
    expect(buyer.banner.get_by_text("Live").or_(buyer.banner.get_by_role("link", name="Download CSV"))).to_be_visible()
    buyer.in_state("completed")
    expect(buyer.page.locator("tr[data-status=enriched]")).to_have_count(30)


def test_where_streams_are_forbidden_it_polls(arrive: Open, partsheet: Stage) -> None:
    """A proxy lets no stream through: the banner says that it polls, and comes to the end all the same."""
    proxy = FaultProxy(partsheet.port, path="/bom")
    try:
        buyer = arrive(partsheet, proxy.url)
        buyer.expect("403")
        buyer.sign_in()
        buyer.add(30)
        proxy.turn("forbid")
        with standing_still(partsheet):
            buyer.enrich()
            expect(buyer.banner).to_contain_text("Polling", timeout=30_000)
        expect(buyer.banner).to_have_attribute("data-state", "completed", timeout=30_000)
        expect(buyer.page.locator("tr[data-status=enriched]")).to_have_count(30)
        buyer.page.close()
    finally:
        proxy.close()


def test_a_token_that_is_refused_is_replaced(visit: Open) -> None:
    """The page's token is good for nothing any more: it asks for another one, and nobody notices."""
    buyer = visit()
    buyer.expect("401")
    buyer.add()

    def spoil(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=re.sub(r'"token": "[^"]+"', '"token": "a.b.c"', answer.text()))

    buyer.page.route(re.compile(r"/bom/\?bom="), spoil)
    buyer.page.reload()
    with buyer.page.expect_response("**/session") as renewed:
        buyer.enrich(speed="Full speed")
    assert renewed.value.status == 200
    buyer.in_state("completed")
    expect(buyer.line(12)).to_have_attribute("data-status", "enriched")


def test_8_a_run_that_has_ended_already(visit: Open) -> None:
    """In a browser that sees it for the first time: its success, its lines, its file."""
    buyer = visit()
    buyer.add()
    buyer.enrich(speed="Full speed")
    buyer.in_state("completed")
    elsewhere = visit(storage_state={"cookies": buyer.context.cookies(), "origins": []})
    assert elsewhere.id == buyer.id
    elsewhere.in_state("completed")
    expect(elsewhere.banner).to_contain_text("12 of 12 enriched")
    expect(elsewhere.line(12)).to_have_attribute("data-status", "enriched")


def test_it_connects_only_once_there_is_a_run(visit: Open) -> None:
    """A page without a run asks the hub nothing, also after a reload; the first run makes it connect."""
    buyer = visit()
    asked = hub_requests(buyer.page)
    buyer.add()
    buyer.page.reload()
    expect(buyer.line(12)).to_have_attribute("data-status", "waiting")
    buyer.page.get_by_label("Slow").check()
    assert asked == []
    buyer.enrich(speed="Full speed")
    buyer.in_state("completed")
    assert [url for url in asked if "/api/stream" in url]


def test_4_8_the_next_attempt_begins_at_nothing(visit: Open, partsheet: Stage) -> None:
    """From the click on, the end of the run before is not seen any more; the counts begin at 0 and never go back. A
    second tab goes along.
    """
    buyer = visit()
    buyer.add(30)
    buyer.enrich(speed="Full speed")
    buyer.in_state("completed")
    second = buyer.context.new_page()
    second.goto(buyer.page.url)
    expect(second.locator(".banner")).to_have_attribute("data-state", "completed")
    buyer.page.evaluate(WATCH)
    buyer.enrich(button="Re-enrich")
    buyer.reached(1)
    with standing_still(partsheet):
        expect(second.locator(".banner")).to_have_attribute("data-state", "running")
    buyer.in_state("completed")
    expect(buyer.banner).to_contain_text("30 of 30 enriched")
    everything = buyer.page.evaluate("shown")
    shown = everything[next(at for at, line in enumerate(everything) if line.startswith("queued")) :]
    states = [line.partition(" ")[0] for line in shown]
    assert list(dict.fromkeys(states)) == ["queued", "running", "completed"], shown
    assert states == sorted(states, key=["queued", "running", "completed"].index), shown
    counts = [int(re.search(r"(\d+) of", line)[1]) for line in shown]  # type: ignore[index]
    assert counts == sorted(counts), shown
    assert counts[0] == 0
    expect(second.locator(".banner")).to_have_attribute("data-state", "completed")
    expect(second.locator("tr[data-status=enriched]")).to_have_count(30)


def test_two_organisations_are_apart(visit: Open, partsheet: Stage) -> None:
    """What somebody has in the one is not there in the other, even under the same id; a second tab changes over with
    the first, and coming back all of it is there again.
    """
    buyer = visit()
    buyer.add()
    buyer.enrich(speed="Full speed")
    buyer.in_state("completed")
    bom, asked = buyer.bom, hub_requests(buyer.page)
    second = buyer.context.new_page()
    second.goto(buyer.page.url)
    expect(second.locator(".banner")).to_have_attribute("data-state", "completed")
    buyer.sign_in(HARBOR)
    expect(buyer.page.get_by_role("heading", name="Add a bill of materials")).to_be_visible()
    expect(buyer.page.locator(".lines")).to_have_count(0)
    expect(second.locator(".lines")).to_have_count(0)
    assert buyer.page.request.get(f"{partsheet.url}/api/jobs/{bom}").status == 404
    partsheet.milepost("bom-harbor").start_job(bom, title="The same id", kind="enrichment", owner=buyer.id)
    buyer.page.goto(f"{partsheet.url}/?bom={bom}")
    expect(buyer.page.get_by_role("heading", name="Add a bill of materials")).to_be_visible()
    assert asked == []
    buyer.sign_in(NORTHWIND)
    buyer.in_state("completed")
    expect(buyer.banner).to_contain_text("12 of 12 enriched")


def test_an_event_source_reads_the_older_words(visit: Open, partsheet: Stage) -> None:
    """The page that this replaces, unchanged: the browser's own EventSource on the stream of the enrichment."""
    buyer = visit()
    buyer.add()
    with standing_still(partsheet):
        buyer.enrich()
        buyer.in_state("queued")
        buyer.page.evaluate(
            """url => {
              window.heard = [];
              const source = new EventSource(url);
              for (const name of ['connected', 'enrichment.started', 'progress', 'enrichment.completed', 'stream_end'])
                source.addEventListener(name, ({ data }) => {
                  heard.push([name, JSON.parse(data)]);
                  if (name === 'stream_end') source.close();
                });
            }""",
            f"{partsheet.url}/api/enrichment/stream/{buyer.bom}",
        )
        buyer.page.wait_for_function("() => heard.length > 0")
    buyer.page.wait_for_function("() => heard.at(-1)[0] === 'stream_end'")
    heard = buyer.page.evaluate("heard")
    names = [name for name, _ in heard]
    assert names[0] == "connected"
    assert names[-2:] == ["enrichment.completed", "stream_end"]
    assert heard[-2][1]["enriched_items"] == 12
    assert "progress" in names


def test_a_bad_file_changes_nothing(visit: Open) -> None:
    """Its faults are listed, where the focus then is; what was open stays open."""
    buyer = visit()
    buyer.expect("422")
    buyer.add()
    buyer.page.get_by_role("button", name="One with mistakes").click()
    problems = buyer.page.get_by_role("alert")
    expect(problems.get_by_role("listitem")).to_have_count(3)
    expect(problems).to_contain_text("Line 3: the quantity “four” is not a whole number.")
    expect(problems).to_be_focused()
    expect(buyer.page.get_by_role("heading", name="motor-driver")).to_be_visible()
    expect(buyer.line(12)).to_be_visible()


# --- for everybody ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", LOOKS)
def test_axe_finds_nothing(browser: Browser, partsheet: Stage, scheme: str) -> None:
    """In any state of the page, wide and at 320 px, where nothing is scrolled sideways."""
    buyer = Buyer(browser, f"{partsheet.url}/", {}, viewport=DESK, reduced_motion="reduce", **LOOKS[scheme])
    buyer.expect("422")
    page = buyer.page

    def check(state: str) -> None:
        buyer.picture(f"bom-{state}-{scheme}")
        for size in (NARROW, DESK):
            page.set_viewport_size(size)
            assert buyer.faults() == [], (state, size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], state

    check("sign-in")
    buyer.sign_in()
    check("empty")
    buyer.upload("mixed", MIXED)
    check("ready")
    buyer.enrich()
    buyer.reached(2)
    with standing_still(partsheet):
        check("running")
    buyer.in_state("completed")
    check("completed")
    buyer.banner.get_by_role("button", name="Dismiss").click()
    check("dismissed")
    buyer.add()
    buyer.enrich(speed="Full speed", prices="Next quarter’s")
    buyer.in_state("failed")
    page.get_by_role("button", name="One with mistakes").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check("failed")
    buyer.close()
