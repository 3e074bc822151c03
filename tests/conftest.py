"""What every test may use. A fixture stands here only when two folders of tests need it."""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.chromium import CHROMIUM, FLAGS
from tests.engines.postgres_server import PostgresServer, postgres
from tests.engines.redis_server import RedisServer, running_redis

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parent / "docs" / "requirements.md").read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test answers to the ids of its requirements too: ``pytest -k R1.4.`` runs those that hold 1.4."""
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row, tests in re.findall(r"^\| (\d\.\w+) \|[^|]+\| (.+) \|$", PAGE, re.MULTILINE):
        for test in re.findall(r"`([\w/]+\.py)::(\w+)`", tests):
            ids[test].add(f"R{row}.")
    for item in items:
        name = item.name.partition("[")[0]
        item.extra_keyword_matches.update(ids[str(item.path.relative_to(TESTS)), name])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture(scope="module")  # no wider: while it is open, no async test can run in this process
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody stops: tests that do start one of their own."""
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that nobody stops, though everybody empties it."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_of_many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that nobody stops or empties, with a database for each who wants a store of their own."""
    with running_redis(tmp_path_factory.mktemp("redis-of-many"), databases=10_000) as server:
        yield server


@pytest.fixture(scope="session")
def new_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The URL of an empty store of an engine: ``sqlite``, ``redis`` or ``postgres``. Its server is started when first
    wanted."""  # noqa: D209

    def new(engine: str) -> str:
        if engine == "sqlite":
            return f"sqlite:///{tmp_path_factory.mktemp('store')}/hub.db"
        if engine == "redis":
            redis: RedisServer = request.getfixturevalue("redis_of_many")
            return redis.new_database()
        assert engine == "postgres", engine
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.url(server.new_database())

    return new
