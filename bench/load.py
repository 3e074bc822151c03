"""What makes the load: processes of their own, on a core of their own, on bare sockets.

``Readers`` holds thousands of open streams, ``Producer`` sends requests. Each lives in a process that a ``Remote``
starts and asks. Times are CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final, Self

import orjson

from bench import machine
from bench.protocol import Address, Answers, Events, connect

STAMP: Final = b"@" * 20  # where a paced request carries its time, in nanoseconds
NUMBER: Final = b"#" * 8  # … and its number
OPENING: Final = 128  # connections that are being opened at once
READ: Final = 16_384
PATIENCE: Final = 30.0  # seconds; whoever waits longer has lost something


class Remote:
    """A process that carries out the methods of one object, one call after the other."""

    def __init__(self, make: Callable[[], object]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, method: str, *arguments: Any) -> None:
        """Start a call; ``end`` waits for it."""
        self._connection.send((method, arguments))

    def end(self) -> Any:
        """What the call answered. Raises RuntimeError where it failed."""
        succeeded, result = self._connection.recv()
        if not succeeded:
            raise RuntimeError(result)
        return result

    def call(self, method: str, *arguments: Any) -> Any:
        """Call and wait."""
        self.begin(method, *arguments)
        return self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()  # it ends with its pipe
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(make: Callable[[], object], calls: Connection) -> None:
    machine.pin(0, machine.LOAD_CORE)
    machine.prepare()
    target = make()
    while True:
        try:
            method, arguments = calls.recv()
        except (EOFError, OSError):
            return
        try:
            calls.send((True, getattr(target, method)(*arguments)))
        except Exception:  # noqa: BLE001 - told to whoever called
            calls.send((False, traceback.format_exc()))


class Readers:
    """Many open streams in one thread. Whatever it is asked to await and does not come in time is a RuntimeError."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._streams: dict[int, tuple[socket.socket, Events]] = {}

    def open(self, address: Address, requests: Sequence[bytes], ready: str) -> float:
        """Open a stream per request, ``OPENING`` at once, each until its event ``ready``; the seconds it took."""
        waiting = list(reversed(requests))
        opening: set[int] = set()
        began = time.monotonic()
        while waiting or opening:
            while waiting and len(opening) < OPENING:
                connection = connect(address)
                connection.send(waiting.pop())
                self._streams[connection.fileno()] = connection, Events()
                self._epoll.register(connection.fileno(), select.EPOLLIN)
                opening.add(connection.fileno())
            for fd in self._ready(began):
                if any(event.name == ready for event in self._streams[fd][1].feed(_read(fd))):
                    opening.discard(fd)
        return time.monotonic() - began

    def broadcast(self, address: Address, request: bytes, mark: bytes, seconds: float) -> tuple[int, float]:
        """Send a request, await its event at every stream, send the next one, for so long.

        Events are told by ``mark``, a text in each that has no line end. Answers (deliveries, seconds). Every stream
        must have got every event.
        """
        publisher = connect(address)
        self._epoll.register(publisher.fileno(), select.EPOLLIN)
        got: Counter[int] = Counter()
        tails: dict[int, bytes] = {}
        keep = len(mark) - 1
        began = time.monotonic()
        rounds = total = 0
        while time.monotonic() - began < seconds:
            publisher.sendall(request)
            rounds += 1
            expected = rounds * len(self._streams)
            while total < expected:
                for fd in self._ready(began + seconds):
                    data = _read(fd)
                    if fd == publisher.fileno():
                        continue
                    if fd in tails:
                        data = tails.pop(fd) + data
                    if data[-1:] != b"\n":  # a line goes on: the mark may be cut in two
                        tails[fd] = data[-keep:]
                    count = data.count(mark)
                    got[fd] += count
                    total += count
        took = time.monotonic() - began
        self._epoll.unregister(publisher.fileno())
        publisher.close()
        if any(got[fd] != rounds for fd in self._streams):
            raise RuntimeError("a stream did not get every broadcast exactly once")
        return total, took

    def listen(self, expected: int, name: str, path: Sequence[str]) -> list[int]:
        """Await so many events of a name; for each the nanoseconds since the stamp in the text at ``path``.

        Each event, by its number, must come exactly once.
        """
        latencies: list[int] = []
        numbers: set[int] = set()
        began = time.monotonic()
        while len(latencies) < expected:
            for fd in self._ready(began):
                for event in self._streams[fd][1].feed(_read(fd)):
                    if event.name != name:
                        continue
                    value = orjson.loads(event.data)
                    for part in path:
                        value = value[part]
                    stamp, number = value.split()[:2]
                    latencies.append(time.monotonic_ns() - int(stamp))
                    numbers.add(int(number))
        if len(numbers) != expected:
            raise RuntimeError(f"{expected} events, but {len(numbers)} different ones")
        return latencies

    def idle(self, seconds: float, name: str) -> int:
        """Read for so long; how many heartbeats, events of this name, the stream with the fewest got."""
        beats = dict.fromkeys(self._streams, 0)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for fd, _ in self._epoll.poll(left):
                beats[fd] += sum(event.name == name for event in self._streams[fd][1].feed(_read(fd)))
        return min(beats.values())

    def close(self) -> None:
        """Close every stream."""
        for connection, _ in self._streams.values():
            self._epoll.unregister(connection.fileno())
            connection.close()
        self._streams.clear()

    def _ready(self, since: float) -> list[int]:
        found = self._epoll.poll(1.0, 1024)
        if not found and time.monotonic() - since > PATIENCE:
            raise RuntimeError("what was awaited did not come")
        return [fd for fd, _ in found]


