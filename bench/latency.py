"""From publish to receive: how long an event for one user takes from a producer's process to a reader's.

Measured from when the producer's request was due, which is before it is written, until another process has parsed the
frame, on one monotonic clock; every event counts and must come exactly once.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack

from bench import machine
from bench.load import Producer, Readers, Remote
from bench.report import Figure, Table
from bench.servers import Milepost, Peer, Server, user

STREAMS = (1_000, 5_000)
RATE = 1_000.0
EVENTS = 3_000
TIMES = 3


def run() -> Sequence[Table]:
    """Measure."""
    tables = []
    kinds: list[type[Server]] = [Milepost, Peer]
    with ExitStack() as stack:
        folder = stack.enter_context(machine.folder())
        sets = [(stack.enter_context(kind(folder)), stack.enter_context(Remote(Readers))) for kind in kinds]
        producer = stack.enter_context(Remote(Producer))
        opened = 0
        for streams in STREAMS:
            halves: dict[str, tuple[list[float], list[float]]] = {}
            for server, readers in sets:
                readers.call("open", server.address, [server.stream(n) for n in range(opened, streams)], server.ready)
            opened = streams
            for _ in range(TIMES):
                for server, readers in sets:
                    p50s, p99s = halves.setdefault(server.name, ([], []))
                    found = _once(server, readers, producer, streams)
                    p50s.append(statistics.median(found))
                    p99s.append(statistics.quantiles(found, n=100)[98])
            tables.append(_table(streams, halves))
        for _, readers in sets:
            readers.call("close")
    return tables


def _once(server: Server, readers: Remote, producer: Remote, streams: int) -> list[float]:
    """The latency of each event in milliseconds."""
    # 7 and 5,000 have no common divisor: every user has a turn, neighbours are far apart
    requests = [server.publish(user(n * 7 % streams)) for n in range(min(EVENTS, streams))]
    readers.begin("listen", EVENTS, "notification", ("notification", "message"))
    producer.call("pace", server.address, requests, RATE, EVENTS)
    return [nanoseconds / 1e6 for nanoseconds in readers.end()]


def _table(streams: int, figures: dict[str, tuple[list[float], list[float]]]) -> Table:
    table = Table(
        f"Publish to receive: {RATE:,.0f} events/s, each for one of {streams:,} users with an open stream",
        ("", "p50", "p99", "each event"),
    )
    does = {Milepost.name: "on the disk, then sent", Peer.name: "sent"}
    table.rows += [
        (name, str(Figure(p50s, " ms")), str(Figure(p99s, " ms")), does[name]) for name, (p50s, p99s) in figures.items()
    ]
    return table
