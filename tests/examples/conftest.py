"""An example as its users start it: supervisor, hub with pages, and workers, each a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
EXAMPLE = EXAMPLES / "documents"
CASE: dict[str, Any] = json.loads((EXAMPLE / "sample" / "case.json").read_bytes())
T = TypeVar("T")
ENDS = {"completed", "failed", "cancelled"}


def until(look: Callable[[], T], *, seconds: float = 20.0, what: str = "") -> T:
    """What ``look`` returns once it is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or look}"
        time.sleep(0.02)


class Demo:
    """A running example."""

    def __init__(self, url: str, folder: Path, process: subprocess.Popen[str]) -> None:
        self.url = url  # of the example's page, below which the hub answers too
        self.folder = folder
        self.process = process
        self._clients: list[httpx2.Client] = []

    def children(self, role: str) -> list[int]:
        """The processes of one role: ``hub`` or ``worker``."""
        listed = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(pid) for path in listed for pid in path.read_text().split()]
        return [pid for pid in pids if role in _words(pid)]

    def visitor(self) -> Visitor:
        """Somebody who opens the page for the first time."""
        return Visitor(self.client())

    def client(self, headers: dict[bytes, bytes] | None = None) -> httpx2.Client:
        """A client without cookies, closed with the demo."""
        self._clients.append(httpx2.Client(base_url=self.url, timeout=20, headers=headers))
        return self._clients[-1]

    def close(self) -> None:
        """Closes all connections."""
        for client in self._clients:
            client.close()


class Visitor:
    """A visitor's browser, as far as requests go."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http
        until(self._open_page, what="the page")

    def _open_page(self) -> bool:
        try:
            return self.http.get("/").status_code == 200
        except httpx2.TransportError:
            return False

    def submit(self, **changes: Any) -> str:
        """Sends the form and returns the job's id."""
        form = {"key": secrets.token_hex(8), "case": CASE, "kinds": ["complaint"], "pace": 0, "target": "files"}
        answer = self.http.post("/jobs", json={**form, **changes})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as the hub tells it now."""
        answer = self.http.get(f"/api/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()["job"]
        return job

    def when(self, job_id: str, ready: Callable[[dict[str, Any]], bool], *, seconds: float = 20.0) -> dict[str, Any]:
        """The job once it is ``ready``; waits over a restart of the hub."""
        seen: dict[str, Any] = {}

        def look() -> bool:
            nonlocal seen
            try:
                seen = self.job(job_id)
            except httpx2.TransportError:
                return False
            return ready(seen)

        until(look, seconds=seconds, what=f"{job_id}: {seen}")
        return seen

    def end_of(self, job_id: str, *, seconds: float = 20.0) -> dict[str, Any]:
        """The job once it has ended."""
        return self.when(job_id, lambda job: job["state"] in ENDS, seconds=seconds)


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except FileNotFoundError:
        return []


@contextmanager
def running(folder: Path, *arguments: str, name: str = "documents") -> Iterator[Demo]:
    """Starts an example on a free port, ends it as Ctrl-C does."""
    log = (folder.parent / f"{folder.name}.log").open("a")
    command = [sys.executable, str(EXAMPLES), name, "--port", "0", "--data-dir", str(folder), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=folder.parent
    )
    with process, log:
        assert process.stdout
        line = process.stdout.readline()
        assert " at http" in line, line
        demo = Demo(line.split(" at ")[1].split()[0] + f"/{name}", folder, process)
        try:
            yield demo
        finally:
            demo.close()
            process.send_signal(signal.SIGINT)
            process.wait(30)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One running example for all tests that do not break it."""
    with running(tmp_path_factory.mktemp("documents") / "data") as started:
        yield started
