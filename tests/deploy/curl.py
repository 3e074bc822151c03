"""curl as a client, by HTTP/1.1 or HTTP/2: requests, and streams whose events are read as they come."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from typing import Any, Self

from tests.deploy.proxies import Proxy
from tests.server.sse_client import Event, Parser

SECONDS = 30.0
VERSIONS = ("1.1", "2")


class Answer:
    """Status, headers and body, as curl has printed them."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode().split("\r\n")
        self.protocol, status = first.split()[:2]
        self.status = int(status)
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.body = body

    @property
    def json(self) -> Any:
        """The body of an answer that has to be a success."""
        assert 200 <= self.status < 300, (self.status, self.body)
        return json.loads(self.body)


class Curl:
    """Somebody with a token behind a proxy."""

    def __init__(self, proxy: Proxy, version: str, token: str, *more: str) -> None:
        self.proxy = proxy
        self.protocol = f"HTTP/{version}"
        self._words = ["curl", "--silent", "--show-error", "--no-buffer", "--include", "--ipv4", f"--http{version}"]
        self._words += ["--cacert", str(proxy.certificate.certificate), "--max-time", "120", *more]
        if token:
            self._words += ["--header", f"authorization: Bearer {token}"]

    def command(self, path: str, *more: str) -> list[str]:
        """How curl is called for a path below ``/api``."""
        return [*self._words, *more, f"{self.proxy.url}/api{path}"]

    def call(self, path: str, body: Any = None, *more: str) -> Answer:
        """A request and its answer, whatever it is."""
        sent = [] if body is None else ["--json", json.dumps(body)]
        done = subprocess.run(self.command(path, *sent, *more), capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        answer = Answer(head, rest)
        assert answer.protocol == self.protocol
        return answer

    def stream(self, path: str, *more: str) -> CurlStream:
        """Open a stream; its head has come."""
        return CurlStream(self.command(path, "--header", "accept: text/event-stream, application/problem+json", *more))


class CurlStream:
    """An open stream."""

    def __init__(self, command: Sequence[str]) -> None:
        self.parser = Parser()
        self.ended = False
        self._events: list[Event] = []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._read(time.monotonic() + SECONDS)
            assert not self.ended, head
        head, _, rest = head.partition(b"\r\n\r\n")
        self.answer = Answer(head, b"")
        self._events += self.parser.feed(rest)

    def until(self, name: str, *, seconds: float = SECONDS) -> Event:
        """The next event of this name. Those before it are passed over."""
        deadline = time.monotonic() + seconds
        while True:
            while self._events:
                event = self._events.pop(0)
                if event.name == name:
                    return event
            self._events += self.parser.feed(self._read(deadline))
            assert self._events or not self.ended, f"the stream ended before {name}"

    def count(self, name: str, *, seconds: float) -> int:
        """How many events of this name come in so many seconds, or until the end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.ended:
            self._events += self.parser.feed(self._read(deadline, late=True))
        return sum(event.name == name for event in self._events)

    def _read(self, deadline: float, *, late: bool = False) -> bytes:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            assert late, "nothing came"
            return b""
        data = os.read(self._process.stdout.fileno(), 65536)
        self.ended = not data
        return data

    def close(self) -> None:
        """Leave, as a browser whose tab is closed."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