def _read(fd: int) -> bytes:
    data = os.read(fd, READ)
    if not data:
        raise RuntimeError("the server closed a connection")
    return data


class Producer:
    """Sends requests over connections that are kept alive."""

    def saturate(
        self, address: Address, requests: Sequence[bytes], connections: int, seconds: float
    ) -> tuple[int, float]:
        """For so long, each connection sends its next request when the one before was answered; (answers, seconds)."""
        line = _Line(address, connections)
        sent = answered = 0
        began = time.monotonic()
        until = began + seconds
        for fd in line.fds:
            line.send(fd, requests[sent % len(requests)])
            sent += 1
        while answered < sent:
            for fd in line.answered():
                answered += 1
                if time.monotonic() < until:
                    line.send(fd, requests[sent % len(requests)])
                    sent += 1
        took = time.monotonic() - began
        line.close()
        return answered, took

    def times(self, address: Address, request: bytes, count: int) -> list[float]:
        """Send a request so many times, one after the other; the seconds that each took."""
        line = _Line(address, 1)
        times = []
        for _ in range(count):
            began = time.monotonic()
            line.send(line.fds[0], request)
            while not line.answered():
                pass
            times.append(time.monotonic() - began)
        line.close()
        return times

    def each(self, address: Address, requests: Sequence[bytes]) -> None:
        """Send each request once, one after the other."""
        line = _Line(address, 1)
        for request in requests:
            line.send(line.fds[0], request)
            while not line.answered():
                pass
        line.close()

    def pace(self, address: Address, requests: Sequence[bytes], rate: float, count: int) -> None:
        """Send so many, evenly at ``rate`` a second, whatever the answers take.

        Each carries the time at which it was due, so that whatever holds it up before it is written, be it the wait
        for a free connection or for this process' turn, counts as latency.
        """
        line = _Line(address, 32)
        free = list(line.fds)
        due: list[bytes] = []
        numbers = iter(range(count))
        number = next(numbers, None)
        began = time.monotonic_ns() + 1_000_000
        answered = 0
        while answered < count:
            while number is not None and (at := began + int(number * 1e9 / rate)) <= time.monotonic_ns():
                template = requests[number % len(requests)]
                due.append(template.replace(STAMP, b"%020d" % at).replace(NUMBER, b"%08d" % number))
                number = next(numbers, None)
            while due and free:
                line.send(free.pop(), due.pop(0))
            wait = PATIENCE if number is None or due else max(0.0, (at - time.monotonic_ns()) / 1e9)
            done = line.answered(wait)
            answered += len(done)
            free += done
        line.close()


class _Line:
    """A few connections of a producer."""

    def __init__(self, address: Address, connections: int) -> None:
        self._epoll = select.epoll()
        self._open = [connect(address) for _ in range(connections)]
        self._answers = {one.fileno(): (one, Answers()) for one in self._open}
        self.fds = list(self._answers)
        for fd in self.fds:
            self._epoll.register(fd, select.EPOLLIN)

    def send(self, fd: int, request: bytes) -> None:
        self._answers[fd][0].sendall(request)

    def answered(self, seconds: float = PATIENCE) -> list[int]:
        """Whose request was answered. Raises RuntimeError where nothing comes for ``PATIENCE``."""
        found = self._epoll.poll(seconds)
        if not found and seconds >= PATIENCE:
            raise RuntimeError("a request was not answered")
        return [fd for fd, _ in found for _ in range(self._answers[fd][1].feed(_read(fd)))]

    def close(self) -> None:
        for one in self._open:
            one.close()
        self._epoll.close()
