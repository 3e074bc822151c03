"""``python -m tests.browser.pictures [FOLDER]``: the pictures of README and docs, taken anew into ``docs/images``."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.browser.chromium import CHROMIUM, FLAGS
from tests.browser.stage import Stage, until
from tests.browser.visitor import ROOT, Visitor

# As large as a page of text can show it.
SIZE: Final[ViewportSize] = {"width": 1080, "height": 760}
SCALE: Final = 1.4


def documents(browser: Browser, stage: Stage) -> Page:
    """A job under way, one that is done, news on the bell."""
    visitor = Visitor(browser, f"{stage.origin}/documents/", {}, viewport=SIZE, device_scale_factor=SCALE)
    visitor.generate("letter", "exhibits")
    expect(visitor.card("completed")).to_be_visible()
    visitor.toasts.get_by_role("button", name="Dismiss").click()
    news = {"message": "It is on 4 March 2027, 9:30.", "level": "info"}
    stage.milepost("documents").notify(visitor.id, title="Hearing moved", **news)  # type: ignore[arg-type]
    visitor.generate("complaint", "discovery", "deposition", speed="To watch")
    visitor.page.evaluate("scrollTo(0, 0)")
    until(lambda: visitor.bar.evaluate("bar => bar.value") >= 8, seconds=30)
    return visitor.page


def activity(browser: Browser, stage: Stage) -> Page:
    """A document with its analysis, and its comparison with the version before under way."""
    page = opened(browser, f"{stage.origin}/activity/documents")
    page.get_by_role("button", name="Services agreement", exact=True).click()
    page.get_by_role("button", name="Services agreement, as amended").click()
    page.get_by_label("Full speed").check()
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator("[data-state=completed]").first).to_be_visible(timeout=30_000)
    page.get_by_label("To watch").check()
    page.get_by_role("button", name="Compare").click()
    until(lambda: page.locator("main progress").first.evaluate("bar => bar.position") > 0.3, seconds=30)
    return page


def coaching(browser: Browser, stage: Stage) -> Page:
    """Two coaches: the one has analysed a recording, the other one has heard of it."""
    page = opened(browser, f"{stage.origin}/coaching/side-by-side")
    anna = page.frame_locator("iframe").first
    anna.get_by_label("Full speed").check()
    anna.get_by_role("button", name="Analyse").click()
    expect(anna.locator(".milepost-toast[data-tone=success]")).to_be_visible(timeout=20_000)
    page.wait_for_timeout(1500)  # until the waveform has unfolded
    return page


def traces(browser: Browser, stage: Stage) -> Page:
    """The modal in the middle of an import."""
    page = opened(browser, f"{stage.origin}/traces/")
    page.get_by_role("button", name="Import").click()
    until(lambda: page.locator("dialog progress").evaluate("bar => bar.position") > 0.6, seconds=30)
    return page


def bom(browser: Browser, stage: Stage) -> Page:
    """The banner in the middle of a run, above the parts that are found already."""
    page = opened(browser, f"{stage.origin}/bom/")
    page.get_by_role("button", name="Northwind Instruments").click()
    page.get_by_role("button", name="Sensor board").click()
    page.get_by_role("button", name="Enrich").click()
    expect(page.get_by_role("heading", name="Enriching")).to_contain_text(re.compile("[4-9][0-9] %"), timeout=30_000)
    return page


SCENES: Final[dict[str, Callable[[Browser, Stage], Page]]] = {
    "demo": documents,
    "activity": activity,
    "coaching": coaching,
    "traces": traces,
    "bom": bom,
}


def opened(browser: Browser, url: str) -> Page:
    """A page in a browser that has never been there."""
    page = browser.new_context(viewport=SIZE, device_scale_factor=SCALE).new_page()
    page.goto(url)
    return page


def main() -> None:
    """Takes all of them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        stage = Stage(Path(data))
        try:
            for name, scene in SCENES.items():
                page = scene(browser, stage)
                page.mouse.move(0, 0)
                page.screenshot(path=folder / f"{name}.png")
                page.context.close()
        finally:
            browser.close()
            stage.close()


if __name__ == "__main__":
    main()
