"""HTTP/1.1 by hand, as little of it as the load needs: requests as bytes, answers decoded as they come."""

from __future__ import annotations

import socket
from typing import Final, NamedTuple

import orjson

HEAD_END: Final = b"\r\n\r\n"


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    data: bytes
    id: str


class Refused(RuntimeError):
    """A stream was not opened; ``retry_after`` in seconds where the server says when to come back, else None."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(f"refused: {answer[:400]!r}")
        stated = answer.lower().find(b"retry-after:")
        self.retry_after = float(answer[stated + 12 :].split(b"\r\n", 1)[0]) if stated >= 0 else None


def get(path: str, token: str, accept: str = "text/event-stream, application/problem+json") -> bytes:
    """A GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nAccept: {accept}\r\n\r\n".encode()


def post(path: str, token: str, body: object, headers: str = "", verb: str = "POST") -> bytes:
    """A request with a JSON body; ``headers`` end in CRLF each."""
    data = orjson.dumps(body)
    head = f"{verb} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n{headers}"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def connect(address: Address, buffer: int | None = None) -> socket.socket:
    """A connection that sends at once, perhaps with a receive buffer of this many bytes."""
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(30)
    connection.connect(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Answers:
    """Counts the answers on a connection that is kept alive; each has a Content-Length, or is a 204."""

    def __init__(self) -> None:
        self._raw = b""

    def feed(self, data: bytes) -> int:
        """How many answers are complete with these bytes. Raises RuntimeError for one that is no success."""
        self._raw += data
        complete = 0
        while (end := self._raw.find(HEAD_END)) >= 0:
            head = self._raw[:end].lower()
            if head[9:10] != b"2":
                raise RuntimeError(f"refused: {self._raw[:400]!r}")
            stated = head.find(b"content-length:")
            length = int(head[stated + 15 :].split(b"\r\n", 1)[0]) if stated >= 0 else 0
            if len(self._raw) < end + 4 + length:
                break
            self._raw = self._raw[end + 4 + length :]
            complete += 1
        return complete


class Events:
    """Decodes one stream: the answer's head, chunks, events. Comments count as events named ":"."""

    __slots__ = ("_body", "_chunked", "_open", "_raw")

    def __init__(self) -> None:
        self._raw = b""
        self._body = b""
        self._open = False
        self._chunked = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete with these bytes. Raises Refused."""
        raw = self._raw + data if self._raw else data
        if not self._open:
            end = raw.find(HEAD_END)
            if end < 0:
                self._raw = raw
                return []
            if not raw.startswith(b"HTTP/1.1 200"):
                raise Refused(raw)
            self._chunked = b"transfer-encoding: chunked" in raw[:end].lower()
            self._open, raw = True, raw[end + 4 :]
        if self._chunked:
            raw = self._unchunk(raw)
        else:
            self._body, raw = self._body + raw, b""
        self._raw = raw
        *blocks, self._body = self._body.split(b"\n\n")
        return [_event(block) for block in blocks]

    def _unchunk(self, raw: bytes) -> bytes:
        """Take the complete chunks; what is left."""
        while (line := raw.find(b"\r\n")) > 0:
            size = int(raw[:line], 16)
            if len(raw) < line + size + 4:
                break
            self._body += raw[line + 2 : line + 2 + size]
            raw = raw[line + size + 4 :]
        return raw


def _event(block: bytes) -> Event:
    name, data, cursor = "message", b"", ""
    for line in block.split(b"\n"):
        if line.startswith(b"event: "):
            name = line[7:].decode()
        elif line.startswith(b"data: "):
            data = line[6:]
        elif line.startswith(b"id: "):
            cursor = line[4:].decode()
        elif line.startswith(b":"):
            name = ":"
    return Event(name, data, cursor)
