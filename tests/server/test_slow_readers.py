"""Readers that stop reading: they slow nobody, hold next to no memory, and miss nothing when they read again."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.server.process import Client, wait_until
from tests.server.sse_client import Stream

READERS = 50
STOPPED = 20
KERNEL_BYTES = 256 * 1024
TITLE = re.compile(rb'"title":"(\d+)"')
BATCH = 10


class FastReader:
    """Reads as fast as it can and notes when it had which document."""

    def __init__(self, stream: Stream) -> None:
        self.arrived: dict[int, float] = {}
        self._stream = stream
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stream.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closing does not
        self._thread.join(10)
        self._stream.close()

    def _run(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while data := self._stream.socket.recv(262_144):
                # chunk borders inside a title would hide it, so what is left over is looked at again
                now, rest = time.monotonic(), rest[-64:] + data
                for title in TITLE.findall(rest):
                    self.arrived.setdefault(int(title), now)


def _resident(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def _unsent(server_port: int, client: Stream) -> int:
    """What the server's kernel holds for a client, in bytes."""
    own = client.socket.getsockname()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if int(local.split(":")[1], 16) == server_port and int(remote.split(":")[1], 16) == own:
            return int(queues.split(":")[0], 16)
    raise AssertionError("no such connection")


def _tell(me: Client, first: int, count: int) -> dict[int, float]:
    """That many broadcasts of 4 KB; when each was asked for."""
    asked = {}
    for start in range(first, first + count, BATCH):
        numbers = range(start, start + BATCH)
        asked.update(dict.fromkeys(numbers, time.monotonic()))
        commands = [{"verb": "notify", "everyone": True, "title": str(n), "message": "m" * 4000} for n in numbers]
        me.post("/batch", {"commands": commands})
    return asked


def test_readers_that_stop(me: Client) -> None:
    """20 of 50 readers stop: the others' documents come as before, memory stays, and who reads again has no gap."""
    with contextlib.ExitStack() as stack:
        fast = []
        for _ in range(READERS - STOPPED):
            stream = me.stream()
            stream.until("live")
            fast.append(stack.enter_context(FastReader(stream)))
        _tell(me, 0, 100)
        wait_until(lambda: all(len(reader.arrived) == 100 for reader in fast), what="the fast ones have all")
        stopped = [stack.enter_context(me.stream(receive_buffer=8192)) for _ in range(STOPPED)]
        for stream in stopped:
            stream.until("live")

        asked: dict[int, float] = {}
        number = 100
        until = time.monotonic() + 20
        while me.server.metric("milepost_lagging_subscribers") < STOPPED:
            assert time.monotonic() < until, "the stopped ones are not noticed"
            asked |= _tell(me, number, BATCH)
            number += BATCH
        before = _resident(me.server.pid)
        asked |= _tell(me, number, 500)
        last = number + 500
        wait_until(lambda: all(last - 1 in reader.arrived for reader in fast), what="the fast ones have all")
        assert me.server.metric("milepost_lagging_subscribers") == STOPPED

        for reader in fast:
            assert sorted(reader.arrived) == list(range(last))
        late = sorted(reader.arrived[n] - asked[n] for reader in fast for n in asked)
        assert late[int(len(late) * 0.99)] < 1.0
        # 2 MB for each of them would be 40 MiB, were it queued
        assert _resident(me.server.pid) - before < 16 * 2**20
        assert max(_unsent(me.server.port, stream) for stream in stopped) <= KERNEL_BYTES

        for stream in stopped[:3]:
            # with so small a window the kernel itself would dawdle
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
            titles: list[int] = []
            while not titles or titles[-1] != last - 1:
                titles += [int(e.json["notification"]["title"]) for e in stream.until("notification")
                           if e.name == "notification"]  # fmt: skip
            assert titles == list(range(100, last))
            me.notify(title="after all")
            assert stream.until("notification")[-1].json["notification"]["title"] == "after all"
    wait_until(lambda: me.server.streams == 0, what="all released")
    assert me.server.metric("milepost_lagging_subscribers") == 0


def test_a_reader_of_a_large_page(me: Client) -> None:
    """A snapshot that is larger than any buffer is written whole to a slow reader, and ``live`` follows it."""
    result = "x" * 60_000
    for number in range(20):
        me.job(f"j{number}")
        me.post(f"/jobs/j{number}/complete", {"result": result})
    with me.stream(receive_buffer=4096) as stream:
        wait_until(lambda: _unsent(me.server.port, stream) > 0, what="it has begun")
        me.job("meanwhile")
        found = stream.until("live", 20)
        jobs = [e.json["job"]["id"] for e in found if e.name == "job"]
        if "meanwhile" not in jobs:
            jobs += [e.json["job"]["id"] for e in stream.until("job") if e.name == "job"]
        assert jobs == [*(f"j{number}" for number in range(20)), "meanwhile"]
