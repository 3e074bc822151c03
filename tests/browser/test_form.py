"""The page's own form: upload, mistakes, keyboard, and a job that another tab ends."""

from __future__ import annotations

import zipfile
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.visitor import ROOT

SAMPLE = ROOT / "examples" / "documents" / "sample"


def test_from_upload_to_download(visit: Visit, tmp_path: Path) -> None:
    """A person uploads a case, sees it in the form, generates, and gets a zip with a file for each document."""
    sample = (SAMPLE / "case.csv").read_text().replace("Elena Reyes", "Ottoline Quist")
    (tmp_path / "mine.csv").write_text(sample)
    visitor = visit()
    page = visitor.page
    page.locator("#case-file").set_input_files(tmp_path / "mine.csv")
    expect(page.get_by_label("Plaintiff")).to_have_value("Ottoline Quist")
    expect(page.locator("#source")).to_contain_text("mine.csv")
    visitor.generate("complaint", "discovery")
    expect(visitor.card("completed")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download zip").click()
    assert len(zipfile.ZipFile(download.value.path()).namelist()) == 4


def test_what_is_wrong_is_said_where_the_visitor_looks(visit: Visit, tmp_path: Path) -> None:
    """A bad file and an incomplete form: the sentences get the focus, and nothing is sent."""
    (tmp_path / "bad.csv").write_text("field,value\ncort,x\n")
    visitor = visit()
    visitor.expect("422")
    page = visitor.page
    problems = page.locator("#problems")
    page.locator("#case-file").set_input_files(tmp_path / "bad.csv")
    expect(problems).to_contain_text("Line 2: unknown field “cort”; did you mean “court”?")
    expect(problems).to_be_focused()
    page.get_by_label("Plaintiff").fill("  ")
    page.get_by_text("Counsel").click()
    page.get_by_label("Attorney").fill("")
    page.get_by_text("Counsel").click()
    visitor.generate("complaint")
    expect(problems.locator("li")).to_have_text(["“Plaintiff” is missing.", "“Attorney” is missing."])
    expect(page.get_by_label("Attorney")).to_be_visible()
    page.get_by_label("Plaintiff").fill("P")
    page.get_by_label("Attorney").fill("A")
    visitor.generate()
    expect(problems.locator("li")).to_have_text(["Choose at least one document."])
    expect(page.locator(".job")).to_have_count(0)
    assert visitor.faults() == []


def test_what_is_cancelled_in_one_tab_is_in_the_other(visit: Visit) -> None:
    """A second tab shows the job that runs; cancelled there, it is cancelled here."""
    visitor = visit()
    visitor.generate("complaint", speed="Slow")
    other = visitor.tab()
    other.get_by_role("button", name="Cancel").first.click()
    expect(other.locator(".job[data-state=cancelled]")).to_be_visible()
    expect(visitor.card("cancelled")).to_be_visible()


def test_the_form_can_be_used_by_keyboard(visit: Visit) -> None:
    """Enter in a field sends the form; nothing that has the focus is hidden behind the bar at the bottom."""
    visitor = visit(viewport={"width": 1280, "height": 700})
    page = visitor.page
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
    page.get_by_label("Full speed").check()
    page.get_by_label("Case number").press("Enter")
    expect(visitor.card("completed")).to_be_visible()


def test_the_same_toasts_by_notyf(visit: Visit) -> None:
    """The switch changes who draws them, in the middle of a job too, and the choice is kept over a reload."""
    visitor = visit()
    visitor.page.get_by_label("Notyf").check()
    visitor.generate("complaint", "discovery", speed="To watch")
    expect(visitor.page.locator(".notyf__toast progress")).to_have_attribute("max", "16")
    assert visitor.faults() == []
    visitor.page.get_by_label("Milepost", exact=True).check()
    expect(visitor.bar).to_have_attribute("max", "16")
    expect(visitor.page.locator(".notyf__toast")).to_have_count(0)
    visitor.page.get_by_label("Notyf").check()
    visitor.page.reload()
    expect(visitor.page.locator(".notyf__toast")).to_contain_text("4 documents")
