"""What every test may use. A fixture stands here only when two folders of tests need it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.engines.postgres_server import PostgresServer, postgres

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody stops: tests that do start one of their own."""
    with postgres() as server:
        yield server
