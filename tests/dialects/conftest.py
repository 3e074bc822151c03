"""The five products' pages, each in its own vocabulary only, in a real Chromium on the real ``milepost serve``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, Request

from tests.server.process import Client, Server

PAGES = Path(__file__).parent / "pages"
SERVE = "from milepost.cli import app; app(['serve'], prog_name='milepost')"
TENANTS = """
[tenants.one-stream]
max_streams_per_user = 1
[tenants.dashboard]
dialect = "activity"
"""
Visit = Callable[..., Page]


@pytest.fixture(name="server", scope="module")
def fixture_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``milepost serve``, which tests stop and start as they like."""
    server = Server(tmp_path_factory.mktemp("serve"), toml=TENANTS, code=SERVE, allow_query_token="true")
    server.start()
    yield server
    server.close()
    assert "Traceback" not in server.log, server.log


@pytest.fixture(name="visit")
def fixture_visit(server: Server, browser: Browser) -> Iterator[Visit]:
    """Opens a page of ``pages/`` at the server's own origin, as somebody who is signed in by cookie.

    ``asked`` gets the streams that it asks for. Whatever such a page throws is a failure.
    """
    opened, thrown = [], []

    def visit(name: str, who: Client, asked: list[str] | None = None, **query: str) -> Page:
        def note(request: Request) -> None:
            if asked is not None and request.resource_type == "eventsource":
                asked.append(request.url)

        context = browser.new_context()
        opened.append(context)
        context.on("weberror", lambda error: thrown.append(str(error.error)))
        context.add_cookies([{"name": "milepost_token", "value": who.token, "url": server.url, "httpOnly": True}])
        context.on("request", note)
        page = context.new_page()
        page.goto(f"{server.url}/healthz?{urlencode(query)}")  # the origin; the page is put in the place of the answer
        page.set_content((PAGES / f"{name}.html").read_text())
        return page

    yield visit
    for context in opened:
        context.close()
    assert thrown == []
