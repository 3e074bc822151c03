"""The servers that are measured, all with the same three routes for the load, each a process on the same core.

``Milepost`` is ``milepost serve`` as anybody runs it, on SQLite in a fresh folder, with the limits on connections
lifted. ``Peer`` is sse-starlette in the way its manual shows it (bench/peer.py). ``Limit`` is C: epoll and ``write()``
in a loop (bench/limit.c), which does nothing else: no token, no disk, no catching up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from bench import machine
from bench.load import NUMBER, STAMP
from bench.protocol import Address, get, post
from milepost.auth import issue_token

ROOT: Final = Path(__file__).resolve().parent.parent
SECRET: Final = "bench-secret-0123456789-abcdefghijklmnopqrstuvwxyz"
TITLE: Final = "Discovery set is ready"
TEXT: Final = f"{STAMP.decode()} {NUMBER.decode()} 44 pages"  # what a paced producer fills in
CREATED: Final = "2026-01-01T00:00:00.000Z"


def user(number: int) -> str:
    """The user of a stream."""
    return f"u{number:05d}"


class Server:
    """A server's process, pinned to the servers' core. Leaving it ends it."""

    name = ""
    ready = "live"  # the event that says that a stream is open
    beat = "heartbeat"
    path = "/stream"

    def __init__(self, folder: Path) -> None:
        command, environment = self.command(folder)
        own = {key: value for key, value in os.environ.items() if not key.startswith("MILEPOST_")}
        own |= {**environment, "PYTHONPATH": str(ROOT)}
        self._log = folder / f"{type(self).__name__}.log"
        with self._log.open("a") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=own)
        machine.pin(self._process.pid, machine.SERVER_CORE)
        self.address = self._listens()

    def command(self, folder: Path) -> tuple[Sequence[str], dict[str, str]]:
        """What starts it, and the environment that it needs besides. Its data is in the folder."""
        raise NotImplementedError

    def _listens(self) -> Address:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            for line in self._log.read_text().splitlines(keepends=True):
                if "listening on http://" in line and line.endswith("\n"):
                    host, _, port = line.strip().rpartition("//")[2].partition(":")
                    return Address(host, int(port))
            time.sleep(0.02)
        self._process.kill()
        raise SystemExit(f"{self.name} does not start: {self._log.read_text()[-2000:]}")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.address.host}:{self.address.port}"

    def stream(self, number: int) -> bytes:
        """The request of one user's stream, with a token of the user's own."""
        return get(self.path, issue_token(SECRET, user=user(number)))

    def publish(self, to: str | None) -> bytes:
        """The request that tells one user, or everyone (None)."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            print(f"{self.name} said:\n{self._log.read_text()[-2000:]}", file=sys.stderr)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Milepost(Server):
    """The product, with everything on: tokens, durable commits, snapshots, resuming, leases."""

    name = "Milepost"
    path = "/api/stream?dialect=milepost"
    _token = issue_token(SECRET, user="producer", scope="produce", ttl=24 * 3600)

    def command(self, folder: Path) -> tuple[Sequence[str], dict[str, str]]:
        """`milepost serve`."""
        return [sys.executable, "-m", "milepost", "serve", "--port", "0"], {
            "MILEPOST_SECRET": SECRET,
            "MILEPOST_ENGINE": f"sqlite:///{folder / 'milepost.db'}",
            "MILEPOST_CONNECT_RATE": "0",
            "MILEPOST_MAX_STREAMS_PER_TENANT": "50000",
            "MILEPOST_DRAIN_SECONDS": "0",
        }

    def publish(self, to: str | None) -> bytes:
        """A notification, on the disk before it is answered."""
        whom = {"everyone": True} if to is None else {"user": to}
        return post("/api/notifications", self._token, {**whom, "title": TITLE, "message": TEXT, "level": "success"})

    def batch(self, users: Sequence[str]) -> bytes:
        """A notification for each of the users, in one request and one commit."""
        commands = [{"verb": "notify", "user": to, "title": TITLE, "message": TEXT, "level": "success"} for to in users]
        return post("/api/batch", self._token, {"commands": commands})

    def start_jobs(self, users: Sequence[str]) -> bytes:
        """A job and a notification for each of the users, for a snapshot to hold something.

        The jobs are queued: one that runs would be found silent while the streams are idle.
        """
        commands: list[dict[str, Any]] = []
        for to in users:
            commands.append({"verb": "start", "job": f"job-{to}", "title": TITLE, "owner": to, "total": 32})
            commands.append({"verb": "notify", "user": to, "title": TITLE, "message": TEXT})
        return post("/api/batch", self._token, {"commands": commands})


class _Plain(Server):
    """A server that sends what it was posted, as it is: the same document that Milepost makes."""

    def publish(self, to: str | None) -> bytes:
        """The document for one user, or for everyone; it stays in memory."""
        cursor = "0123456789ab.12345.0123456789"
        note: dict[str, Any] = {
            "id": "0123456789abcdef01234567",
            "user": to,
            "level": "success",
            "title": TITLE,
            "message": TEXT,
            "text": TEXT,
            "href": None,
            "context": {},
            "status": "unread",
            "created_at": CREATED,
            "read_at": None,
            "seq": 12345,
            "rev": 12345,
        }
        data: dict[str, Any] = {"notification": note}
        if to is not None:
            data |= {"unread": 123, "as_of": cursor}
        return post("/publish", issue_token(SECRET, user="producer"), data)


class Peer(_Plain):
    """sse-starlette: a queue and an async generator per stream, the token checked, nothing stored."""

    name = "sse-starlette"
    beat = ":"

    def command(self, folder: Path) -> tuple[Sequence[str], dict[str, str]]:
        """bench/peer.py."""
        return [sys.executable, "-m", "bench.peer"], {"BENCH_SECRET": SECRET}


class Limit(_Plain):
    """C, epoll, ``write()`` in a loop: what the kernel allows on one core, and what the load can take."""

    name = "C: epoll, write()"

    def command(self, folder: Path) -> tuple[Sequence[str], dict[str, str]]:
        """bench/limit.c, compiled."""
        program = folder / "limit"
        compiler = shutil.which("cc")
        assert compiler, "asked for by `available` first"
        subprocess.run([compiler, "-O2", "-o", program, ROOT / "bench" / "limit.c"], check=True)
        return [str(program)], {}

    @staticmethod
    def available() -> bool:
        """Whether there is a C compiler here."""
        return shutil.which("cc") is not None
