"""A person in front of a page, in a real Chromium, and what must never be seen there."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response, ViewportSize, expect

ROOT = Path(__file__).parents[2]
AXE = (ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCREENSHOTS = os.environ.get("MILEPOST_SCREENSHOTS")
# The colours that a person's system asks for: options of a browser's context.
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "forced": {"forced_colors": "active"},
}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}

# The page's client with other options: `client` of the window, so that a test can ask it too.
_OPTIONS = """
(() => {
  if ('Milepost' in window) return; // a tab that a page opened may have run its own scripts before this
  let milepost;
  Object.defineProperty(window, 'Milepost', {
    configurable: true,
    get: () => milepost,
    set(real) {
      const createClient = (options) => (window.client = real.createClient({ ...options, ...OPTIONS }));
      milepost = { ...real, createClient };
    },
  });
})();
"""


def with_options(options: dict[str, Any]) -> str:
    """What is to run in a page before its own scripts, so that its client has these options too."""
    return _OPTIONS.replace("OPTIONS", json.dumps(options))


class Person:
    """One person's browser: a profile of its own, any number of tabs. All that goes wrong in it is kept."""

    def __init__(
        self, browser: Browser, url: str, options: dict[str, Any], *, script: Path | None = None, **context: Any
    ) -> None:
        """``script``: what runs in place of the page's own ``main.js``."""
        self.url = url
        self.context = browser.new_context(**context)
        self.context.add_init_script(with_options(options))
        if script:
            self.context.route("**/main.js", lambda route: route.fulfill(path=script, content_type="text/javascript"))
        self._noise: list[str] = []
        self._expected: list[str] = []
        self.context.on("console", self._heard)
        self.context.on("weberror", lambda error: self._noise.append(str(error.error)))
        self.context.on("response", self._answered)
        self.page = self.tab()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._noise.append(f"{message.text} {message.location['url']}")

    def _answered(self, answer: Response) -> None:
        if answer.status >= 500:
            self._noise.append(f"{answer.status} {answer.url}")

    def expect(self, *noise: str) -> None:
        """What a test provokes, as patterns: the browser itself writes every failed request to the console."""
        self._expected += noise

    def close(self) -> None:
        """Leave. Nothing was logged, thrown or answered with a 5xx but what the test expected."""
        self.context.close()
        heard = [noise for noise in self._noise if not any(re.search(one, noise) for one in self._expected)]
        assert heard == [], heard

    # --- what there is on the page ----------------------------------------------------------------------------------

    def tab(self) -> Page:
        """One more tab."""
        page = self.context.new_page()
        page.goto(self.url)
        return page

    @property
    def toasts(self) -> Locator:
        """All toasts."""
        return self.page.locator(".milepost-toast")

    def toast(self, text: str, tone: str = "") -> Locator:
        """The toast with this text in it, of this tone."""
        return self.page.locator(f".milepost-toast{f'[data-tone={tone}]' if tone else ''}").filter(has_text=text)

    @property
    def bar(self) -> Locator:
        """The bar of the toast."""
        return self.toasts.locator("progress")

    # --- looking ----------------------------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """What axe finds wrong with the page as it is."""
        self.page.evaluate(AXE)
        found = self.page.evaluate("tags => axe.run(document, {runOnly: tags})", RULES)
        return [f"{rule['id']}: {node['html'][:160]}" for rule in found["violations"] for node in rule["nodes"]]

    def picture(self, name: str) -> None:
        """Save what is on the screen, here and on a phone, where ``MILEPOST_SCREENSHOTS`` names a folder for it."""
        if not SCREENSHOTS:
            return
        size = self.page.viewport_size
        assert size
        self.page.screenshot(path=f"{SCREENSHOTS}/{name}.png")
        self.page.set_viewport_size(PHONE)
        self.page.screenshot(path=f"{SCREENSHOTS}/{name}-phone.png")
        self.page.set_viewport_size(size)


class Visitor(Person):
    """A person in front of the page of ``documents``."""

    @property
    def id(self) -> str:
        """Who this is to the hub."""
        return self.page.locator("body").get_attribute("data-visitor") or ""

    def card(self, state: str) -> Locator:
        """The jobs of this state in the page's own list."""
        return self.page.locator(f".job[data-state={state}]")

    @property
    def notice(self) -> Locator:
        """What the page says about its connection."""
        return self.page.locator("#connection")

    def generate(self, *kinds: str, speed: str = "Full speed", broken: bool = False) -> None:
        """Choose just these documents and a speed, and send the form."""
        chosen = {*kinds, "custom"} if broken else set(kinds)
        for box in self.page.locator("[name=kinds]").all():
            box.set_checked(box.get_attribute("value") in chosen)
        if broken:
            self.page.get_by_role("button", name="One with a mistake").click()
            template = self.page.get_by_label("Your template")
            expect(template).not_to_be_empty()
        self.page.get_by_label(speed).check()
        self.page.get_by_role("button", name="Generate documents").click()

    def open_inbox(self) -> None:
        """Click on the bell."""
        self.page.locator("#bell button").first.click()
