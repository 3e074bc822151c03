"""Somebody in front of the page of the bom example."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browser.react import ScriptOf
from tests.browser.stage import Stage
from tests.browser.visitor import Person

NORTHWIND, HARBOR = "Northwind Instruments", "Harbor Robotics"


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
        expect(self.page.locator("#app .page")).to_be_visible()

    def add(self, parts: int = 0, *, sample: str = "Motor driver") -> None:
        """A sample, or a file of one's own with so many parts."""
        if parts:
            self.upload(f"{parts} parts", "ref,mpn,qty\n" + "".join(f"U{n},NE555D,{n}\n" for n in range(1, parts + 1)))
        else:
            self.page.get_by_role("button", name=sample).click()
        expect(self.line(1)).to_be_visible()

    def upload(self, name: str, text: str) -> None:
        """A file of one's own."""
        file = {"name": f"{name}.csv", "mimeType": "text/csv", "buffer": text.encode()}
        self.page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type] # a FilePayload
        expect(self.page.get_by_role("heading", name=name)).to_be_visible()

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


@pytest.fixture(name="arrive")
def fixture_arrive(browser: Browser, script_of: ScriptOf) -> Iterator[Open]:
    """Somebody who has never been there, with the React that the test is for."""
    people: list[Buyer] = []

    def arrive(stage: Stage, url: str = "", **context: Any) -> Buyer:
        people.append(Buyer(browser, f"{url or stage.url}/", {}, script=script_of("bom"), **context))
        return people[-1]

    yield arrive
    for person in people:
        person.close()


@contextmanager
def standing_still(stage: Stage) -> Iterator[None]:
    """The workers do nothing for as long as the block lasts: what is on the screen stays."""
    stage.hold_workers(True)
    try:
        yield
    finally:
        stage.hold_workers(False)
