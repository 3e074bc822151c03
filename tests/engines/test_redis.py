"""The Redis engine keeps the engine contract: on one server, and on a cluster of three."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from milepost.testing import EngineContract
from tests.engines.redis_server import RedisServer, redis_cluster, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests of this module."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """One cluster for all tests of this module."""
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


class TestRedis(EngineContract):
    """The whole contract, on a server that is emptied before each test."""

    @pytest.fixture
    def url(self, server: RedisServer) -> str:
        """The server, empty."""
        server.do("FLUSHALL")
        return server.url


class TestRedisCluster(EngineContract):
    """The whole contract, on a cluster that is emptied before each test."""

    @pytest.fixture
    def url(self, cluster: list[RedisServer]) -> str:
        """Any server of the cluster."""
        for server in cluster:
            server.do("FLUSHALL")
        return cluster[1].url
