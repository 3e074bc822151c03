"""From publish to receive: how long an event for one user takes from a producer's process to a reader's.

Measured from when the producer's request was due, which is before it is written, until another process has parsed the
frame, on one monotonic clock; every event counts and must come exactly once. Pushpin is not here: it ends the
producer's connection with every answer; nor FastAPI, which does what sse-starlette does.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack

from bench import machine
from bench.load import Producer, Remote
from bench.readers import Readers
from bench.report import Figure, Goal, Table, p99
from bench.servers import FastApi, Limit, Milepost, Pushpin, Server, everybody, user

STREAMS = 10_000
RATE = 1_000.0
EVENTS = 3_000
TIMES = 3
TEXTS = {"notification": ("notification", "message")}


def run() -> Sequence[Table]:
    """Measure."""
    p50s: dict[type[Server], list[float]] = defaultdict(list)
    p99s: dict[type[Server], list[float]] = defaultdict(list)
    with ExitStack() as stack:
        sets = []
        for kind in everybody():
            if kind not in (Limit, Pushpin, FastApi):
                server = stack.enter_context(kind(stack.enter_context(machine.folder())))
                readers = stack.enter_context(Remote(Readers))
                server.open(readers, [server.personal(n) for n in range(STREAMS)])
                sets.append((kind, server, readers))
        producer = stack.enter_context(Remote(Producer))
        for _ in range(TIMES):
            for kind, server, readers in sets:
                found = _once(server, readers, producer)
                p50s[kind].append(statistics.median(found))
                p99s[kind].append(p99(found))
        for _, _, readers in sets:
            readers.call("close")
    table = Table(
        f"Publish to receive: {RATE:,.0f} events/s, each for one of {STREAMS:,} users with an open stream",
        ("", "p50", "p99", "before it is answered"),
    )
    for kind, values in p50s.items():
        does = "on the disk" if kind is Milepost else "in memory"
        table.rows.append((kind.name, str(Figure(values, " ms")), str(Figure(p99s[kind], " ms")), does))
    for name, limit, times in (("p50", 5, p50s), ("p99", 25, p99s)):
        what = f"publish to receive at {STREAMS:,} streams, {name}"
        table.goals.append(Goal(what, "≤", limit, Figure(times[Milepost]).median, " ms"))
    return [table]


def _once(server: Server, readers: Remote, producer: Remote) -> list[float]:
    # 7 and 10,000 have no common divisor: every user has a turn, neighbours are far apart
    requests = [server.publish(user(n * 7 % STREAMS)) for n in range(EVENTS)]
    return paced(server, readers, producer, requests, RATE, EVENTS)


def paced(
    server: Server, readers: Remote, producer: Remote, requests: Sequence[bytes], rate: float, expected: int
) -> list[float]:
    """Publish the requests evenly, each once; the milliseconds until its reader had each of the ``expected`` events."""
    readers.begin("listen", expected, TEXTS)
    producer.call("pace", server.publisher, requests, rate, len(requests))
    return [nanoseconds / 1e6 for nanoseconds in readers.end()]
