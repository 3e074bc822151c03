"""The store goes away under a running server: publishes say so in time, streams stay, and all goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.postgres_server import PostgresServer
from tests.faults.proxy import Proxy, proxy_to
from tests.server.process import Server, refused, wait_until


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    """The network between the server and its store."""
    with proxy_to(postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
def server(postgres_server: PostgresServer, proxy: Proxy, tmp_path: Path) -> Iterator[Server]:
    """A server whose store is behind the proxy."""
    url = postgres_server.url(postgres_server.new_database(), port=proxy.port)
    server = Server(tmp_path, engine=url, heartbeat_seconds=0.5)
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize("how", ["hangs", "refuses"])
def test_the_store_goes_away(server: Server, proxy: Proxy, how: str) -> None:
    """503 with Retry-After within 2 s, heartbeats that say ``degraded``, and everything again within 5 s."""
    me = server.someone()
    with me.stream() as stream:
        stream.until("live")
        me.notify(title="before")
        stream.until("notification")
        if how == "hangs":
            proxy.mute()
        else:
            proxy.refuse()
        for _ in range(3):
            began = time.monotonic()
            answer = me.call("POST", "/notifications", {"user": me.user, "title": "lost"})
            assert time.monotonic() - began < 2.2
            refused(answer, 503, "engine_away")
            assert int(answer.headers["retry-after"]) >= 1
        assert me.server.http.get("/readyz").status_code == 503
        assert me.server.http.get("/healthz").status_code == 200
        until = time.monotonic() + 15
        while not stream.until("heartbeat")[-1].json.get("degraded"):
            assert time.monotonic() < until, "a heartbeat says that the store is away"
        proxy.heal()
        began = time.monotonic()
        wait_until(lambda: me.call("POST", "/notifications", {"user": me.user, "title": "after"}).is_success)
        titles = ["lost"]
        while titles[-1] != "after":
            titles.append(stream.until("notification")[-1].json["notification"]["title"])
        assert time.monotonic() - began < 5
        until = time.monotonic() + 5
        while stream.until("heartbeat")[-1].json.get("degraded"):
            assert time.monotonic() < until, "a heartbeat says that the store is back"
        assert me.server.http.get("/readyz").status_code == 200
