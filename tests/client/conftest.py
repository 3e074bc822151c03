"""What the clients are tried against: a real server, and a bad network in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.client.hub import Hub
from tests.client.place import Place, Server, Store
from tests.client.relay import Relay


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A server that all tests of the session share; each uses jobs and users of its own."""
    made = Hub(tmp_path_factory.mktemp("hub"))
    made.start()
    yield made
    made.close()


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Hub]:
    """A server for this test alone, which it may kill."""
    made = Hub(tmp_path)
    made.start()
    yield made
    made.close()


@pytest.fixture
def relay(hub: Hub) -> Iterator[Relay]:
    """A network in front of the shared server."""
    made = Relay(hub.port)
    yield made
    made.close()


@pytest.fixture(params=["server", "sqlite", "redis", "postgres"])
def place(request: pytest.FixtureRequest, new_store: Callable[[str], str]) -> Place:
    """Where producers report to: what holds for a server holds for each engine without one."""
    if request.param != "server":
        return Store(new_store(request.param))
    hub: Hub = request.getfixturevalue("hub")
    return Server(hub, hub.url, hub.token("worker", "consume produce:any"))
