"""The PostgreSQL engine against the specification's plain model."""

from __future__ import annotations

from typing import ClassVar

import pytest

from tests.engines.model import EngineAgainstReference, run_of
from tests.engines.postgres_server import PostgresServer


class PostgresAgainstReference(EngineAgainstReference):
    """A database of its own for each run: dropping the schema would take a running engine's tables away."""

    server: ClassVar[PostgresServer]

    def empty_store(self) -> str:
        """A database without our tables."""
        self.database = self.server.new_database()
        return self.server.url(self.database)

    def teardown(self) -> None:
        """Leave nothing behind."""
        super().teardown()
        self.server.execute(f'DROP DATABASE "{self.database}"')


@pytest.mark.timeout(600)  # thousands of commits, each of them on the disk
class TestPostgresAgainstReference(PostgresAgainstReference.TestCase):  # type: ignore[misc, valid-type]
    """The machine, given the server of this run."""

    settings = run_of(20)

    @pytest.fixture(autouse=True)
    def give_server(self, postgres_server: PostgresServer) -> None:
        """The machine makes its stores itself."""
        PostgresAgainstReference.server = postgres_server
