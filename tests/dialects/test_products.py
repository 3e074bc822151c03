"""Each product's page as it is: live, through a kill and a drain of the hub, through an overload, to the job's end."""

from __future__ import annotations

import itertools
import signal
from dataclasses import dataclass
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import until
from tests.dialects.conftest import Visit
from tests.server.process import Client, Server

CLOSED: Final = 2  # EventSource.readyState
PATIENCE: Final = 40_000  # ms: a refused stream is told to come again in up to 11 s, and then may be refused again
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Product:
    """A product whose page follows one job: what its worker says, and what the page then shows."""

    page: str
    kind: str
    begun: dict[str, Any]
    steps: tuple[tuple[dict[str, Any], str], ...]
    result: dict[str, Any]
    done: str


DOCUMENTS = Product(
    "document",
    "document",
    {},
    (
        ({"message": "Reading the case"}, "Reading the case …"),
        ({"current": 5, "total": 32, "message": "Generating SROGS 1/3"}, "Generating SROGS 1/3 5/32"),
        ({"current": 9, "message": "Generating SROGS 2/3"}, "Generating SROGS 2/3 9/32"),
        ({"current": 17, "message": "Generating SROGS 3/3"}, "Generating SROGS 3/3 17/32"),
    ),
    {"output_url": "/files/case.zip"},
    "32 documents: download",
)
TRACES = Product(
    "import",
    "import",
    {"total": 8},
    (
        ({"current": 1}, "running 12.5 %"),
        ({"current": 2}, "running 25 %"),
        ({"current": 4}, "running 50 %"),
        ({"current": 6}, "running 75 %"),
    ),
    {"result": {"rows": 200}},
    "200 rows",
)
BOM = Product(
    "enrichment",
    "enrichment",
    {"total": 120},
    (
        ({"current": 1, "counters": {"enriched": 1}, "item": {"name": "LM317", "status": "enriched", "message": ""}},
         "1 of 120, 0 wrong LM317: enriched"),
        ({"current": 2, "counters": {"error": 1}, "item": {"name": "NE555", "status": "error", "message": "none"}},
         "2 of 120, 1 wrong NE555: error"),
        ({"current": 3, "item": {"name": "BC547", "status": "processing", "message": ""}},
         "3 of 120, 1 wrong BC547: processing"),
        ({"current": 119, "counters": {"enriched": 118}, "item": None}, "119 of 120, 1 wrong"),
    ),
    {"result": {"file": "bom.csv"}},
    "118 enriched, 1 wrong: bom.csv",
)  # fmt: skip
PRODUCTS = [pytest.param(one, id=one.page) for one in (DOCUMENTS, TRACES, BOM)]


class Following:
    """A page that follows a job of its own."""

    def __init__(self, visit: Visit, who: Client, product: Product) -> None:
        self.who, self.product = who, product
        self.job = f"{product.page}-{next(_numbers)}"
        who.job(self.job, kind=product.kind, **product.begun)
        self.asked: list[str] = []
        self.page: Page = visit(product.page, who, self.asked, id=self.job, token=who.token)

    def step(self, number: int) -> None:
        """The worker goes on, and the page shows it."""
        said, shown = self.product.steps[number]
        self.who.patch(f"/jobs/{self.job}", said)
        self.shows(shown)

    def finish(self) -> None:
        """The job does its last step and is done, the page shows it, and its stream is over for good."""
        self.step(-1)
        self.who.post(f"/jobs/{self.job}/complete", self.product.result)
        self.shows(self.product.done)
        until(lambda: self.state == CLOSED, what="the page has closed its stream")

    def shows(self, text: str) -> None:
        """What stands on the page, in the end."""
        expect(self.page.locator("body")).to_have_text(text, timeout=PATIENCE)

    @property
    def state(self) -> int:
        """The ``readyState`` of the page's EventSource."""
        state: int = self.page.evaluate("source.readyState")
        return state


@pytest.mark.parametrize("product", PRODUCTS)
def test_live(server: Server, visit: Visit, product: Product) -> None:
    """Products D, T and E follow a job from its start to its result; then the stream is closed for good."""
    page = Following(visit, server.someone(), product)
    for number in range(3):
        page.step(number)
    page.finish()
    assert len(page.asked) == 1


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_hub_that_is_killed_and_one_that_is_drained(server: Server, visit: Visit, product: Product) -> None:
    """A page comes back by itself after kill -9 of the hub, and after an orderly stop, and ends right."""
    page = Following(visit, server.someone(), product)
    page.step(0)
    for number, how in ((1, signal.SIGKILL), (2, signal.SIGTERM)):
        server.signal(how)
        server.wait(30)
        until(lambda: page.state != 1, what="the stream is lost")
        assert page.state != CLOSED
        server.start()
        page.step(number)
    page.finish()


