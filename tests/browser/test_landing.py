"""The first page of the demo, with all examples on one hub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from examples.stage.catalogue import EXAMPLES
from tests.browser.stage import Stage
from tests.browser.visitor import LOOKS, Person


@pytest.fixture(name="stage", scope="module")
def fixture_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """``milepost demo``, as it is."""
    stage = Stage(tmp_path_factory.mktemp("demo"))
    yield stage
    stage.close()


@pytest.mark.parametrize("scheme", LOOKS)
def test_it_leads_to_each_example(stage: Stage, browser: Browser, scheme: str) -> None:
    """A card each, with a link to a page that answers; nothing for axe to find, and nothing to scroll sideways."""
    person = Person(browser, stage.url, {}, **LOOKS[scheme])
    page = person.page
    person.picture(f"landing-{scheme}")
    assert person.faults() == []
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    links = page.get_by_role("listitem").get_by_role("link")
    expect(links).to_have_count(len(EXAMPLES))
    for example in EXAMPLES.values():
        with person.context.expect_page() as opened:
            links.filter(has_text=example.title).click(modifiers=["Control"])
        expect(opened.value.locator("h1").first).to_be_visible()
        assert opened.value.url.startswith(f"{stage.origin}/{example.name}/")
    person.close()


def test_the_hub_is_killed_by_a_click(stage: Stage, browser: Browser) -> None:
    """Another process answers then, and a page that was open goes on without a reload."""
    person = Person(browser, stage.url, {})
    person.expect("net::ERR_")
    reader = person.context.new_page()
    reader.goto(f"{stage.origin}/documents/")
    before = stage.hub
    person.page.get_by_role("button", name="Kill the hub").click()
    expect(person.page.get_by_role("status")).to_contain_text("It is back")
    assert stage.hub != before
    assert stage.log.count("hub ended") == 1
    stage.milepost("documents").notify(
        reader.locator("body").get_attribute("data-visitor") or "", title="After the kill", level="info"
    )
    expect(reader.locator(".milepost-badge")).to_have_text("1")
    person.close()


def test_nobody_else_kills_it(stage: Stage, browser: Browser) -> None:
    """A page of another origin cannot."""
    person = Person(browser, stage.url, {})
    before = stage.hub
    answer = person.context.request.post(f"{stage.origin}/kill", headers={"origin": "https://evil.example"})
    assert answer.status == 403
    assert stage.hub == before
    person.close()


def test_a_cookie_of_one_example_is_none_of_another(stage: Stage, browser: Browser) -> None:
    """Who is signed in to one example is nobody to the hub below another's prefix."""
    person = Person(browser, f"{stage.origin}/documents/", {})
    assert person.context.request.get(f"{stage.origin}/documents/api/jobs").status == 200
    assert person.context.request.get(f"{stage.origin}/api/jobs").status == 401
    assert person.context.request.get(f"{stage.origin}/bom/api/jobs").status in (401, 404)
    person.close()
