"""Somebody's application in a folder of its own, run as they run it: ``uvicorn app:app``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.server.process import START_SECONDS, wait_until
from tests.server.sse_client import Stream


class House:
    """``app.py`` and uvicorn. ``environment``: further variables, in full."""

    def __init__(self, folder: Path, code: str, *options: str, **environment: str) -> None:
        (folder / "app.py").write_text(code)
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        known = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        self._environment = {**known, "MILEPOST_CONNECT_RATE": "0", "PYTHONUNBUFFERED": "1", **environment}
        self._options = options
        self.http = httpx2.Client(base_url=self.url, timeout=30)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "house.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "app:app", "--port", str(self.port), *self._options],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, seconds=START_SECONDS, what="the application answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        try:
            return bool(self.http.get("/own").status_code)
        except httpx2.TransportError:
            return False

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self.folder / "house.log").read_text()

    def stream(self, path: str = "/stream", **more: object) -> Stream:
        """Open a stream of Milepost's; ``headers`` say who asks."""
        return Stream(self.port, f"/milepost/api{path}", **more)  # type: ignore[arg-type]

    def stop(self, number: signal.Signals) -> int:
        """Send it a signal and wait for its end; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.http.close()
