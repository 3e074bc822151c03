"""Readers that stop reading, among others that do not: the others must not notice.

All are sent large notifications until those who stopped have taken all that they can. Measured are notifications for
single readers, before and after that; those for readers who stopped are published as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench import machine
from bench.crowd import Crowd
from bench.latency import paced
from bench.load import Producer, Remote
from bench.report import Figure, Goal, Table, p99
from bench.servers import Milepost, user

STREAMS = 2_000
STOPPED = 500
RATE = 200.0  # documents/s
EVENTS = 1_000  # documents
TIMES = 3
SMALL = 4096  # bytes that the kernel takes for a reader who will stop; by itself it takes up to 6 MB
LARGE = f"for everybody: {'x' * 4_900}"


def run() -> Sequence[Table]:
    """Measure."""
    with machine.folder() as folder, Milepost(folder) as server, Remote(Crowd) as crowd, Remote(Producer) as producer:
        going = STREAMS - STOPPED
        server.open(crowd, [server.stream(n) for n in range(going)])
        few = [server.stream(n) for n in range(going, STREAMS)]
        crowd.call("open", server.address, few, server.ready, server.at_once, 0, SMALL)
        before = [_once(server, crowd, producer) for _ in range(TIMES)]
        crowd.call("stop", going)
        memory = machine.resident(server.pid)
        sent = _fill_up(server, crowd, producer)
        after = [_once(server, crowd, producer) for _ in range(TIMES)]
        grown = (machine.resident(server.pid) - memory) / 2**20
        crowd.call("go_on", server.address, "for everybody: ", sent)
    figures = Figure(before, " ms"), Figure(after, " ms")
    table = Table(
        f"Slow readers: {STOPPED} of {STREAMS:,} stop; publish to receive for the others at {RATE:.0f} documents/s",
        ("", "p99"),
        [("all read", str(figures[0])), (f"{STOPPED} have stopped", str(figures[1]))],
        notes=(
            f"Memory of the server grew by {grown:.1f} MiB. The server cuts off whoever has taken nothing for 10 s;",
            f"then they read on or came back with their cursors, and each got all {sent} large ones, once.",
        ),
    )
    doubled = figures[1].median / figures[0].median
    table.goals.append(Goal(f"p99 with {STOPPED} stopped readers, to without", "≤", 2, doubled, " ×"))
    table.goals.append(Goal(f"memory of the server for {STOPPED} stopped readers", "≤", 64, grown, " MiB"))
    return [table]


def _once(server: Milepost, crowd: Remote, producer: Remote) -> float:
    """The p99 in milliseconds of what is for readers that go on."""
    # 7 and 2,000 have no common divisor: every user has a turn
    users = [n * 7 % STREAMS for n in range(EVENTS)]
    going = [number < STREAMS - STOPPED for number in users]
    requests = [
        server.publish(user(number)) if goes else server.publish(user(number), "not awaited")
        for number, goes in zip(users, going, strict=True)
    ]
    return p99(paced(server, crowd, producer, requests, RATE, sum(going)))


def _fill_up(server: Milepost, crowd: Remote, producer: Remote) -> int:
    """Tell everybody until all who stopped lag; how often that was."""
    sent = 0
    until = time.monotonic() + 30
    while server.metric("milepost_lagging_subscribers") < STOPPED:
        if time.monotonic() > until:
            raise RuntimeError("readers that do not read are not seen as lagging")
        producer.call("each", server.publisher, [server.publish(None, LARGE)] * 5)
        crowd.call("idle", 0.2, server.beat)
        sent += 5
    return sent
