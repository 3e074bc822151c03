"""Streams whose readers misbehave: they come and go, come back all at once, or stop reading."""

from __future__ import annotations

import select
import socket
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from heapq import heappop, heappush
from typing import Final, NamedTuple

import orjson

from bench.load import Closed
from bench.protocol import Address, Event, Refused, connect
from bench.readers import Paths, Readers, Stream

AT_ONCE: Final = 128  # who asks and has not been answered


class Mix(NamedTuple):
    """What a crowd saw: nanoseconds from publish to receive, and seconds from connecting again to `live`."""

    latencies: list[int]
    resumed: list[float]
    cut: int  # streams that were closed from the other end


class Siege(NamedTuple):
    """How often somebody was refused, and after how many seconds they were told to come again."""

    refused: int
    soonest: float
    latest: float


class Crowd(Readers):
    """Readers of Milepost, each with a cursor of its own. Whatever is lost or comes twice is a RuntimeError."""

    _address: Address
    _coming: dict[Stream, float]  # who comes back, and since when
    _cut = 0

    def stop(self, first: int) -> None:
        """Read no more from the streams that were opened after the first so many."""
        self._stopped = list(self.streams.values())[first:]
        for stream in self._stopped:
            self.epoll.unregister(stream.connection)

    def go_on(self, address: Address, text: str, times: int) -> None:
        """Read again, until each stream that was stopped has an event with this text so many times, each once.

        One that was cut off meanwhile resumes.
        """
        got: dict[Stream, list[str]] = {stream: [] for stream in self._stopped}
        for stream in self._stopped:
            self.epoll.register(stream.connection, select.EPOLLIN)
        began = time.monotonic()
        while any(len(ids) < times for ids in got.values()):
            for fd in self.ready(began):
                stream = self.streams[fd]
                try:
                    found = [event.id for event in stream.read() if text.encode() in event.data]
                except Closed:
                    self._come_back(stream, address, {})
                    continue
                if stream in got:
                    got[stream] += found
        if any(len(set(ids)) != times or len(ids) != times for ids in got.values()):
            raise RuntimeError("a stream that read on did not get each event once")

    def mix(self, address: Address, expected: int, paths: Paths, churn: float) -> Mix:
        """Await so many stamped events while ``churn`` streams a second go without a word and come back.

        Each event must come exactly once, whether its stream was there or resumed.
        """
        began = time.monotonic()
        resumed: list[float] = []
        coming: dict[Stream, float] = {}
        self._coming = coming
        self._address, self._cut = address, 0
        turn = list(self.streams.values())
        gone = 0

        def meanwhile() -> None:
            nonlocal gone
            while gone < (time.monotonic() - began) * churn:
                self._come_back(turn[gone % len(turn)], address, coming)
                gone += 1

        def seen(stream: Stream, event: Event) -> None:
            if event.name == "live" and stream in coming:
                resumed.append(time.monotonic() - coming.pop(stream))
            elif event.name == "stream_end":
                self._come_back(stream, address, coming)

        latencies = self.stamped(expected, paths, meanwhile, seen)
        while coming:
            for fd in self.ready(time.monotonic()):
                for event in self.streams[fd].read():
                    seen(self.streams[fd], event)
        return Mix(latencies, resumed, self._cut)

    def closed(self, stream: Stream) -> None:
        """While streams come and go, one that is cut comes back, too."""
        self._cut += 1
        self._come_back(stream, self._address, self._coming)

    def besiege(self, address: Address, requests: Sequence[bytes], seconds: float) -> Siege:
        """Ask where there is no room, each again as soon as it may; whoever is let in is a RuntimeError."""
        began = time.monotonic()
        again = [(began, request) for request in requests]  # a heap: who is to come when
        told: list[float] = []
        while time.monotonic() < began + seconds:
            while again and again[0][0] <= time.monotonic() and len(self.streams) < AT_ONCE:
                request = heappop(again)[1]
                self.add(Stream(connect(address), request), request)
            for fd in self.ready(time.monotonic()):
                stream = self.streams.pop(fd)
                try:
                    stream.read()
                except Refused as answer:
                    told.append(answer.retry_after or 0.0)
                else:
                    raise RuntimeError("a stream was let in where there was no room")
                stream.connection.close()
                heappush(again, (time.monotonic() + told[-1], stream.request))
        self.close()
        return Siege(len(told), min(told), max(told))

    def leave(self) -> None:
        """One stream ends."""
        fd, stream = self.streams.popitem()
        self.epoll.unregister(fd)
        stream.connection.close()

    def enter(self, address: Address, request: bytes) -> float:
        """Ask for a stream again and again; the seconds until there was one."""
        began = time.monotonic()
        while True:
            try:
                self.open(address, [request], "live", 1)
            except Refused:
                time.sleep(0.02)
            else:
                return time.monotonic() - began

    def _come_back(self, stream: Stream, address: Address, coming: dict[Stream, float]) -> None:
        del self.streams[stream.connection.fileno()]
        stream.connection.close()  # the epoll forgets it, too
        request = stream.resuming()
        stream.renew(connect(address))
        coming[stream] = time.monotonic()
        self.add(stream, request)

    def lose(self) -> None:
        """Every connection is gone; the cursors remain."""
        self._lost = list(self.streams.values())
        self.close()

    def storm(self, address: Address, missed: Sequence[int], page: int) -> tuple[list[float], int]:
        """All come back in one moment; (the seconds until each was `live`, how often one was told to come later).

        By then each must have got so many notifications as it missed, each once, and its job's page.
        """
        began = time.monotonic()
        again = [(began, which) for which in range(len(self._lost))]  # a heap: who is to come when
        which_of = {stream: which for which, stream in enumerate(self._lost)}
        connecting: dict[int, Stream] = {}
        got: dict[Stream, list[str]] = defaultdict(list)
        pages: dict[Stream, int] = {}
        resumed: list[float] = []
        refused = 0
        while len(resumed) < len(self._lost):
            while again and again[0][0] <= time.monotonic():
                stream = self._lost[heappop(again)[1]]
                stream.renew(_beginning(address))
                connecting[stream.connection.fileno()] = stream
                self.epoll.register(stream.connection.fileno(), select.EPOLLOUT)
            for fd in self.ready(began):
                if fd in connecting:
                    self.epoll.unregister(fd)
                    stream = connecting.pop(fd)
                    self.add(stream, stream.resuming())
                    continue
                stream = self.streams[fd]
                try:
                    events = stream.read()
                except Refused as answer:
                    refused += 1
                    self.streams.pop(fd).connection.close()
                    heappush(again, (time.monotonic() + (answer.retry_after or 1.0), which_of[stream]))
                    continue
                for event in events:
                    if event.name == "notification":
                        got[stream].append(event.id)
                    elif event.name == "job":
                        pages[stream] = orjson.loads(event.data)["job"]["current"]
                    elif event.name == "live":
                        resumed.append(time.monotonic() - began)
        for stream, count in zip(self._lost, missed, strict=True):
            if len(got[stream]) != count or len(set(got[stream])) != count or pages.get(stream) != page:
                raise RuntimeError(f"{len(got[stream])} of {count} notifications came, page {pages.get(stream)}")
        return resumed, refused


def _beginning(address: Address) -> socket.socket:
    """A connection that is being made."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(BlockingIOError):
        connection.connect(address)
    return connection
