"""Notifications of the browser's own: for who looks at no tab, and only if they want them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.stage import Stage, until
from tests.browser.test_connection import show
from tests.browser.test_tabs import connected
from tests.browser.visitor import Visitor

# What a tab asks for and shows; the real ones are shown too.
WATCH = """
(() => {
  window.asked = 0;
  window.shown = [];
  const Real = window.Notification;
  window.Notification = class extends Real {
    constructor(title, options) {
      super(title, options);
      shown.push(`${title}: ${options.body}`);
      this.addEventListener('close', () => shown.push(`closed ${title}`));
    }
    // Without a screen Chromium refuses by itself: where a test says the answer, nobody has given it before.
    static get permission() {
      return !window.answer ? Real.permission : asked ? answer : 'default';
    }
    static async requestPermission() {
      asked += 1;
      return answer;
    }
  };
})();
"""
ATTACH = """
() => {
  const userKey = document.body.dataset.visitor;
  Milepost.attachBackground(client, { userKey });
  Milepost.attachPermissionButton(document.querySelector('header'), { label: 'Notify me' });
}
"""


def _tabs(visit: Visit, number: int, *, answer: str = "", **context: Any) -> tuple[Visitor, list[Page]]:
    visitor = visit(options={"hidden": "keep"}, **context)
    visitor.context.add_init_script(f"window.answer = '{answer}';{WATCH}")
    visitor.page.reload()
    tabs = [visitor.page, *(visitor.tab() for _ in range(number - 1))]
    for tab in tabs:
        tab.evaluate(ATTACH)
        connected(tab)
    return visitor, tabs


def test_one_notification_for_all_tabs_while_none_is_looked_at(visit: Visit, casefile: Stage) -> None:
    """While one of three tabs is looked at: none. When all are hidden: one for each event, in one of them, for a
    notification and for a job's end; looked at again, they are taken back. Nobody asks for a permission that is there.
    """
    visitor, tabs = _tabs(visit, 3, permissions=["notifications"])
    visitor.page.bring_to_front()
    visitor.generate("complaint", "discovery", speed="To watch")
    expect(visitor.bar).to_have_attribute("max", "16")
    for tab in tabs[1:]:
        show(tab, "hidden")
    casefile.notify(visitor.id, "Seen", level="success")
    for tab in tabs:
        expect(tab.locator(".milepost-badge")).to_have_text("1")
    show(tabs[0], "hidden")
    casefile.notify(visitor.id, "Unseen", message="It is ready", level="success")

    def shown() -> list[str]:
        return sorted(line for tab in tabs for line in tab.evaluate("shown"))

    until(lambda: len(shown()) >= 2, seconds=30)
    for tab in tabs:
        expect(tab.locator(".milepost-badge")).to_have_text("3")
    job, unseen = shown()
    assert re.match("Complaint.*: .", job)
    assert unseen == "Unseen: It is ready"
    for tab in tabs:
        show(tab, "visible")
    until(lambda: "closed Unseen" in shown())
    assert sum(tab.evaluate("asked") for tab in tabs) == 0


@pytest.mark.parametrize("answer", ["granted", "denied"])
def test_the_permission_is_asked_for_on_a_click(visit: Visit, answer: str) -> None:
    """Never on load, and not again when it was given or refused."""
    visitor, (page,) = _tabs(visit, 1, answer=answer)
    button = page.get_by_role("button", name="Notify me")
    expect(button).to_be_visible()
    assert page.evaluate("asked") == 0
    assert visitor.faults() == []
    button.click()
    expect(button).to_have_count(0)
    assert page.evaluate("asked") == 1
    page.evaluate(ATTACH)
    assert button.count() == 0
