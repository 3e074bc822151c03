"""The bom example: a banner in React, 19 and 18, that follows one run of a bill of materials, and the next one."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from tests.browser.react import ScriptOf
from tests.browser.stage import Stage, until
from tests.browser.visitor import Person
from tests.engines.redis_server import RedisServer, running_redis

DESK: Final[ViewportSize] = {"width": 1280, "height": 900}
NARROW: Final[ViewportSize] = {"width": 320, "height": 800}
NORTHWIND, HARBOR = "Northwind Instruments", "Harbor Robotics"

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


class Buyer(Person):
    """A person in front of the page, who is signed in where ``sign_in`` says."""

    @property
    def id(self) -> str:
        """Who this is to the hub."""
        return self.page.locator("body").get_attribute("data-visitor") or ""

    @property
    def bom(self) -> str:
        """The id of the bill of materials that is open."""
        return self.page.url.partition("bom=")[2]

    @property
    def banner(self) -> Locator:
        """The banner of its run."""
        return self.page.get_by_role("region", name="Enrichment", exact=True)

    def line(self, number: int) -> Locator:
        """A line of the table."""
        return self.page.locator(f"tr[data-line='{number}']")

    def sign_in(self, organization: str = NORTHWIND) -> None:
        """Into an organisation, or from the one into the other."""
        self.page.get_by_role("button", name=organization).click()
        current = self.page.locator(".switch [aria-current]")
        expect(current).to_have_text(re.compile(organization.replace(" ", r"\s+")))

    def add(self, parts: int = 0, *, sample: str = "Motor driver") -> None:
        """A sample, or a file of one's own with so many parts."""
        if parts:
            rows = "".join(f"U{n},NE555D,{n}\n" for n in range(1, parts + 1))
            file = {"name": f"{parts} parts.csv", "mimeType": "text/csv", "buffer": f"ref,mpn,qty\n{rows}".encode()}
            self.page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type] # a FilePayload
            expect(self.page.get_by_role("heading", name=f"{parts} parts")).to_be_visible()
        else:
            self.page.get_by_role("button", name=sample).click()
        expect(self.line(1)).to_be_visible()

    def enrich(self, *, speed: str = "To watch", prices: str = "Today’s", button: str = "Enrich") -> None:
        """Begin a run."""
        self.page.get_by_label(speed).check()
        self.page.get_by_label(prices).check()
        self.page.get_by_role("button", name=button, exact=True).click()

    def in_state(self, state: str) -> None:
        """Waits until the banner says so."""
        expect(self.banner).to_have_attribute("data-state", state)

    def reached(self, parts: int) -> None:
        """Waits until so many parts were looked up."""
        self.page.wait_for_function(
            "at => document.querySelector('.banner [role=progressbar]')?.ariaValueNow >= at", arg=parts
        )


Open = Callable[..., Buyer]


