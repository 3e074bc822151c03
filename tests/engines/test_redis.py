"""The Redis engine keeps the engine contract: on one server, and on a cluster of three."""

from __future__ import annotations

import pytest

from milepost.testing import EngineContract
from tests.engines.redis_server import RedisServer


class TestRedis(EngineContract):
    """The whole contract, on a server that is emptied before each test."""

    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        """The server, empty."""
        redis_server.do("FLUSHALL")
        return redis_server.url


class TestRedisCluster(EngineContract):
    """The whole contract, on a cluster that is emptied before each test."""

    @pytest.fixture
    def url(self, redis_cluster: list[RedisServer]) -> str:
        """Any server of the cluster."""
        for server in redis_cluster:
            server.do("FLUSHALL")
        return redis_cluster[1].url