@pytest.mark.parametrize("product", PRODUCTS)
def test_an_overload(server: Server, visit: Visit, product: Product) -> None:
    """A page that is refused for lack of room asks again, as often as it takes, and then shows what is."""
    who = server.someone(f"u{next(_numbers)}", "one-stream")
    with who.stream():
        page = Following(visit, who, product)
        until(lambda: page.page.evaluate("1") and page.asked[1:], seconds=PATIENCE / 1000, what="it asked again")
        assert page.state != CLOSED
    page.step(0)
    page.step(1)
    page.finish()


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_page_that_never_closes(server: Server, visit: Visit, product: Product) -> None:
    """An EventSource that nobody closes asks once more when its job has ended, is answered 204, and stops for good."""
    who = server.someone()
    job = f"{product.page}-{next(_numbers)}"
    who.job(job, kind=product.kind, **product.begun)
    path = f"/api/enrichment/stream/{job}" if product is BOM else f"/api/jobs/{job}/stream"
    page = visit("stubborn", who, stream=path)
    until(lambda: page.evaluate("source.readyState") == 1, what="it is open")
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(answer.status))
    who.post(f"/jobs/{job}/fail", {"code": "UNEXPECTED"})
    until(lambda: page.evaluate("source.readyState") == CLOSED, seconds=PATIENCE / 1000, what="it is closed")
    assert answers == [204]


def test_a_job_that_fails(server: Server, visit: Visit) -> None:
    """Each page shows the error in its own words."""
    who = server.someone()
    for product, shown in (
        (DOCUMENTS, "TEMPLATE_ERROR: no such field"),
        (TRACES, "no such field (line 3)"),
        (BOM, "no such field"),
    ):
        page = Following(visit, who, product)
        page.step(0)
        who.post(f"/jobs/{page.job}/fail", {"code": "TEMPLATE_ERROR", "message": "no such field", "details": "line 3"})
        expect(page.page.locator("body")).to_contain_text(shown)
        until(lambda page=page: page.state == CLOSED, what="the page has closed its stream")  # type: ignore[misc]


def test_coaching(server: Server, visit: Visit) -> None:
    """Product C: old news is not told; each new notification is one toast and one more on the bell, and the page comes
    back after a kill and a drain of the hub with what happened meanwhile, once.
    """
    who = server.someone(f"u{next(_numbers)}")
    who.notify(title="Old news")
    page = visit("coaching", who)
    toasts, badge = page.locator("#toasts li"), page.locator("#badge")
    expect(page.locator("#alive")).to_have_text(who.user)
    ready: dict[str, Any] = {
        "message": "Your audio is ready",
        "level": "success",
        "context": {"related_session_id": "s9"},
    }
    who.notify(title="Transcription Complete", **ready)
    expect(toasts).to_have_text(["Transcription Complete: Your audio is ready (s9)"])
    expect(toasts).to_have_class(["success"])
    for number, how in ((2, signal.SIGKILL), (3, signal.SIGTERM)):
        server.signal(how)
        server.wait(30)
        until(lambda: page.evaluate("source.readyState") == 0, what="it is trying again")
        server.start()
        who.notify(title=f"News {number}", message="while nobody listened")
        expect(badge).to_have_text(str(number), timeout=PATIENCE)
    who.post("/notifications/read-all")
    who.notify(title="The last")
    expect(badge).to_have_text("4")
    expect(toasts.last).to_have_text("The last: ")


def test_coaching_before_the_first_notification(server: Server, visit: Visit) -> None:
    """Product C: a page that was told nothing yet misses nothing either while the hub is down."""
    who = server.someone(f"u{next(_numbers)}")
    who.notify(title="Old news")
    page = visit("coaching", who)
    expect(page.locator("#alive")).to_have_text(who.user)
    server.signal(signal.SIGKILL)
    server.wait(30)
    server.start()
    who.notify(title="News", message="while nobody listened")
    expect(page.locator("#toasts li")).to_have_text(["News: while nobody listened"], timeout=PATIENCE)


def test_coaching_overload(server: Server, visit: Visit) -> None:
    """Product C: a page that is refused for lack of room asks again until there is some."""
    who = server.someone(f"u{next(_numbers)}", "one-stream")
    with who.stream():
        asked: list[str] = []
        page = visit("coaching", who, asked)
        until(lambda: page.evaluate("1") and asked[1:], seconds=PATIENCE / 1000, what="it asked again")
        assert page.evaluate("source.readyState") != CLOSED
    expect(page.locator("#alive")).to_have_text(who.user, timeout=PATIENCE)
    who.notify(title="News")
    expect(page.locator("#badge")).to_have_text("1")


def test_activity(server: Server, visit: Visit) -> None:
    """Product A: polling by the newest id shows each notification once, in order, through a restart of the hub."""
    who = server.someone(f"u{next(_numbers)}", "dashboard")
    page = visit("activity", who)
    toasts = page.locator("#toasts li")
    who.notify(title="Signed", message="The contract was signed", href="/documents/d7", level="success")
    expect(toasts).to_have_text(["The contract was signed"])
    expect(toasts.locator("a")).to_have_attribute("href", "/documents/d7")
    server.signal(signal.SIGKILL)
    server.wait(30)
    server.start()
    for number in range(60):  # more than one answer holds
        who.notify(title=f"News {number}")
    expect(toasts).to_have_text(["The contract was signed", *(f"News {number}" for number in range(60))])
