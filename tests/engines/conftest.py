"""Servers that engines need, one of each for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.redis_server import RedisServer, running_cluster


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """A Redis Cluster of three that nobody stops, though everybody empties it."""
    with running_cluster(tmp_path_factory.mktemp("redis-cluster")) as servers:
        yield servers
