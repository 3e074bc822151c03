"""Twice as many as there is room for: those who were let in must not notice, the others are told when to come again.

The crowd outside asks for streams over and over, each as soon as its ``Retry-After`` allows. When it has gone and one
stream has ended, it is measured how long it takes until somebody is let in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import machine
from bench.crowd import Crowd, Siege
from bench.latency import paced
from bench.load import Producer, Remote
from bench.report import Figure, Goal, Table, number, p99
from bench.servers import Milepost, user

ROOM = 2_000  # streams
RATE = 200.0  # documents/s
EVENTS = 1_000  # documents
TIMES = 3
SIEGE = TIMES * EVENTS / RATE + 3.0  # seconds


def run() -> Sequence[Table]:
    """Measure."""
    with machine.folder() as folder, _Small(folder) as server, Remote(Crowd) as inside, Remote(Producer) as producer:
        server.open(inside, [server.stream(n) for n in range(ROOM)])
        quiet = [_once(server, inside, producer) for _ in range(TIMES)]
        with Remote(Crowd) as outside:
            outside.begin("besiege", server.address, [server.stream(ROOM + n) for n in range(ROOM)], SIEGE)
            besieged = [_once(server, inside, producer) for _ in range(TIMES)]
            siege: Siege = outside.end()
            inside.call("leave")
            again = outside.call("enter", server.address, server.stream(ROOM))
    figures = Figure(quiet, " ms"), Figure(besieged, " ms")
    table = Table(
        f"Overload: {ROOM:,} streams are open and as many more are wanted; publish to receive for those who are in",
        ("", "p99"),
        [("nobody outside", str(figures[0])), (f"{ROOM:,} outside", str(figures[1]))],
        notes=(
            f"{number(siege.refused)} refusals said to come again in {siege.soonest:.0f} to {siege.latest:.0f} s.",
            f"When they had gone and a stream had ended, the next one was let in after {again * 1000:.0f} ms.",
        ),
    )
    doubled = figures[1].median / figures[0].median
    table.goals.append(Goal("p99 at twice MAX_STREAMS, to without", "≤", 2, doubled, " ×"))
    table.goals.append(Goal("let in again after an overload", "≤", 5, again, " s"))
    return [table]


class _Small(Milepost):
    """A server with room for so many, whoever they are."""

    def command(self) -> tuple[Sequence[str | Path], dict[str, str]]:
        """See ``Server.command``."""
        command, environment = super().command()
        return command, {**environment, "MILEPOST_MAX_STREAMS": str(ROOM)}


def _once(server: Milepost, inside: Remote, producer: Remote) -> float:
    """The p99 in milliseconds of what is for those who are in."""
    requests = [server.publish(user(n * 7 % ROOM)) for n in range(EVENTS)]
    return p99(paced(server, inside, producer, requests, RATE, EVENTS))
