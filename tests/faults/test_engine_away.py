"""The store goes away under a running server: publishes say so in time, streams stay, and all goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Far
from tests.server.process import Server, refused, wait_until
from tests.server.sse_client import Stream

PATIENCE = 15.0


@pytest.fixture
def server(far: Far, tmp_path: Path) -> Iterator[Server]:
    """A server whose store is behind the network."""
    server = Server(tmp_path, engine=far.url, heartbeat_seconds=0.5)
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize("how", ["hangs", "refuses"])
def test_the_store_goes_away(server: Server, far: Far, how: str) -> None:
    """503 with Retry-After within 2 s, heartbeats that say ``degraded``, and everything again within 5 s."""
    me = server.someone()
    with me.stream() as stream:
        stream.until("live")
        me.notify(title="before")
        stream.until("notification")
        if how == "hangs":
            far.network.mute()
        else:
            far.network.refuse()
        for _ in range(3):
            began = time.monotonic()
            answer = me.call("POST", "/notifications", {"user": me.user, "title": "lost"})
            assert time.monotonic() - began < 2.2
            refused(answer, 503, "engine_away")
            assert int(answer.headers["retry-after"]) >= 1
        assert me.server.http.get("/readyz").status_code == 503
        assert me.server.http.get("/healthz").status_code == 200
        _hear(stream, degraded=True)
        far.network.heal()
        began = time.monotonic()
        wait_until(lambda: me.call("POST", "/notifications", {"user": me.user, "title": "after"}).is_success)
        titles = ["lost"]
        while titles[-1] != "after":
            titles.append(stream.until("notification")[-1].json["notification"]["title"])
        assert time.monotonic() - began < 5
        _hear(stream, degraded=False)
        assert me.server.http.get("/readyz").status_code == 200


def test_quiet_streams_hear_of_it(server: Server, far: Far) -> None:
    """Nobody publishes, nobody asks: streams say ``degraded`` all the same, and say no more of it afterwards."""
    with server.someone().stream() as stream:
        stream.until("live")
        far.network.mute()
        _hear(stream, degraded=True)
        far.network.heal()
        _hear(stream, degraded=False)


def _hear(stream: Stream, *, degraded: bool) -> None:
    """Read heartbeats until they say so."""
    until = time.monotonic() + PATIENCE
    while stream.until("heartbeat")[-1].json.get("degraded", False) != degraded:
        assert time.monotonic() < until, f"a heartbeat says degraded: {degraded}"
