"""One server for most tests; each test has a tenant of its own on it, so that none sees another's documents."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.process import PLAIN, RUN, Client, Server

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

# These hold however a stream's bytes get out: handed over to the hub, or through a plain ASGI server.
BOTH_WAYS = {"test_streams", "test_resume", "test_slow_readers", "test_stream_life"}

_numbers = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of streams both ways."""
    if "me" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS:
        metafunc.parametrize("me", ["handed over", "plain"], indirect=True)


def _start(folder: Path, code: str) -> Iterator[Server]:
    made = Server(
        folder,
        toml=TENANTS,
        code=code,
        heartbeat_seconds=1,
        max_streams_per_user=200,
        allowed_origins="https://app.example.com",
    )
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that beats every second and lets anybody connect as often as they like."""
    yield from _start(tmp_path_factory.mktemp("server"), RUN)


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same under uvicorn as it comes."""
    yield from _start(tmp_path_factory.mktemp("plain"), PLAIN)


@pytest.fixture
def me(request: pytest.FixtureRequest) -> Client:
    """A user of a tenant that nobody else is in."""
    plain = getattr(request, "param", "") == "plain"
    server: Server = request.getfixturevalue("plain_server" if plain else "server")
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
