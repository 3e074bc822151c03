"""``python -m tests.browser.pictures [FOLDER]``: the README's picture of the page, taken anew into ``docs/images``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.browser.chromium import CHROMIUM, FLAGS
from tests.browser.stage import Stage
from tests.browser.visitor import ROOT, Visitor


def main() -> None:
    """A job under way, one that is done, news on the bell: as large as a page of text can show it."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        casefile = Stage(Path(data), "documents")
        visitor = Visitor(browser, casefile.url, {}, viewport={"width": 1080, "height": 760}, device_scale_factor=1.4)
        visitor.generate("letter", "exhibits")
        expect(visitor.card("completed")).to_be_visible()
        visitor.toasts.get_by_role("button", name="Dismiss").click()
        casefile.notify(visitor.id, "Hearing moved", message="It is on 4 March 2027, 9:30.", level="info")
        visitor.generate("complaint", "discovery", "deposition", speed="To watch")
        visitor.page.evaluate("scrollTo(0, 0)")
        visitor.page.mouse.move(0, 0)
        expect(visitor.bar).to_have_attribute("value", "14", timeout=20_000)
        visitor.page.screenshot(path=folder / "demo.png")
        visitor.close()
        browser.close()
        casefile.close()


if __name__ == "__main__":
    main()
