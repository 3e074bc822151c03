"""The PostgreSQL engine keeps the engine contract."""

from __future__ import annotations

import pytest

from milepost.testing import EngineContract
from tests.engines.postgres_server import PostgresServer


class TestPostgres(EngineContract):
    """The whole contract, in a database of its own for each test."""

    @pytest.fixture
    def url(self, postgres_server: PostgresServer) -> str:
        """A database without our tables."""
        return postgres_server.url(postgres_server.new_database())
