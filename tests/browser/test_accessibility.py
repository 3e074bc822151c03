"""That everybody can use the page: nothing for axe to find in any state, light and dark, wide and narrow."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.browser.casefile import Casefile
from tests.browser.conftest import Visit

DESK: Final[ViewportSize] = {"width": 1280, "height": 800}
NARROW: Final[ViewportSize] = {"width": 320, "height": 800}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visit, casefile: Casefile, scheme: str) -> None:
    """With all fields unfolded: idle, running, completed, failed, and with the inbox open, at 1280 and at 320 px, where
    nothing has to be scrolled sideways either.
    """
    visitor = visit(color_scheme=scheme, viewport=DESK)
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
