"""A server-sent events client on a raw socket, with a strict parser.

It reads as the WHATWG HTML standard (9.2.6) says, and refuses what the standard would let pass but our server promises
never to send: another line end than LF, a field it does not know, an id with NUL, a block without data.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

SECONDS = 10.0


class BadStreamError(AssertionError):
    """What came is no stream of ours."""


@dataclass(frozen=True)
class Event:
    """One dispatched event. ``id`` and ``retry`` are what this very block said."""

    name: str
    data: str
    id: str | None
    retry: int | None

    @property
    def json(self) -> Any:
        """The data, which is always JSON."""
        return json.loads(self.data)


class Parser:
    """Bytes in, events out; ``comments`` and ``last_event_id`` on the side. Indifferent to where the bytes were cut."""

    def __init__(self) -> None:
        self.comments: list[str] = []
        self.last_event_id = ""
        self._line = b""
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
        *lines, self._line = (self._line + data).split(b"\n")
        for raw in lines:
            event = self._take(raw)
            if event is not None:
                yield event

    @property
    def clean(self) -> bool:
        """Whether nothing is half received."""
        return not self._line and not self._fields

    def _take(self, raw: bytes) -> Event | None:
        if b"\r" in raw:
            raise BadStreamError(f"CR in {raw!r}")
        line = raw.decode("utf-8")
        if line.startswith(":"):
            self.comments.append(line[1:].strip())
            return None
        if line:
            name, colon, value = line.partition(":")
            if name not in {"event", "data", "id", "retry"} or not colon:
                raise BadStreamError(f"no field of ours: {line!r}")
            if name in self._fields:
                raise BadStreamError(f"twice in a block: {line!r}")
            self._fields[name] = value.removeprefix(" ")
            return None
        return self._dispatch()

    def _dispatch(self) -> Event:
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            raise BadStreamError(f"a block without data: {fields}")
        if "\0" in fields.get("id", ""):
            raise BadStreamError("NUL in an id")
        retry = fields.get("retry")
        if retry is not None and not (retry.isascii() and retry.isdigit()):
            raise BadStreamError(f"retry: {retry!r}")
        if "id" in fields:
            self.last_event_id = fields["id"]
        return Event(
            fields.get("event", "message"), fields["data"], fields.get("id"), None if retry is None else int(retry)
        )


class Stream:
    """One GET on one connection, its answer read as a stream."""

    def __init__(
        self,
        port: int,
        path: str,
        token: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        receive_buffer: int | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self.parser = Parser()
        self.transcript = b""  # the body as it came, for those who compare bytes
        self.ended = False  # by the server, whole
        self._raw = b""
        self._events: list[Event] = []
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(seconds)
        sent = {"host": f"127.0.0.1:{port}", "accept": "text/event-stream, application/problem+json"}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        sent |= headers or {}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        try:
            self.socket.connect(("127.0.0.1", port))
            self.socket.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
            head = self._read_head()
        except BaseException:
            self.socket.close()
            raise
        status, *rest = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.header_list = [(n.strip().lower(), v.strip()) for n, _, v in (line.partition(":") for line in rest)]
        self.headers = dict(self.header_list)
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        self._left = None if self._chunked else int(self.headers.get("content-length", "0"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """FIN."""
        self.socket.close()

    def reset(self) -> None:
        """RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def next(self, seconds: float = SECONDS) -> Event:
        """The next event. Raises TimeoutError, or EOFError where the stream is over."""
        until = time.monotonic() + seconds
        while not self._events:
            if self.ended:
                raise EOFError
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
            self._more()
        return self._events.pop(0)

    def until(self, name: str, seconds: float = SECONDS) -> list[Event]:
        """All events up to and with the first of that name. Nothing but signs of life for so long is too long."""
        found: list[Event] = []
        for event in self._events_within(seconds):
            found.append(event)
            if event.name == name:
                return found
        raise EOFError

    def rest(self, seconds: float = SECONDS) -> list[Event]:
        """All events to the end, which the server has to make; for how long it may wait as ``until``."""
        found = list(self._events_within(seconds))
        if not self.parser.clean:
            raise BadStreamError("it ended in the middle of a block")
        return found

    def _events_within(self, seconds: float) -> Iterator[Event]:
        until = time.monotonic() + seconds
        with contextlib.suppress(EOFError):
            while True:
                event = self.next(max(0.0, until - time.monotonic()))
                if event.name not in {"heartbeat", "keepalive"}:
                    until = time.monotonic() + seconds
                yield event

    def quiet(self, seconds: float) -> list[Event]:
        """What comes within that time."""
        found, until = [], time.monotonic() + seconds
        with contextlib.suppress(TimeoutError, EOFError):
            while True:
                found.append(self.next(max(0.0, until - time.monotonic())))
        return found

    def body(self) -> Any:
        """An answer that is no stream: its JSON."""
        while not self.ended:
            self._more()
        return json.loads(self.transcript)

    def _read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._raw:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("no answer")
            self._raw += data
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        return head

    def _more(self) -> None:
        if not self._take_body():
            data = self.socket.recv(65536)
            if not data:
                raise BadStreamError("the connection was cut before the end of the answer")
            self._raw += data
            self._take_body()

    def _take_body(self) -> bool:
        """Take what has come of the body; whether that was anything."""
        if self._chunked:
            return self._take_chunks()
        assert self._left is not None
        data, self._raw = self._raw[: self._left], self._raw[self._left :]
        self._left -= len(data)
        self.ended = self._left == 0
        self._took(data)
        return bool(data) or self.ended

    def _take_chunks(self) -> bool:
        took = False
        while not self.ended:
            size_line, end, rest = self._raw.partition(b"\r\n")
            if not end:
                break
            size = int(size_line, 16)
            if len(rest) < size + 2:
                break
            data, self._raw = rest[:size], rest[size + 2 :]
            self.ended = size == 0
            self._took(data)
            took = True
        return took

    def _took(self, data: bytes) -> None:
        self.transcript += data
        if self.headers.get("content-type") == "text/event-stream":
            self._events.extend(self.parser.feed(data))
