"""One server of each kind for most tests; each test has a tenant of its own there, so that none sees another's.

What is run where. What a store has a part in, what is written, read, resumed, counted and kept, holds on every engine.
How a stream's bytes get out, handed over to the hub or through a plain ASGI server, is no affair of the engine's: both
are tried on SQLite, and the others with the hand-over that ``milepost serve`` has. What is only about the shape of
HTTP, credentials, refusals and limits that are decided before a store is asked, needs no second engine.
"""

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

BOTH_WAYS = {"test_streams", "test_resume", "test_slow_readers", "test_stream_life"}
ON_EVERY_ENGINE = {
    "test_changes",
    "test_coalescing",
    "test_drain.test_drain",
    "test_isolation",
    "test_polling",
    "test_repeats",
    "test_resume",
    "test_routes",
    "test_stream_life",
    "test_streams",
}

_numbers = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test where it says something: see above."""
    if "way" not in metafunc.fixturenames:
        return
    module = metafunc.module.__name__.rpartition(".")[2]
    test = f"{module}.{metafunc.function.__name__}"
    ways = ["sqlite"]
    if module in BOTH_WAYS and "server" in metafunc.fixturenames:
        ways.append("sqlite, plain")
    if {module, test} & ON_EVERY_ENGINE:
        ways += ["redis", "postgres"]
    if len(ways) > 1:
        metafunc.parametrize("way", ways)


@pytest.fixture
def way() -> str:
    """An engine, and whether its server is a plain one."""
    return "sqlite"


@pytest.fixture(scope="session")
def servers(
    new_store: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Server]]:
    """The servers that all tests share, each started when it is first wanted."""
    made: dict[str, Server] = {}

    def one(way: str) -> Server:
        if way not in made:
            engine, _, plain = way.partition(", ")
            made[way] = Server(
                tmp_path_factory.mktemp("server"),
                toml=TENANTS,
                code=PLAIN if plain else RUN,
                engine=new_store(engine),
                heartbeat_seconds=1,
                max_streams_per_user=200,
                allowed_origins="https://app.example.com",
            )
            made[way].start()
        return made[way]

    yield one
    for server in made.values():
        server.close()


@pytest.fixture
def server(servers: Callable[[str], Server], way: str) -> Server:
    """A server that beats every second and lets anybody connect as often as they like."""
    return servers(way)


@pytest.fixture
def me(server: Server) -> Client:
    """A user of a tenant that nobody else is in."""
    return server.someone("me", f"t{next(_numbers)}")


@pytest.fixture
def own_server(tmp_path: Path, way: str, new_store: Callable[[str], str]) -> Iterator[Callable[..., Server]]:
    """Start a server for this test alone, with settings of its own; on SQLite its file is in the server's folder."""
    made: list[Server] = []

    def start(**settings: Any) -> Server:
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir()
        store = {} if way == "sqlite" else {"engine": new_store(way)}
        made.append(Server(folder, **{**store, **settings}))
        made[-1].start()
        return made[-1]

    yield start
    for server in made:
        server.close()
