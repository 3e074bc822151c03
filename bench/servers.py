"""The servers that are measured, all with the same routes for the load, each on the same core.

``Milepost`` is ``milepost serve`` as anybody runs it, on SQLite in a fresh folder, with the limits on connections
lifted. ``SseStarlette`` and ``FastApi`` are those libraries in the way their manuals show it (bench/peer.py). ``Nchan``
is nginx with its module, ``Pushpin`` the proxy with a small origin (bench/peer.py). ``Limit`` is C: epoll and
``write()`` in a loop (bench/limit.c), which does nothing else: no token, no disk, no catching up.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import orjson

from bench import machine
from bench.load import NUMBER, STAMP, Remote
from bench.protocol import Address, get, post
from milepost.auth import issue_token

ROOT: Final = Path(__file__).resolve().parent.parent
SECRET: Final = "bench-secret-0123456789-abcdefghijklmnopqrstuvwxyz"
TITLE: Final = "Discovery set is ready"
TEXT: Final = f"{STAMP.decode()} {NUMBER.decode()} 44 pages"  # what a paced producer fills in
CREATED: Final = "2026-01-01T00:00:00.000Z"
CURSOR: Final = "0123456789ab.12345.0123456789"
NCHAN: Final = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


def user(number: int) -> str:
    """The user of a stream."""
    return f"u{number:05d}"


class Server:
    """A server's processes, pinned to the servers' core. Leaving it ends them."""

    name = ""
    does = ""  # with a stream, and with what is published
    ready = "live"  # the event that says that a stream is open
    beat = "heartbeat"
    path = "/stream"
    at_once = 128  # streams that are being opened at any moment
    losses = 0  # how many of its streams it may close meanwhile; they are asked for again
    most = 15_000  # streams that it can be asked for

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / f"{type(self).__name__}.log"
        self.address, self.publisher = self.start()

    @staticmethod
    def available() -> bool:
        """Whether what it needs is installed."""
        return True

    def start(self) -> tuple[Address, Address]:
        """Start it; where it listens for streams, and for what is published."""
        self.run(*self.command())
        address = self._told()
        return address, address

    def command(self) -> tuple[Sequence[str | Path], dict[str, str]]:
        """What starts it, and the environment that it needs besides. Its data is in the folder."""
        raise NotImplementedError

    def run(self, command: Sequence[str | Path], environment: dict[str, str]) -> None:
        """Start the process."""
        own = {key: value for key, value in os.environ.items() if not key.startswith("MILEPOST_")}
        own |= {**environment, "PYTHONPATH": str(ROOT)}
        with self.log.open("w") as log, machine.on_core(machine.SERVER_CORE):
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, env=own)

    def _told(self) -> Address:
        """Where it says that it listens."""
        for _ in self._patiently():
            for line in self.log.read_text().splitlines(keepends=True):
                if "listening on http://" in line and line.endswith("\n"):
                    host, _, port = line.strip().rpartition("//")[2].partition(":")
                    return Address(host, int(port))
        raise self._failed()

    def answers(self, address: Address) -> None:
        """Return when somebody listens there."""
        for _ in self._patiently():
            with socket.socket() as attempt:
                if attempt.connect_ex(address) == 0:
                    return
        raise self._failed()

    def _patiently(self) -> Iterator[None]:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            yield
            time.sleep(0.02)

    def _failed(self) -> SystemExit:
        self.end(signal.SIGKILL)
        return SystemExit(f"{self.name} does not start: {self.log.read_text()[-2000:]}")

    @property
    def pid(self) -> int:
        """Its first process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.address.host}:{self.address.port}"

    def stream(self, number: int) -> bytes:
        """The request of one user's stream, with a token of the user's own."""
        return get(self.path, issue_token(SECRET, user=user(number)))

    def personal(self, number: int) -> bytes:
        """The request of the stream on which what is for this user alone comes; by default the same stream."""
        return self.stream(number)

    def publish(self, to: str | None) -> bytes:
        """The request that tells one user, or everyone (None)."""
        raise NotImplementedError

    def open(self, readers: Remote, requests: Sequence[bytes]) -> float:
        """Have these streams opened; the seconds it took."""
        seconds: float = readers.call("open", self.address, requests, self.ready, self.at_once, self.losses)
        return seconds

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and all that it started; when this returns, it is gone."""
        self._tell(how)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._tell(signal.SIGKILL)
            self._process.wait()

    def _tell(self, how: signal.Signals) -> None:
        for one in machine.family(self.pid):
            with suppress(ProcessLookupError):
                os.kill(one, how)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            print(f"{self.name} said:\n{self.log.read_text()[-2000:]}", file=sys.stderr)
        self.end()


class Milepost(Server):
    """The product, with everything on: tokens, durable commits, snapshots, resuming, leases."""

    name = "Milepost"
    does = "token checked, snapshot sent, every publish on the disk before it is answered"
    path = "/api/stream?dialect=milepost"
    module = "milepost"
    _token = issue_token(SECRET, user="producer", scope="produce", ttl=24 * 3600)

    def command(self) -> tuple[Sequence[str | Path], dict[str, str]]:
        """`milepost serve`."""
        return [sys.executable, "-m", self.module, "serve", "--port", "0"], {
            "MILEPOST_SECRET": SECRET,
            "MILEPOST_ENGINE": f"sqlite:///{self.folder / 'milepost.db'}",
            "MILEPOST_CONNECT_RATE": "0",
            "MILEPOST_MAX_STREAMS_PER_TENANT": "50000",
            "MILEPOST_DRAIN_SECONDS": "0",
        }

    def restart(self) -> None:
        """Kill it, with no time to say goodbye, and start it again on the same data, at another address."""
        self.end(signal.SIGKILL)
        self.address, self.publisher = self.start()

    def publish(self, to: str | None, text: str = TEXT) -> bytes:
        """A notification, on the disk before it is answered."""
        whom = {"everyone": True} if to is None else {"user": to}
        return post("/api/notifications", self._token, {**whom, "title": TITLE, "message": text, "level": "success"})

    def batch(self, users: Sequence[str], text: str = TEXT) -> bytes:
        """A notification for each of the users, in one request and one commit."""
        return self.commands(
            {"verb": "notify", "user": to, "title": TITLE, "message": text, "level": "success"} for to in users
        )

    def commands(self, commands: Iterable[dict[str, Any]]) -> bytes:
        """Any commands, in one request and one commit."""
        return post("/api/batch", self._token, {"commands": list(commands)})

    def start_jobs(self, users: Sequence[str]) -> bytes:
        """A job and a notification for each of the users, for a snapshot to hold something.

        The jobs are queued: one that runs would be found silent while the streams are idle.
        """
        commands: list[dict[str, Any]] = []
        for to in users:
            commands.append({"verb": "start", "job": f"job-{to}", "title": TITLE, "owner": to, "total": 32})
            commands.append({"verb": "notify", "user": to, "title": TITLE, "message": TEXT})
        return self.commands(commands)

    def advance(self, job: str) -> bytes:
        """A message on a job's way."""
        return post(f"/api/jobs/{job}", self._token, {"by": 1, "message": TEXT}, verb="PATCH")

    def metric(self, name: str) -> float:
        """A metric without labels, by the server's own count."""
        token = issue_token(SECRET, user="bench", scope="admin")
        request = urllib.request.Request(f"{self.url}/metrics", headers={"authorization": f"Bearer {token}"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.split()[0] == name)


def document(to: str | None) -> dict[str, Any]:
    """The document that Milepost makes of ``publish``, for servers that send what they are given."""
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
    return {"notification": note} if to is None else {"notification": note, "unread": 123, "as_of": CURSOR}


class _Plain(Server):
    """A server that sends what it was posted, as it is; it stays in memory."""

    def publish(self, to: str | None) -> bytes:
        """The document for one user, or for everyone."""
        return post("/publish", issue_token(SECRET, user="producer"), document(to))


class SseStarlette(_Plain):
    """sse-starlette: a queue and an async generator per stream, the token checked, nothing stored."""

    name = "sse-starlette"
    does = "token checked, nothing stored"
    beat = ":"
    losses = 100
    kind = "sse-starlette"

    def command(self) -> tuple[Sequence[str | Path], dict[str, str]]:
        """bench/peer.py."""
        return [sys.executable, "-m", "bench.peer", self.kind], {"BENCH_SECRET": SECRET}


class FastApi(SseStarlette):
    """FastAPI's own EventSourceResponse: the same."""

    name = "FastAPI"
    kind = "fastapi"
    most = 5_000  # beyond, one broadcast takes seconds


class Nchan(Server):
    """nginx with Nchan, in C, one worker: channels in shared memory, a short history each; no token."""

    name = "Nchan"
    does = "no token, nothing stored on the disk"
    ready = beat = ":"
    losses = 100

    @staticmethod
    def available() -> bool:
        """Whether nginx and its module are installed."""
        return NCHAN.exists() and shutil.which("nginx") is not None

    def start(self) -> tuple[Address, Address]:
        """With a configuration of our own."""
        (port,) = machine.free_ports(1)
        address = Address("127.0.0.1", port)
        file = self.folder / "nginx.conf"
        file.write_text((ROOT / "bench" / "nginx.conf").read_text().replace("PORT", str(port)))
        self.run(["nginx", "-p", self.folder, "-c", file], {})
        self.answers(address)
        return address, address

    def stream(self, number: int) -> bytes:
        """A stream of what is for everyone."""
        return get(f"/stream?of=everyone&user={number}", "")

    def personal(self, number: int) -> bytes:
        """A stream of what is for one user."""
        return get(f"/stream?of={user(number)}", "")

    def publish(self, to: str | None) -> bytes:
        """The document into one channel, which makes an event of it."""
        return post(f"/publish?of={to or 'everyone'}", "", document(to), "X-EventSource-Event: notification\r\n")


class Pushpin(Server):
    """Pushpin, in Rust and C++: condure, proxy, handler, zurl, and the origin that it asks about every stream."""

    name = "Pushpin"
    does = "token checked by the origin, nothing stored"
    beat = ":"
    at_once = 8
    losses = 100  # at times it cancels one, more of them the more there are: "received message out of sequence"
    most = 5_000  # beyond, opening them takes a minute

    @staticmethod
    def available() -> bool:
        """Whether its programs are installed."""
        return shutil.which("pushpin") is not None and shutil.which("zurl") is not None

    def start(self) -> tuple[Address, Address]:
        """With configurations of our own."""
        ports = machine.free_ports(6)
        names = ("ORIGIN_PORT", "STREAM_PORT", "PUBLISH_PORT", "PULL_PORT", "SUB_PORT", "COMMAND_PORT")
        text = (ROOT / "bench" / "pushpin.conf").read_text().replace("FOLDER", str(self.folder))
        for name, port in zip(names, ports, strict=True):
            text = text.replace(name, str(port))
        for file, part in zip(("pushpin.conf", "zurl.conf"), text.split("# ---- zurl\n"), strict=True):
            (self.folder / file).write_text(part)
        (self.folder / "routes").write_text(f"* 127.0.0.1:{ports[0]}\n")
        (self.folder / "pushpin").mkdir()
        programs = (
            f"zurl --config={self.folder}/zurl.conf --loglevel=1 &"
            f"pushpin --config={self.folder}/pushpin.conf --loglevel=1 --merge-output &"
            f'exec "{sys.executable}" -m bench.peer origin {ports[0]}'
        )
        self.run(["sh", "-c", programs], {"BENCH_SECRET": SECRET})
        addresses = [Address("127.0.0.1", port) for port in ports[:3]]
        for address in addresses:
            self.answers(address)
        return addresses[1], addresses[2]

    def publish(self, to: str | None) -> bytes:
        """The event as it goes out, into one channel."""
        data = orjson.dumps(document(to)).decode()
        content = f"event: notification\nid: {CURSOR}\ndata: {data}\n\n"
        item = {"channel": to or "everyone", "formats": {"http-stream": {"content": content}}}
        return post("/publish/", "", {"items": [item]})


class Limit(_Plain):
    """C, epoll, ``write()`` in a loop: what the kernel allows on one core, and what the load can take."""

    name = "C: epoll, write()"
    does = "no token, nothing stored"

    def command(self) -> tuple[Sequence[str | Path], dict[str, str]]:
        """bench/limit.c, compiled."""
        return [machine.compiled("limit.c", self.folder)], {}


def everybody() -> list[type[Server]]:
    """All that can be measured here, the limit first."""
    return [kind for kind in (Limit, Milepost, Nchan, Pushpin, SseStarlette, FastApi) if kind.available()]
