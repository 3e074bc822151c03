"""A coach in front of Soundboard: in a browser of its own, or on one of two seats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import Browser, FrameLocator, Locator, Page, Request, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Person

NAMES = {"anna": "Anna Lindqvist", "ben": "Ben Okafor", "carla": "Carla Moreno"}


class Seat:
    """One coach in front of the page, or of a frame with it."""

    def __init__(self, place: Page | FrameLocator) -> None:
        self._place = place

    @property
    def toasts(self) -> Locator:
        """All toasts."""
        return self._place.locator(".milepost-toast")

    @property
    def badge(self) -> Locator:
        """The number on the bell."""
        return self._place.locator(".milepost-badge")

    @property
    def result(self) -> Locator:
        """The recording that is open."""
        return self._place.locator(".result")

    @property
    def rows(self) -> Locator:
        """The list of recordings."""
        return self._place.locator(".recording")

    def sign_in(self, coach: str) -> None:
        """Choose an account and wait until it is connected."""
        self._place.get_by_role("button", name=NAMES[coach]).click()
        self.connected()

    def connected(self) -> None:
        """Wait until it is."""
        expect(self._place.locator(".live")).to_have_text("Live")

    def analyse(self, sample: str = "A session", *, speed: str = "Full speed") -> None:
        """Choose a sample and a speed, and send them."""
        self._place.get_by_label(sample).check()
        self._place.get_by_label(speed).check()
        self._place.get_by_role("button", name="Analyse").click()

    def unread(self) -> int:
        """The number on the bell as it is now: the accounts are the same in all tests."""
        return int(self.badge.inner_text() or 0)

    def show_inbox(self) -> Locator:
        """Open the inbox as a page; its rows."""
        self._place.get_by_role("button", name="Inbox").click()
        return self._place.get_by_role("region", name="Notifications").get_by_role("listitem")


class Coach(Person, Seat):
    """A browser of its own."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.streams: list[Request] = []
        Person.__init__(self, browser, url, {}, **context)
        Seat.__init__(self, self.page)

    def tab(self) -> Page:
        """One more tab; nobody is signed in there yet."""
        page = self.context.new_page()
        page.on("request", lambda request: self.streams.append(request) if "/api/stream" in request.url else None)
        page.goto(self.url)
        return page


Come = Callable[..., Coach]


def coming(soundboard: Stage, browser: Browser, **how: Any) -> Iterator[Come]:
    """What a fixture ``come`` gives: opens the page as somebody new, and signs a coach in."""
    coaches: list[Coach] = []

    def come(name: str = "", *, at: str = "/", **context: Any) -> Coach:
        coaches.append(Coach(browser, f"{soundboard.url}{at}", **how, **context))
        if name:
            coaches[-1].sign_in(name)
        return coaches[-1]

    yield come
    for coach in coaches:
        coach.close()
