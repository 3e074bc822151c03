"""A real Redis for tests: on a free port, with its data in a folder of its own, killed and started again at will."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

START_SECONDS = 20.0
PROGRAM = os.environ.get("MILEPOST_TEST_REDIS", "redis-server")  # to run the tests on another version, or on Valkey


def free_port() -> int:
    """A loopback port that nobody uses, nor the one that a cluster would add to it."""
    while True:
        with socket.socket() as one, socket.socket() as bus:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                bus.bind(("127.0.0.1", port + 10_000))
                return port


class RedisServer:
    """``redis-server`` with settings of ``redis.conf``, underscores for hyphens. It keeps nothing unless told to."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.settings = {"save": "", "appendonly": "no", "repl_diskless_sync_delay": "0", **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = itertools.count(1)

    @property
    def url(self) -> str:
        """As an engine's URL."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def new_database(self) -> str:
        """The URL of an empty database. It has as many as its settings say, 15 beside the first where they do not."""
        return f"{self.url}/{next(self._databases)}"

    def start(self) -> None:
        """Start it on its port and its data; returns when it answers and has read them."""
        options = [
            word for name, value in self.settings.items() for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, *where, *options], stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except RedisError:
                assert self._process.poll() is None, (self.folder / "redis.log").read_text()
                assert time.monotonic() < until
                time.sleep(0.01)

    def client(self) -> Redis:
        """A plain client of it."""
        return Redis(port=self.port, protocol=2)

    def do(self, *command: str) -> Any:
        """Send one command."""
        with self.client() as client:
            return client.execute_command(*command)

    def info(self, name: str) -> Any:
        """One field of INFO."""
        with self.client() as client:
            return client.info("all")[name]

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send any signal: SIGSTOP makes it hang, SIGCONT go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running_redis(folder: Path, **settings: Any) -> Iterator[RedisServer]:
    """A running server for as long as the block lasts."""
    server = RedisServer(folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def running_cluster(folder: Path, size: int = 3) -> Iterator[list[RedisServer]]:
    """A cluster of primaries that keeps all slots."""
    servers = [RedisServer(folder / str(n), cluster_enabled="yes", cluster_node_timeout="2000") for n in range(size)]
    try:
        for server in servers:
            server.start()
        for n, server in enumerate(servers):
            first, last = 16384 * n // size, 16384 * (n + 1) // size - 1
            server.do("CLUSTER", "ADDSLOTS", *map(str, range(first, last + 1)))
            server.do("CLUSTER", "SET-CONFIG-EPOCH", str(n + 1))
            if n:
                server.do("CLUSTER", "MEET", "127.0.0.1", str(servers[0].port))
        until = time.monotonic() + START_SECONDS
        while not all(_ready(server, size) for server in servers):
            assert time.monotonic() < until
            time.sleep(0.02)
        yield servers
    finally:
        for server in servers:
            server.close()


def _ready(server: RedisServer, size: int) -> bool:
    with server.client() as client:
        return client.cluster("INFO")["cluster_state"] == "ok" and len(client.cluster("SLOTS")) == size
