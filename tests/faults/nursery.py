"""Hubs that start in milliseconds: one process has everything imported and forks a hub whenever one is wanted.

A hundred kills would otherwise be spent on a hundred imports.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx2

_CODE = """
import os, signal, sys
import milepost.client, milepost.engines.postgres, milepost.engines.redis, milepost.engines.sqlite
import milepost.server.run, uvloop
from milepost.server import serve
from milepost.settings import Settings
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        sys.stdin.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os._exit(serve(Settings.load()))
    print(pid, flush=True)
"""


class Nursery:
    """One hub at a time, on one port and one store, killed and born again."""

    def __init__(self, folder: Path, port: int, **settings: Any) -> None:
        self.port = port
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        own = {"port": port, "connect_rate": 0, **settings}
        environment |= {f"MILEPOST_{name.upper()}": str(value) for name, value in own.items()}
        self._log = (folder / "hub.log").open("ab")
        self._mother = subprocess.Popen(
            [sys.executable, "-c", _CODE],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self.url = f"http://127.0.0.1:{port}"
        self.pid = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._mother.kill()
        self._mother.communicate(timeout=10)
        self._log.close()

    def start(self, seconds: float = 30.0) -> None:
        """Have a hub, and wait until it is ready."""
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        self._mother.stdin.write(b"start\n")
        self._mother.stdin.flush()
        self.pid = int(self._mother.stdout.readline())
        until = time.monotonic() + seconds
        while True:
            assert time.monotonic() < until, "the hub did not become ready"
            try:
                if httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.005)

    def kill(self) -> None:
        """``kill -9``, and wait until the process is gone."""
        if not self.pid:
            return
        os.kill(self.pid, signal.SIGKILL)
        while True:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                self.pid = 0
                return
            time.sleep(0.001)
