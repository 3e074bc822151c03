"""The dashboard's pages: they read themselves again when there is news, need no script, and are for everybody."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Open
from tests.browser.reader import SOME, Reader
from tests.browser.stage import Stage, until
from tests.browser.visitor import LOOKS


def test_a_page_is_read_again_at_most_once_in_250_ms(read: Open, docket: Stage) -> None:
    """Thirty notifications in one breath: all are in the feed, and no element was told more often than that."""
    reader = read()
    reader.ready()
    with docket.milepost() as line:
        for number in range(30):
            line.notify(reader.id, title=f"Number {number}", level="info")
    expect(reader.page.locator(".entry").first).to_contain_text("Number 29", timeout=30_000)
    expect(reader.page.locator(".entry")).to_have_count(25)
    reader.take()
    reader.begin("Analyse")
    expect(reader.page.locator("#analyse")).to_be_visible(timeout=30_000)
    told = reader.page.evaluate("told")
    assert {"work", "findings"} <= set(told)
    for times in told.values():
        assert all(later - earlier >= 249 for earlier, later in pairwise(times)), told


def test_a_part_that_could_not_be_read_is_read_again(read: Open, docket: Stage) -> None:
    """Its request is lost on the way, once, with the poll in good order: the part is asked for again by itself."""
    reader = read()
    reader.expect("net::ERR_FAILED", "^htmx:")
    reader.ready()
    lost: list[str] = []

    def lose_one(route: Route) -> None:
        if "hx-request" in route.request.headers and not lost:
            lost.append(route.request.url)
            route.abort()
        else:
            route.fallback()

    reader.page.route("**/activity/", lose_one)
    docket.notify(reader.id, "Nearly lost", level="info")
    expect(reader.page.locator(".entry")).to_contain_text("Nearly lost")
    assert lost


def test_a_document_that_was_deleted_elsewhere(read: Open) -> None:
    """Its page says so when it would read itself again, once."""
    reader = read()
    reader.expect("404", "^(htmx:|Response Status Error)")
    here = reader.take()
    reader.ready()
    other = reader.tab()
    reader.go(here, other)
    other.get_by_role("button", name="Delete this document").click()
    expect(other.get_by_text("There is none yet.")).to_be_visible()
    expect(reader.page.get_by_role("alert")).to_contain_text("It may have been deleted.")


def test_the_focus_stays_where_it_is(read: Open) -> None:
    """Somebody on the way to a job by keyboard is not thrown back when its row is read again."""
    reader = read()
    reader.take()
    reader.begin("Analyse", "Slow")
    row = reader.page.locator("#work progress")
    expect(row).to_have_attribute("value", SOME)
    before = row.get_attribute("value") or ""
    link = reader.job("running").get_by_role("link")
    link.focus()
    expect(row).not_to_have_attribute("value", before)
    expect(link).to_be_focused()
    reader.page.keyboard.press("Enter")
    reader.page.get_by_role("button", name="Cancel").click()
    expect(reader.page.locator("#job")).to_contain_text("Cancelled on your request")


def test_a_document_s_page_is_told_by_its_id(read: Open) -> None:
    """What happens to another document leaves it alone; what happens to this one is read, by its other tab too."""
    reader = read()
    here = reader.take()
    there = reader.tab()
    reader.go(here, there)
    reader.ready(there)
    reader.take("Minutes of the trustees")
    reader.begin("Analyse", "Full speed")
    expect(reader.page.locator("#analyse")).to_be_visible()
    expect(reader.badge(there)).to_have_text("3")
    assert "findings" not in there.evaluate("told")
    reader.go(here)
    reader.page.get_by_role("button", name="Services agreement, as amended").click()
    expect(there.locator("#versions")).to_contain_text("Version 2")
    reader.begin("Compare", "Full speed")
    expect(there.locator("#compare del").first).to_have_text("September")
    assert "findings" in there.evaluate("told")


def test_the_list_of_documents_is_read_again(read: Open) -> None:
    """What is added in one tab stands in the list of the other, and so does what was found in it."""
    reader = read()
    listing = reader.tab()
    reader.go("/documents", listing)
    reader.ready(listing)
    reader.take()
    expect(listing.locator(".document")).to_contain_text("Services agreement")
    reader.begin("Analyse", "Full speed")
    expect(listing.locator(".document")).to_contain_text("497 words")


def test_window_events(read: Open, docket: Stage) -> None:
    """``toast``, ``notification:created``, ``document:activity`` and ``job:activity``, one of each."""
    reader = read()
    reader.ready()
    docket.notify(reader.id, "Told", message="In words", level="error", context={"document_id": "d 1", "job_id": "j1"})
    until(lambda: len(reader.page.evaluate("heard")) == 4)
    heard = dict(reader.page.evaluate("heard"))
    assert heard["toast"] == {"type": "error", "text": "In words", "href": "/activity/documents/d%201"}
    for event in ("notification:created", "document:activity", "job:activity"):
        assert heard[event]["title"] == "Told"
    reader.toasts.get_by_role("button", name="Dismiss").click()


def test_a_refused_form_says_why(read: Open) -> None:
    """What the server refuses stands above the page, in its own words; the next press takes it away."""
    reader = read()
    reader.expect("422", "^(htmx:|Response Status Error)")
    reader.take()
    reader.page.evaluate("document.querySelector('[name=pace]:checked').value = '-1'")
    reader.page.get_by_role("button", name="Analyse").click()
    trouble = reader.page.get_by_role("alert")
    expect(trouble).to_contain_text("The form is not ours as it stands.")
    reader.page.evaluate("document.querySelector('[name=pace]:checked').value = '0'")
    reader.page.get_by_role("button", name="Analyse").click()
    expect(reader.page.locator("#analyse")).to_be_visible()
    expect(trouble).to_be_hidden()


def test_a_file_from_this_machine(read: Open) -> None:
    """Uploaded by hand, under a name of one's own; a file that is no text fails, and says where it breaks off."""
    reader = read()
    reader.go("/documents")
    text = "Paid: EUR 12.50 on 1 May 2026.".encode("utf-16")
    file = {"name": "letter.md", "mimeType": "text/markdown", "buffer": text}
    reader.page.get_by_label("A file").set_input_files(file)  # type: ignore[arg-type]
    reader.page.get_by_label("Its name here").fill("A letter")
    reader.page.get_by_role("button", name="Upload").click()
    expect(reader.page.get_by_role("heading", level=1)).to_have_text("A letter")
    reader.begin("Analyse", "Full speed")
    expect(reader.page.locator("#analyse")).to_contain_text("EUR 12.50")
    reader.page.get_by_label("A new version").set_input_files({**file, "buffer": b"caf\xe9"})  # type: ignore[arg-type]
    reader.page.get_by_role("button", name="Upload the new version").click()
    expect(reader.page.locator("#versions")).to_contain_text("Version 2")
    reader.begin("Analyse", "Full speed")
    expect(reader.toast("NOT_TEXT", "error")).to_contain_text("byte 3")


