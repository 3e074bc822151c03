"""The Redis engine against the specification's plain model."""

from __future__ import annotations

from typing import ClassVar

import pytest

from tests.engines.model import EngineAgainstReference, run_of
from tests.engines.redis_server import RedisServer


class RedisAgainstReference(EngineAgainstReference):
    """One server for all runs, emptied before each."""

    server: ClassVar[RedisServer]

    def empty_store(self) -> str:
        """The server without a key."""
        self.server.do("FLUSHALL")
        return self.server.url


class TestRedisAgainstReference(RedisAgainstReference.TestCase):  # type: ignore[misc, valid-type]
    """The machine, given the server of this run."""

    settings = run_of(60)

    @pytest.fixture(autouse=True)
    def give_server(self, redis_server: RedisServer) -> None:
        """The machine empties it itself."""
        RedisAgainstReference.server = redis_server
