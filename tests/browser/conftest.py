"""The whole product in a real Chromium: ``milepost demo``, somebody who looks at it, and a network between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.proxy import FaultProxy
from tests.browser.react import fixture_pages_of, fixture_script_of
from tests.browser.reader import Reader
from tests.browser.stage import Stage
from tests.browser.visitor import Visitor

__all__ = ["Open", "Visit", "fixture_pages_of", "fixture_script_of"]

Visit = Callable[..., Visitor]
Open = Callable[..., Reader]

expect.set_options(timeout=15_000)


@pytest.fixture(name="casefile", scope="module")
def fixture_casefile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One demo for the tests of a file. It ends as it should, and nothing went wrong inside it."""
    casefile = Stage(tmp_path_factory.mktemp("casefile"), "documents")
    yield casefile
    casefile.close()


@pytest.fixture(name="proxy")
def fixture_proxy(casefile: Stage) -> Iterator[FaultProxy]:
    """A network between a visitor and the demo that a test can spoil."""
    proxy = FaultProxy(casefile.port, path="/documents")
    yield proxy
    proxy.close()


@pytest.fixture(name="visit")
def fixture_visit(casefile: Stage, browser: Browser) -> Iterator[Visit]:
    """Opens the page as somebody who has never been there; ``options`` are further ones for the page's client."""
    visitors: list[Visitor] = []

    def visit(url: str = "", *, options: dict[str, Any] | None = None, **context: Any) -> Visitor:
        visitors.append(Visitor(browser, url or casefile.url, options or {}, **context))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.close()


@pytest.fixture(name="docket", scope="module")
def fixture_docket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The dashboard, for the tests of a file. It ends as it should, and nothing went wrong inside it."""
    docket = Stage(tmp_path_factory.mktemp("docket"), "activity")
    yield docket
    docket.close()


@pytest.fixture(name="read")
def fixture_read(docket: Stage, browser: Browser) -> Iterator[Open]:
    """Opens the dashboard as somebody who has never been there. Nobody ever asked for a stream."""
    readers: list[Reader] = []

    def read(**context: Any) -> Reader:
        readers.append(Reader(browser, docket, **context))
        return readers[-1]

    yield read
    for reader in readers:
        reader.close()
        assert not [path for _, path in reader.asked if "stream" in path]
