"""Thousands of open streams in one thread: what reads what the servers send, and checks that all of it came."""

from __future__ import annotations

import ctypes
import select
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from bench import machine
from bench.load import PATIENCE, Closed, read
from bench.protocol import Address, Event, Events, connect

FAILURES: Final = (
    "",
    "the server closed a stream",
    "an event did not come",
    "a stream did not get each event once",
    "?",
)
Paths = Mapping[str, Sequence[str]]  # where the text is in an event's data, by the event's name


class Round(NamedTuple):
    """What a series of broadcasts was: deliveries, its seconds, the processor time of whoever read them."""

    deliveries: int
    seconds: float
    load_seconds: float


class Stream:
    """One stream: its connection, what it asked for, and where it would resume."""

    __slots__ = ("connection", "cursor", "events", "request")

    def __init__(self, connection: socket.socket, request: bytes) -> None:
        self.request = request
        self.cursor = ""
        self.renew(connection)

    def renew(self, connection: socket.socket) -> None:
        """Begin again on another connection."""
        self.connection = connection
        self.events = Events()

    def read(self) -> list[Event]:
        """What has come. Raises RuntimeError where the server refused it or closed it."""
        found = self.events.feed(read(self.connection.fileno()))
        for event in found:
            self.cursor = event.id or self.cursor
        return found

    def resuming(self) -> bytes:
        """The request that goes on where this stream ended."""
        return self.request[:-2] + f"Last-Event-ID: {self.cursor}\r\n\r\n".encode()


class Readers:
    """Many open streams. Whatever it is asked to await and does not come in time is a RuntimeError."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.streams: dict[int, Stream] = {}
        self._program: ctypes.CDLL | None = None

    def open(
        self,
        address: Address,
        requests: Sequence[bytes],
        ready: str,
        at_once: int,
        losses: int = 0,
        buffer: int | None = None,
    ) -> float:
        """Open a stream per request, so many at once, each until its event ``ready``; the seconds it took.

        ``losses``: how many the server may close instead; they are asked for again. ``buffer``: bytes that the kernel
        takes for one before it is read; by default the kernel decides.
        """
        waiting = list(reversed(requests))
        opening: set[int] = set()
        began = last = time.monotonic()
        while waiting or opening:
            while waiting and len(opening) < at_once:
                request = waiting.pop()
                opening.add(self.add(Stream(connect(address, buffer), request), request))
            for fd in self.ready(last):
                try:
                    begun = any(event.name == ready for event in self.streams[fd].read())
                except Closed:
                    if not losses:
                        raise
                    losses -= 1
                    opening.discard(fd)
                    waiting.append(self.streams.pop(fd).request)
                    continue
                if begun:
                    opening.discard(fd)
                    last = time.monotonic()
        return time.monotonic() - began

    def add(self, stream: Stream, request: bytes) -> int:
        """Ask for a stream on its connection, and listen to it."""
        stream.connection.send(request)
        fd = stream.connection.fileno()
        self.streams[fd] = stream
        self.epoll.register(fd, select.EPOLLIN)
        return fd

    def broadcast(self, address: Address, request: bytes, mark: bytes, seconds: float) -> Round:
        """Send a request, await its event at every stream, send the next one, for so long; see bench/readers.c."""
        if self._program is None:
            with tempfile.TemporaryDirectory() as folder:
                self._program = ctypes.CDLL(str(machine.compiled("readers.c", Path(folder), "-shared", "-fPIC")))
        publisher = connect(address)
        fds = (ctypes.c_int * len(self.streams))(*self.streams)
        deliveries, took = ctypes.c_long(), ctypes.c_double()
        used = time.process_time()
        failure = self._program.broadcast(
            fds,
            len(fds),
            publisher.fileno(),
            request,
            ctypes.c_size_t(len(request)),
            mark,
            ctypes.c_double(seconds),
            ctypes.byref(deliveries),
            ctypes.byref(took),
        )
        publisher.close()
        if failure:
            raise RuntimeError(FAILURES[failure])
        return Round(deliveries.value, took.value, time.process_time() - used)

    def listen(self, expected: int, paths: Paths) -> list[int]:
        """Await so many stamped events; for each the nanoseconds since its stamp. See ``Producer.pace``."""
        return self.stamped(expected, paths, lambda: None, lambda _stream, _event: None)

    def stamped(
        self, expected: int, paths: Paths, meanwhile: Callable[[], None], seen: Callable[[Stream, Event], None]
    ) -> list[int]:
        """``listen``, calling ``meanwhile`` again and again, and ``seen`` with every event.

        Each event, by its number, must come exactly once. Texts without a stamp are not awaited.
        """
        latencies: list[int] = []
        numbers: set[int] = set()
        last = time.monotonic()
        while len(latencies) < expected:
            for fd in self.ready(last):
                stream = self.streams[fd]
                try:
                    events = stream.read()
                except Closed:
                    self.closed(stream)
                    continue
                for event in events:
                    seen(stream, event)
                    if (stamped := _stamp(event, paths)) is not None:
                        latencies.append(time.monotonic_ns() - stamped[0])
                        numbers.add(stamped[1])
                        last = time.monotonic()
            meanwhile()
        if len(numbers) != expected:
            raise RuntimeError(f"{expected} events, but {len(numbers)} different ones")
        return latencies

    def closed(self, stream: Stream) -> None:
        """A stream ended that should not have."""
        raise Closed(f"the server closed a stream after {stream.cursor or 'nothing'}")

    def idle(self, seconds: float, name: str) -> tuple[int, int]:
        """Read for so long; (events of this name that the stream with the fewest got, streams lost)."""
        beats, all_streams = dict.fromkeys(self.streams, 0), len(self.streams)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for fd, _ in self.epoll.poll(left):
                try:
                    beats[fd] += sum(event.name == name for event in self.streams[fd].read())
                except Closed:
                    self.streams.pop(fd).connection.close()
                    del beats[fd]
        return min(beats.values()), all_streams - len(beats)

    def close(self) -> None:
        """Close every stream."""
        for stream in self.streams.values():
            stream.connection.close()
        self.streams.clear()

    def ready(self, since: float) -> list[int]:
        """Whose bytes have come. Raises RuntimeError where nothing has for ``PATIENCE``."""
        found = self.epoll.poll(0.02, 1024)
        if not found and time.monotonic() - since > PATIENCE:
            raise RuntimeError("what was awaited did not come")
        return [fd for fd, _ in found]


def _stamp(event: Event, paths: Paths) -> tuple[int, int] | None:
    """The stamp and the number in an event's text; None where there are none."""
    path = paths.get(event.name)
    if path is None:
        return None
    value = orjson.loads(event.data)
    for part in path:
        value = value.get(part) or ""
    words = value.split()
    return (int(words[0]), int(words[1])) if len(words) > 1 and words[0].isdigit() else None
