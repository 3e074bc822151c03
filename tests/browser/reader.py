"""A person in front of the dashboard, and what there is on its pages."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Request, expect

from tests.browser.stage import Stage
from tests.browser.visitor import Person

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