@pytest.fixture(name="partsheet", scope="module")
def fixture_partsheet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The example, for the tests of this file. It ends as it should, and nothing went wrong inside it."""
    stage = Stage(tmp_path_factory.mktemp("bom"), "bom", BOM_REDIS_URL="")
    yield stage
    stage.close()
    assert "Traceback" not in stage.log, stage.log


@pytest.fixture(name="arrive")
def fixture_arrive(browser: Browser, script_of: ScriptOf) -> Iterator[Open]:
    """Somebody who has never been there, with the React that the test is for."""
    people: list[Buyer] = []

    def arrive(stage: Stage, **context: Any) -> Buyer:
        people.append(Buyer(browser, f"{stage.url}/", {}, script=script_of("bom"), **context))
        return people[-1]

    yield arrive
    for person in people:
        person.close()


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


def test_1_a_run_from_its_beginning_to_its_end(visit: Open) -> None:
    """Percent, counts, the part it is at, the forecast and the connection, each line as it is found, and at the end
    summary and file, until they are dismissed. It is said aloud at its start, at each quarter and at its end.
    """
    buyer = visit()
    buyer.add()
    expect(buyer.banner).to_contain_text("12 parts, not enriched yet")
    buyer.page.evaluate(WATCH)
    buyer.enrich()
    buyer.in_state("running")
    expect(buyer.banner).to_contain_text("Live")
    expect(buyer.banner.locator(".banner-item")).to_contain_text(re.compile(r"[A-Z0-9]+.*(in stock|Looking it up…)"))
    buyer.reached(3)
    expect(buyer.line(1)).to_have_attribute("data-status", "enriched")
    expect(buyer.line(1)).to_contain_text("Kestrel Devices")
    expect(buyer.line(12)).to_have_attribute("data-status", "waiting")
    expect(buyer.page).to_have_title(re.compile(r"^\d+ % · motor-driver$"))
    buyer.in_state("completed")
    expect(buyer.banner).to_contain_text("12 of 12 enriched")
    expect(buyer.banner).to_contain_text("€ 15.47 a board")
    expect(buyer.line(12)).to_have_attribute("data-status", "enriched")
    expect(buyer.page).not_to_have_title(re.compile("%"))
    said = buyer.page.evaluate("said")
    assert said[-1] == "Enrichment completed: 12 enriched, 0 errors."
    assert len(said) <= 6
    with buyer.page.expect_download() as download:
        buyer.banner.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "motor-driver-enriched.csv"
    assert len(download.value.path().read_text().splitlines()) == 13
    buyer.banner.get_by_role("button", name="Dismiss").click()
    expect(buyer.banner).to_contain_text("12 parts enriched")
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


def test_4_a_reload_finds_the_run(visit: Open) -> None:
    """Banner and lines are back where they were, and go on to the end."""
    buyer = visit()
    buyer.add(30)
    buyer.enrich()
    buyer.reached(4)
    buyer.page.reload()
    buyer.in_state("running")
    buyer.reached(4)
    expect(buyer.line(4)).to_have_attribute("data-status", "enriched")
    expect(buyer.banner).to_contain_text("Live")
    expect(buyer.banner).to_contain_text(re.compile(r"(few seconds|about \d+ s) left"))
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


def test_4_8_the_next_attempt_begins_at_nothing(visit: Open) -> None:
    """From the click on, the end of the run before is not seen any more; the counts begin at 0 and never go back. A
    second tab goes along.
    """
    buyer = visit()
    buyer.add()
    buyer.enrich(speed="Full speed")
    buyer.in_state("completed")
    second = buyer.context.new_page()
    second.goto(buyer.page.url)
    expect(second.locator(".banner")).to_have_attribute("data-state", "completed")
    buyer.page.evaluate(WATCH)
    buyer.enrich(button="Re-enrich")
    expect(second.locator(".banner")).to_have_attribute("data-state", "running")
    buyer.in_state("completed")
    expect(buyer.banner).to_contain_text("12 of 12 enriched")
    everything = buyer.page.evaluate("shown")
    shown = everything[next(at for at, line in enumerate(everything) if line.startswith("queued")) :]
    states = [line.partition(" ")[0] for line in shown]
    assert list(dict.fromkeys(states)) == ["queued", "running", "completed"], shown
    assert states == sorted(states, key=["queued", "running", "completed"].index), shown
    counts = [int(re.search(r"(\d+) of", line)[1]) for line in shown]  # type: ignore[index]
    assert counts == sorted(counts), shown
    assert counts[0] == 0
    expect(second.locator(".banner")).to_have_attribute("data-state", "completed")
    expect(second.locator("tr[data-status=enriched]")).to_have_count(12)


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
    buyer.enrich()
    heard = buyer.page.evaluate(
        """url => new Promise((resolve) => {
          const heard = [];
          const source = new EventSource(url);
          for (const name of ['connected', 'enrichment.started', 'progress', 'enrichment.completed', 'stream_end'])
            source.addEventListener(name, ({ data }) => {
              heard.push([name, JSON.parse(data)]);
              if (name === 'stream_end') source.close(), resolve(heard);
            });
        })""",
        f"{partsheet.url}/api/enrichment/stream/{buyer.bom}",
    )
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


# --- over the Redis --------------------------------------------------------------------------------------------------


@pytest.fixture(name="redis", scope="module")
def fixture_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis."""
    with running_redis(tmp_path_factory.mktemp("bom-redis")) as server:
        yield server