def test_without_a_script(read: Open) -> None:
    """Pages and forms: what is found is there after a reload, and the page says as of when it is."""
    reader = read(java_script_enabled=False)
    reader.take()
    expect(reader.page.get_by_text("Reload for what is new.")).to_be_visible()
    reader.begin("Analyse", "Full speed")
    expect(reader.page.locator(".job")).to_be_visible()

    def found() -> bool:
        reader.page.reload()
        return reader.page.locator("#analyse").is_visible()

    until(found, seconds=30)
    expect(reader.job("completed")).to_contain_text("497 words")


# --- for everybody ----------------------------------------------------------------------------------------------------


def check(reader: Reader, page: str) -> None:
    """A page as it is: nothing for axe to find, and nothing to scroll sideways at 320 px."""
    reader.ready()
    reader.picture(f"docket-{page}")
    assert reader.faults() == [], page
    reader.page.set_viewport_size({"width": 320, "height": 800})
    assert reader.page.evaluate("document.documentElement.scrollWidth") == 320, page
    reader.page.set_viewport_size({"width": 1280, "height": 900})


def test_axe_finds_nothing_on_empty_pages(read: Open) -> None:
    """What a first look finds, and what is said where there is nothing."""
    reader = read(reduced_motion="reduce")
    for page in ("", "documents", "jobs"):
        reader.go(f"/{page}")
        check(reader, f"{page or 'feed'}-empty")
    reader.expect("404")
    reader.go("/documents/none")
    check(reader, "missing")


@pytest.mark.parametrize("scheme", LOOKS)
def test_axe_finds_nothing(read: Open, scheme: str) -> None:
    """On any of the pages, with a document, what was found in it, and a job under way."""
    reader = read(**LOOKS[scheme], reduced_motion="reduce")
    reader.take()
    reader.page.get_by_role("button", name="Services agreement, as amended").click()
    for button, part in (("Compare", "#compare"), ("Analyse", "#analyse")):
        reader.begin(button, "Full speed")
        expect(reader.page.locator(part)).to_be_visible()
    check(reader, f"document-{scheme}")
    reader.begin("Analyse", "Slow")
    reader.job("running").get_by_role("link").click()
    expect(reader.page.locator("#job")).to_contain_text("of 31")
    check(reader, f"job-{scheme}")
    reader.page.get_by_role("button", name="Cancel").click()
    expect(reader.page.locator("#job")).to_contain_text("Cancelled on your request")
    for page in ("", "documents", "jobs"):
        reader.go(f"/{page}")
        check(reader, f"{page or 'feed'}-{scheme}")
