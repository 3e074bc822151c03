"""What makes the load: processes of their own, on a core of their own, on bare sockets.

``Producer`` sends requests, ``Readers`` (bench/readers.py) holds thousands of open streams. Each lives in a process
that a ``Remote`` starts and asks. Times are CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final, Self

from bench import machine
from bench.protocol import Address, Answers, connect

STAMP: Final = b"@" * 20  # where a paced request carries its time, in nanoseconds
NUMBER: Final = b"#" * 8  # … and its number
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


class Closed(RuntimeError):
    """There is nothing more to read."""


def read(fd: int) -> bytes:
    """What has come. Raises Closed."""
    try:
        data = os.read(fd, READ)
    except ConnectionResetError:
        data = b""
    if not data:
        raise Closed("the server closed a connection")
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
                line.send(free.pop(0), due.pop(0))  # in turn: one that is long idle is closed
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
        return [fd for fd, _ in found for _ in range(self._answers[fd][1].feed(read(fd)))]

    def close(self) -> None:
        for one in self._open:
            one.close()
        self._epoll.close()
