"""Bell, badge and inbox, in one tab and in two, while somebody's program tells this visitor something."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.stage import Stage
from tests.browser.visitor import PHONE


def badge(page: Page) -> Locator:
    """The number on the bell."""
    return page.locator(".milepost-badge")


def test_bell_and_badge_without_a_reload(visit: Visit, casefile: Stage) -> None:
    """What is told now is on the badge, on the bell's name, in a toast and at the top of the open inbox, at once."""
    visitor = visit()
    page = visitor.page
    page.evaluate("window.stays = true")
    bell = page.locator("#bell button").first
    expect(bell).to_have_accessible_name("Notifications")
    expect(badge(page)).to_be_hidden()
    casefile.notify(visitor.id, "Hearing moved", message="It is on 4 March now.", level="warning", href="/?hearing")
    expect(badge(page)).to_have_text("1")
    expect(bell).to_have_accessible_name("Notifications, 1 unread")
    expect(visitor.toast("Hearing moved", "warning")).to_contain_text("It is on 4 March now.")
    visitor.open_inbox()
    inbox = page.get_by_role("dialog", name="Notifications")
    expect(inbox.get_by_role("listitem")).to_have_count(1)
    casefile.notify(visitor.id, "Filing accepted", level="info")
    expect(inbox.get_by_role("listitem").first).to_contain_text("Filing accepted")
    expect(inbox.get_by_role("link", name="Hearing moved")).to_have_attribute("href", "/?hearing")
    expect(badge(page)).to_have_text("2")
    assert page.evaluate("stays")


def test_read_in_one_tab_is_read_in_the_other(visit: Visit, casefile: Stage) -> None:
    """One marked as read, then all of them, then one archived: the other tab shows each, without a reload."""
    visitor = visit()
    other = visitor.tab()
    for title in ("First", "Second", "Third"):
        casefile.notify(visitor.id, title, level="info")
    expect(badge(visitor.page)).to_have_text("3")
    expect(badge(other)).to_have_text("3")
    other.evaluate("window.stays = true")
    other.locator("#bell button").first.click()
    there = other.get_by_role("dialog", name="Notifications").get_by_role("listitem")
    expect(there.filter(has_text="Unread:")).to_have_count(3)
    visitor.page.bring_to_front()
    visitor.open_inbox()
    inbox = visitor.page.get_by_role("dialog", name="Notifications")
    inbox.get_by_role("button", name="Unread: Second").click()
    expect(badge(visitor.page)).to_have_text("2")
    expect(badge(other)).to_have_text("2")
    expect(there.filter(has_text="Unread:")).to_contain_text(["Third", "First"])
    inbox.get_by_role("button", name="Mark all as read").click()
    expect(badge(other)).to_be_hidden()
    expect(there.filter(has_text="Unread:")).to_have_count(0)
    inbox.get_by_role("button", name="Archive First").click()
    expect(there).to_have_count(2)
    assert other.evaluate("stays")


def test_a_visitor_is_told_only_what_is_for_them(visit: Visit, casefile: Stage) -> None:
    """Two visitors: what one is told, and the jobs of one, are nothing to the other; a second later neither."""
    one, two = visit(), visit()
    one.generate("letter")
    casefile.notify(one.id, "For one", level="success")
    expect(one.toast("For one")).to_be_visible()
    expect(one.card("completed")).to_be_visible()
    casefile.notify(two.id, "For two", level="success")
    expect(two.toast("For two")).to_be_visible()
    expect(two.toasts).to_have_count(1)
    expect(badge(two.page)).to_have_text("1")
    expect(two.page.locator(".job")).to_have_count(0)


def test_the_inbox_is_in_front(visit: Visit, casefile: Stage) -> None:
    """On a phone full of toasts that stay, what is in the open inbox can be clicked, down to its last row."""
    visitor = visit(viewport=PHONE)
    for number in range(1, 6):
        casefile.notify(visitor.id, f"Fault {number}", message="The court's portal refused the filing.", level="error")
    expect(visitor.toasts).to_have_count(5)
    visitor.open_inbox()
    visitor.picture("inbox-over-toasts")
    rows = visitor.page.get_by_role("dialog", name="Notifications").get_by_role("listitem")
    rows.last.get_by_role("button", name="Archive Fault 1").click(timeout=5_000)
    expect(rows).to_have_count(4)
