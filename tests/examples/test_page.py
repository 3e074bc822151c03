"""The page in a real Chromium: what a visitor sees, with real work behind it, and that everybody can use it."""

from __future__ import annotations

import os
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.examples.conftest import EXAMPLE, ROOT, Demo, running, until

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture(name="browser", scope="module")
def fixture_browser() -> Iterator[Browser]:
    """The system's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def page_of(browser: Browser, url: str, *, quiet: bool = True, **context: Any) -> Iterator[Page]:
    """A new visitor's page; with ``quiet``, one on which no error was logged and no answer was a 5xx."""
    visit = browser.new_context(**context)
    page = visit.new_page()
    noise: list[str] = []
    page.on("console", lambda message: noise.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("response", lambda answer: noise.append(answer.url) if answer.status >= 500 else None)
    page.goto(url)
    yield page
    visit.close()
    if quiet:
        assert noise == []


def choose(page: Page, *kinds: str, speed: str = "Full speed") -> None:
    """Chooses just these documents and a speed."""
    for box in page.locator("[name=kinds]").all():
        box.set_checked(box.get_attribute("value") in kinds)
    page.get_by_label(speed).check()


def generate(page: Page) -> None:
    """Sends the form."""
    page.get_by_role("button", name="Generate documents").click()


def faults(page: Page) -> list[str]:
    """What axe finds wrong."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("tags => axe.run(document, {runOnly: tags})", RULES)
    return [f"{rule['id']}: {node['html'][:120]}" for rule in found["violations"] for node in rule["nodes"]]


def cards(page: Page, state: str) -> Any:
    """The cards of jobs in a state."""
    return page.locator(f".job[data-state={state}]")


def test_from_upload_to_download(demo: Demo, browser: Browser, tmp_path: Path) -> None:
    """A person uploads a case, generates, watches the bar become determinate, and gets a zip with that case in it."""
    sample = (EXAMPLE / "sample" / "case.csv").read_text().replace("Elena Reyes", "Ottoline Quist")
    (tmp_path / "mine.csv").write_text(sample)
    with page_of(browser, demo.url) as page:
        page.locator("#case-file").set_input_files(tmp_path / "mine.csv")
        expect(page.get_by_label("Plaintiff")).to_have_value("Ottoline Quist")
        expect(page.locator("#source")).to_contain_text("mine.csv")
        choose(page, "complaint", "discovery", speed="To watch")
        generate(page)
        bar = page.locator(".job progress")
        expect(cards(page, "running")).to_be_visible()
        expect(bar).not_to_have_attribute("value", "0")
        expect(bar).to_have_attribute("max", "16", timeout=10_000)
        expect(page.locator(".job-message")).to_contain_text("Generating SROGS 1/3 (2 of 4)", timeout=15_000)
        expect(cards(page, "completed")).to_be_visible(timeout=15_000)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download zip").click()
        archive = zipfile.ZipFile(download.value.path())
        assert len(archive.namelist()) == 4
        expect(page.locator("#bell")).to_contain_text("1")


def test_what_is_wrong_is_said_where_the_visitor_looks(demo: Demo, browser: Browser, tmp_path: Path) -> None:
    """A bad file and an incomplete form: the sentences get the focus, and nothing is sent."""
    (tmp_path / "bad.csv").write_text("field,value\ncort,x\n")
    with page_of(browser, demo.url, quiet=False) as page:
        page.locator("#case-file").set_input_files(tmp_path / "bad.csv")
        expect(page.locator("#problems")).to_contain_text("Line 2: unknown field “cort”; did you mean “court”?")
        expect(page.locator("#problems")).to_be_focused()
        page.get_by_label("Plaintiff").fill("  ")
        page.get_by_text("Counsel").click()
        page.get_by_label("Attorney").fill("")
        page.get_by_text("Counsel").click()
        generate(page)
        expect(page.locator("#problems li")).to_have_text(["“Plaintiff” is missing.", "“Attorney” is missing."])
        expect(page.get_by_label("Attorney")).to_be_visible()
        choose(page)
        page.get_by_label("Plaintiff").fill("P")
        page.get_by_label("Attorney").fill("A")
        generate(page)
        expect(page.locator("#problems li")).to_have_text(["Choose at least one document."])
        assert page.locator(".job").count() == 0
        assert faults(page) == []


def test_a_template_with_a_mistake(demo: Demo, browser: Browser) -> None:
    """The page offers one: its error stays on the screen, with code and line, until it is dismissed."""
    with page_of(browser, demo.url) as page:
        choose(page, "complaint", "custom")
        page.get_by_role("button", name="One with a mistake").click()
        expect(page.get_by_label("Your template")).to_have_value(
            (EXAMPLE / "sample" / "broken.html").read_text(), timeout=5_000
        )
        generate(page)
        expect(cards(page, "failed")).to_contain_text("custom.html, line 4: unexpected '}'")
        expect(cards(page, "failed")).to_contain_text("TEMPLATE_ERROR")
        expect(page.get_by_role("region", name="Background activity")).to_contain_text("TEMPLATE_ERROR")
        assert faults(page) == []


def test_a_reload_and_a_second_tab_show_the_same(demo: Demo, browser: Browser) -> None:
    """While a job runs, a reloaded page and another tab are back at once; cancelled in one, it is in the other."""
    with page_of(browser, demo.url) as page:
        choose(page, "complaint", speed="Slow")
        generate(page)
        expect(cards(page, "running")).to_be_visible()
        page.reload()
        expect(cards(page, "running")).to_be_visible(timeout=2_000)
        other = page.context.new_page()
        other.goto(demo.url)
        expect(cards(other, "running")).to_be_visible()
        other.get_by_role("button", name="Cancel").first.click()
        expect(cards(other, "cancelled")).to_be_visible()
        expect(cards(page, "cancelled")).to_be_visible()


def test_a_job_that_ended_before_the_first_look(demo: Demo, browser: Browser) -> None:
    """A link to a finished job shows its success and its download."""
    with page_of(browser, demo.url) as page:
        choose(page, "letter")
        generate(page)
        expect(cards(page, "completed")).to_be_visible()
        job_id = page.locator(".job").get_attribute("data-job-id")
        page.evaluate("localStorage.clear()")
        page.goto(f"{demo.url}/?job={job_id}")
        expect(cards(page, "completed")).to_be_visible()
        toast = page.get_by_role("region", name="Background activity")
        expect(toast).to_contain_text("Cover letter")
        expect(toast.get_by_role("link", name="Open result")).to_be_visible()


def test_the_hub_is_killed_and_comes_back(tmp_path: Path, browser: Browser) -> None:
    """Kill -9 in the middle of a job: the page goes on by itself, and the job ends in success."""
    with running(tmp_path / "data") as demo, page_of(browser, demo.url, quiet=False) as page:
        choose(page, "complaint", "discovery", speed="To watch")
        generate(page)
        expect(page.locator(".job-numbers")).to_contain_text("of 16", timeout=10_000)
        before = demo.children("hub")
        os.kill(before[0], signal.SIGKILL)
        until(lambda: set(demo.children("hub")) - set(before))
        expect(cards(page, "completed")).to_be_visible(timeout=20_000)


def test_an_expired_token_is_renewed(tmp_path: Path, browser: Browser) -> None:
    """The hub's token lives for three seconds here: a job longer than that is followed to its end without a word."""
    with running(tmp_path / "data", "--token-seconds", "3") as demo, page_of(browser, demo.url, quiet=False) as page:
        renewed: list[str] = []
        page.on("response", lambda answer: renewed.append(answer.url) if "/session" in answer.url else None)
        choose(page, "complaint", "discovery", "letter", speed="To watch")
        generate(page)
        expect(cards(page, "completed")).to_be_visible(timeout=25_000)
        assert renewed
        expect(page.locator("#bell")).to_contain_text("1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(demo: Demo, browser: Browser, scheme: str) -> None:
    """Axe finds nothing in empty, running, finished and open-inbox states, with all fields unfolded, also at 320 px."""
    with page_of(browser, demo.url, color_scheme=scheme, viewport={"width": 1280, "height": 900}) as page:
        assert faults(page) == []
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        choose(page, "complaint", "custom", speed="Slow")
        page.get_by_role("button", name="A sample").click()
        generate(page)
        expect(cards(page, "running")).to_be_visible()
        assert faults(page) == []
        page.get_by_role("button", name="Cancel").click()
        expect(cards(page, "cancelled")).to_be_visible()
        choose(page, "letter")
        generate(page)
        expect(cards(page, "completed")).to_be_visible()
        page.locator("#bell button").first.click()
        assert faults(page) == []
        page.set_viewport_size({"width": 320, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert faults(page) == []


def test_the_form_can_be_used_by_keyboard(demo: Demo, browser: Browser) -> None:
    """Enter in a field sends the form; nothing that has the focus is hidden behind the bar at the bottom."""
    with page_of(browser, demo.url, viewport={"width": 1280, "height": 700}) as page:
        choose(page, "letter")
        page.get_by_label("Case number").focus()
        for _ in range(30):
            page.keyboard.press("Tab")
            hidden = page.evaluate(
                """() => {
                  const at = document.activeElement, box = at.getBoundingClientRect();
                  if (!box.width || at === document.body || at.closest('.submit, .visually-hidden')) return null;
                  const points = [0.1, 0.5, 0.9].map((part) => [box.left + box.width / 2, box.top + box.height * part]);
                  const seen = points.some(([x, y]) => {
                    const top = document.elementFromPoint(x, y);
                    return top && (at.contains(top) || top.contains(at) || at.labels?.[0]?.contains(top));
                  });
                  return seen ? null : at.outerHTML.slice(0, 80);
                }"""
            )
            assert hidden is None
        page.get_by_label("Case number").press("Enter")
        expect(cards(page, "completed")).to_be_visible()
