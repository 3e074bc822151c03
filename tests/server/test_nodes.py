"""Several hubs on one store, or several processes of one host: limits and tickets hold across all of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from milepost.server.shares import LEASE_SECONDS
from tests.server.process import Server, token, wait_until

TRIES = 12  # of a kernel that picks one of two processes for each connection
TENANTS = """
[tenants.few]
max_streams_per_user = 2
[tenants.small]
max_streams_per_tenant = 2
[tenants.slow]
connect_rate = 8
[tenants.free]
connect_rate = 0
"""


class Nodes:
    """Two hubs on one Redis or PostgreSQL; or one of two processes on SQLite, where nobody can say which is asked."""

    def __init__(self, servers: list[Server]) -> None:
        self.first, self.last = servers[0], servers[-1]
        self.are_one = len(servers) == 1

    def admits(self, server: Server, tenant: str, user: str = "u1") -> bool:
        """Whether a stream can be opened there, at any of its processes; it is closed at once."""
        return any(self._admits(server, tenant, user) for _ in range(TRIES if self.are_one else 1))

    def refuse_all(self, tenant: str, user: str = "u1") -> bool:
        """Whether no process lets anybody in."""
        return not self.admits(self.first, tenant, user) and not self.admits(self.last, tenant, user)

    def kill(self, server: Server) -> None:
        """Kill -9: a hub, or every process that serves for it, each of which is replaced."""
        if not self.are_one:
            server.close()
            return
        for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)

    @staticmethod
    def _admits(server: Server, tenant: str, user: str) -> bool:
        try:
            with server.stream("/stream", token(user, tenant)) as stream:
                assert stream.status in (200, 429), stream.status
                return stream.status == 200
        except OSError:  # the process that took the connection was killed just then
            return False


@pytest.fixture(params=["redis", "postgres", "sqlite"])
def nodes(
    request: pytest.FixtureRequest, tmp_path: Path, new_store: Callable[[str], str]
) -> Iterator[Callable[..., Nodes]]:
    """Start them, with settings of their own."""
    made: list[Server] = []

    def start(**settings: Any) -> Nodes:
        store = new_store(request.param)
        for n in range(1 if request.param == "sqlite" else 2):
            folder = tmp_path / str(n)
            folder.mkdir()
            workers = 2 if request.param == "sqlite" else 1
            made.append(Server(folder, toml=TENANTS, engine=store, workers=workers, **settings))
            made[-1].start()
        return Nodes(made)

    yield start
    for server in made:
        server.close()


@pytest.mark.parametrize(("tenant", "users"), [("few", ["u1", "u1"]), ("small", ["u1", "u2"])])
def test_bounds_on_open_streams_hold_across(nodes: Callable[..., Nodes], tenant: str, users: list[str]) -> None:
    """A user's two streams, or a tenant's, may be wherever they are: a third is refused everywhere, until one ends."""
    both = nodes()
    first = both.first.stream("/stream", token(users[0], tenant))
    last = both.last.stream("/stream", token(users[1], tenant))
    for stream in (first, last):
        stream.until("live")
    wait_until(lambda: both.refuse_all(tenant), what="all know of both")
    assert both.admits(both.first, "free")
    first.close()
    for server in (both.first, both.last):
        wait_until(lambda server=server: both.admits(server, tenant), what="the stream that ended is not counted")  # type: ignore[misc]
    last.close()


def test_a_killed_process_frees_its_share(nodes: Callable[..., Nodes]) -> None:
    """Kill -9 of a hub with a user's streams: the other one refuses that user until the lease ends, and no longer."""
    both = nodes()
    streams = [both.first.stream("/stream", token("u1", "few")) for _ in range(2)]
    for stream in streams:
        stream.until("live")
    wait_until(lambda: both.refuse_all("few"), what="all know of both")
    both.kill(both.first)
    # beside the lease: what a try takes, and how long it takes until a process that was killed is replaced
    wait_until(lambda: both.admits(both.last, "few"), seconds=LEASE_SECONDS + 10, what="its share is free")
    for stream in streams:
        stream.close()


@pytest.mark.parametrize(("tenant", "settings"), [("slow", {}), ("free", {"connect_rate": 8})])
def test_rates_hold_across(nodes: Callable[..., Nodes], tenant: str, settings: dict[str, Any]) -> None:
    """Who has connected as often as they may at one hub, a user or an address, is soon refused at the other."""
    both = nodes(**settings)
    for n in range(8):
        both.first.stream("/stream", token("u1" if tenant == "slow" else f"u{n}", tenant)).close()
    tried: list[float] = []

    def refused() -> bool:
        now = time.monotonic()
        if tried and now - tried[0] < 0.5 * 2 ** (len(tried) - 1):
            return False  # it would be refused in the end by its own counting alone
        tried.append(now)
        return not both.admits(both.last, tenant)

    wait_until(refused, seconds=20, what="the other hub knows")
    assert len(tried) < 8  # each let in one at most


def test_a_ticket_opens_one_stream_in_all(nodes: Callable[..., Nodes]) -> None:
    """A ticket of one hub counts at the other, once, and then nowhere."""
    both = nodes()
    me = both.first.someone()
    for _ in range(6):
        ticket = me.post("/tickets")["ticket"]
        with both.last.stream(f"/stream?ticket={ticket}") as stream:
            stream.until("live")
        for server in (both.first, both.last):
            with server.stream(f"/stream?ticket={ticket}") as again:
                assert again.status == 401
