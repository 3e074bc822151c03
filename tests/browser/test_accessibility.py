"""That everybody can use the page: nothing for axe to find in any state, light and dark, wide and narrow."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.sync_api import Route, ViewportSize, expect

from tests.browser.conftest import Visit
from tests.browser.stage import Stage
from tests.browser.visitor import LOOKS

# What a careful page allows: its own scripts and style sheets, and no string ever read as HTML or as code.
POLICY = "default-src 'self'; object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
HOSTILE = '<img src=x onerror="window.pwned=1"><b>bold</b>\u202eevil'
DESK: Final[ViewportSize] = {"width": 1280, "height": 800}
NARROW: Final[ViewportSize] = {"width": 320, "height": 800}


@pytest.mark.parametrize("scheme", LOOKS)
def test_axe_finds_nothing(visit: Visit, casefile: Stage, scheme: str) -> None:
    """With all fields unfolded: idle, running, completed, failed, and with the inbox open, at 1280 and at 320 px, where
    nothing has to be scrolled sideways either; light, dark, and in the colours that a system forces.
    """
    visitor = visit(viewport=DESK, **LOOKS[scheme])
    page = visitor.page

    def look(state: str) -> None:
        visitor.picture(f"{state}-{scheme}")
        for size in (NARROW, DESK):
            page.set_viewport_size(size)
            assert visitor.faults() == [], (state, size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], state

    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    look("idle")
    casefile.notify(visitor.id, "Hearing moved", message="It is on 4 March 2027, 9:30.", level="info")
    visitor.generate("complaint", "discovery", speed="Slow")
    expect(visitor.bar).to_have_attribute("max", "16")
    look("running")
    visitor.page.get_by_role("button", name="Cancel").click()
    visitor.generate("complaint", "letter")
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    look("completed")
    visitor.generate("complaint", broken=True)
    expect(visitor.toast("TEMPLATE_ERROR", "error")).to_be_visible()
    look("failed")
    visitor.open_inbox()
    expect(page.get_by_role("dialog", name="Notifications").get_by_role("listitem")).to_have_count(4)
    look("inbox")


def test_a_strict_policy_and_hostile_words(visit: Visit, casefile: Stage) -> None:
    """Under a policy that allows no inline script, no inline style and no HTML from strings the page works with all of
    its pieces, complains of nothing, and shows what would like to be markup as the text that it is.
    """
    visitor = visit()
    page = visitor.page

    def strictly(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": POLICY})

    page.route(f"{casefile.url}/", strictly)
    page.evaluate("() => { window.before = true; }")
    page.reload()
    page.evaluate(
        """() => {
          window.broken = [];
          addEventListener('securitypolicyviolation', ({ violatedDirective }) => broken.push(violatedDirective));
        }"""
    )
    casefile.notify(visitor.id, HOSTILE, message=HOSTILE, level="error", href="/x?a=<b>")
    toast = visitor.toast("onerror", "error")
    expect(toast).to_contain_text("<b>bold</b>")
    visitor.open_inbox()
    expect(page.get_by_role("dialog", name="Notifications").get_by_role("listitem")).to_contain_text("<b>bold</b>")
    visitor.generate("complaint", speed="To watch")
    expect(visitor.bar).to_be_visible()
    expect(visitor.toast("Complaint", "success")).to_be_visible()
    page.get_by_role("button", name="Dismiss").first.click()
    assert page.evaluate("document.querySelectorAll('[class^=milepost] :is(img, b)').length") == 0
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("broken") == []
    assert page.evaluate("window.before") is None
