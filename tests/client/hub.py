"""A real server in a process of its own, to be stopped, killed and started again on its port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from milepost.auth import issue_token
from milepost.settings import DEV_SECRET

T = TypeVar("T")

READY_SECONDS = 20.0


def wait_until(look: Callable[[], T | None], *, seconds: float = 10.0, what: str = "") -> T:
    """What `look` gives as soon as that is true; fails after the deadline."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {what or look}"
        time.sleep(0.01)
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """This process's, without any setting of Milepost's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


class Hub:
    """``milepost serve --dev`` on a free loopback port, with its data in ``folder``."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.engine = f"sqlite:///{folder}/hub.db"
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "milepost", "serve", "--dev", "--port", str(self.port)]
        with (self.folder / "hub.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--engine", self.engine, *self._flags],
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=log,
            )
        wait_until(self._ready, seconds=READY_SECONDS, what="the server is ready")

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "hub.log").read_text()
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=1).status_code == 200
        except httpx2.TransportError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; the exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(30)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def token(self, user: str = "u7", scope: str = "consume produce", ttl: float = 3600.0) -> str:
        """A token that it accepts."""
        return issue_token(DEV_SECRET, user=user, scope=scope, ttl=ttl)

    def get(self, path: str, user: str = "u7", scope: str = "consume") -> dict[str, Any]:
        """The JSON at a path below ``/api``, as somebody else sees it."""
        answer = self._get(path, user, scope)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def notes(self, user: str) -> list[dict[str, Any]]:
        """What this user alone was told, oldest first; the newest hundred."""
        found = self.get("/notifications?limit=100", user)["notifications"]
        return [note for note in reversed(found) if note["user"] == user]

    def job(self, job_id: str) -> dict[str, Any] | None:
        """A job, whoever owns it; None where there is none."""
        answer = self._get(f"/jobs/{job_id}", "looker", "admin")
        if answer.status_code == 404:
            return None
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()["job"]
        return found

    def _get(self, path: str, user: str, scope: str) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.token(user, scope)}"}
        return httpx2.get(f"{self.url}/api{path}", headers=headers)