@pytest.fixture(name="bridged", scope="module")
def fixture_bridged(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Stage]:
    """The example, whose worker publishes on that Redis."""
    stage = Stage(tmp_path_factory.mktemp("bridged"), "bom", BOM_REDIS_URL=redis.url)
    until(lambda: redis.do("PUBSUB", "NUMPAT") == 1, what="the bridge subscribes")
    yield stage
    stage.close()
    assert "Traceback" not in stage.log, stage.log


def test_4_7_redis_cli_drives_the_banner(arrive: Open, bridged: Stage, redis: RedisServer) -> None:
    """First the example's worker, which publishes and knows nothing of Milepost; then a person with ``redis-cli``, who
    takes the banner through another run, to its completion.
    """
    buyer = arrive(bridged)
    buyer.sign_in()
    buyer.add()
    buyer.enrich()
    buyer.in_state("running")
    buyer.in_state("completed")
    expect(buyer.banner).to_contain_text("€ 15.47 a board")
    expect(buyer.line(12)).to_have_attribute("data-status", "enriched")

    about = {"bom_id": buyer.bom, "bom_name": "By hand", "organization_id": "bom-northwind", "user_id": buyer.id}

    def publish(event: str, **data: Any) -> None:
        message = json.dumps({"event": event, "data": {**about, "total_items": 40, **data}})
        command = ["redis-cli", "-p", str(redis.port), "PUBLISH", f"enrichment:bom:{buyer.bom}", message]
        heard = subprocess.run(command, capture_output=True, text=True, check=True)
        assert heard.stdout.strip() == "1"

    publish("enrichment.started")
    buyer.in_state("queued")
    item = {"mpn": "BY-HAND-1", "status": "processing", "message": ""}
    publish("progress", processed_items=10, enriched_items=9, error_items=1, current_item=item)
    buyer.in_state("running")
    expect(buyer.banner).to_contain_text("25 %")
    expect(buyer.banner).to_contain_text("9 of 40 enriched")
    expect(buyer.banner).to_contain_text("1 error")
    expect(buyer.banner).to_contain_text("BY-HAND-1")
    buyer.picture("bom-redis-cli")
    publish("enrichment.completed", processed_items=40, enriched_items=38, error_items=2)
    buyer.in_state("completed")
    expect(buyer.banner).to_contain_text("38 of 40 enriched")
    expect(buyer.banner).to_contain_text("2 errors")


# --- for everybody ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}],
                         ids=["light", "dark", "forced"])  # fmt: skip
def test_axe_finds_nothing(browser: Browser, partsheet: Stage, look: dict[str, Any]) -> None:
    """In any state of the page, wide and at 320 px, where nothing is scrolled sideways."""
    buyer = Buyer(browser, f"{partsheet.url}/", {}, viewport=DESK, reduced_motion="reduce", **look)
    buyer.expect("422")
    page = buyer.page

    def check(state: str) -> None:
        buyer.picture(f"bom-{state}-{'-'.join(look.values())}")
        for size in (NARROW, DESK):
            page.set_viewport_size(size)
            assert buyer.faults() == [], (state, size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], state

    check("sign-in")
    buyer.sign_in()
    check("empty")
    buyer.add(sample="Sensor board")
    check("ready")
    buyer.add()
    buyer.enrich()
    buyer.reached(2)
    partsheet.hold_workers(True)
    try:
        check("running")
    finally:
        partsheet.hold_workers(False)
    buyer.in_state("completed")
    check("completed")
    buyer.banner.get_by_role("button", name="Dismiss").click()
    check("dismissed")
    buyer.enrich(speed="Full speed", prices="Next quarter’s", button="Re-enrich")
    buyer.in_state("failed")
    page.get_by_role("button", name="One with mistakes").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check("failed")
    buyer.close()
