"""One server for most tests; each test has a tenant of its own on it, so that none sees another's documents."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.process import Client, Server

TENANTS = """
[tenants.polls]
enable_sse_notifications = false
[tenants.few]
max_streams_per_user = 2
[tenants.slow]
connect_rate = 3
[tenants.documents]
dialect = "document"
"""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that beats every second and lets anybody connect as often as they like."""
    made = Server(
        tmp_path_factory.mktemp("server"),
        toml=TENANTS,
        heartbeat_seconds=1,
        max_streams_per_user=200,
        allowed_origins="https://app.example.com",
    )
    made.start()
    yield made
    made.close()


@pytest.fixture
def me(server: Server) -> Client:
    """A user of a tenant that nobody else is in."""
    return server.someone("me", f"t{next(_numbers)}")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server for this test alone, with settings of its own."""
    made: list[Server] = []

    def start(**settings: Any) -> Server:
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir()
        made.append(Server(folder, **settings))
        made[-1].start()
        return made[-1]

    yield start
    for server in made:
        server.close()
