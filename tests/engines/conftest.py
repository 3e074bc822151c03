"""Servers that engines need, one of each for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.postgres_server import PostgresServer, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that nobody stops: tests that do start one of their own."""
    with postgres() as server:
        yield server
