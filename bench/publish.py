"""Publishes per second over HTTP, durable ones: singly, and in batches that are one commit each.

One stream of the tenant is open, so that the hub reads everything too. sse-starlette stores nothing; its row shows
what a request costs on the same server core.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench import machine
from bench.load import Producer, Remote
from bench.readers import Readers
from bench.report import Figure, Goal, Table, ratio
from bench.servers import Milepost, Server, SseStarlette, user

SECONDS = 2.0
TIMES = 3
USERS = 1_000
BATCHES = (100, 250)  # of at most 64 KiB
PEER = "sse-starlette, 64 connections, not stored"


def run() -> Sequence[Table]:
    """Measure."""
    with ExitStack() as stack:
        folder = stack.enter_context(machine.folder())
        ours, peer = stack.enter_context(Milepost(folder)), stack.enter_context(SseStarlette(folder))
        for listened in (ours, peer):
            readers = stack.enter_context(Remote(Readers))
            listened.open(readers, [listened.stream(USERS)])
        producer = stack.enter_context(Remote(Producer))
        users = [user(n) for n in range(USERS)]
        singly = [ours.publish(to) for to in users]
        plain = [peer.publish(to) for to in users]
        kinds: dict[str, tuple[Server, list[bytes], int, int]] = {
            "Milepost, one connection": (ours, singly, 1, 1),
            "Milepost, 64 connections": (ours, singly, 64, 1),
        }
        for size in BATCHES:
            batches = [ours.batch(users[at : at + size]) for at in range(0, USERS, size)]
            kinds[f"Milepost, batches of {size}"] = (ours, batches, 8, size)
        kinds[PEER] = (peer, plain, 64, 1)
        rates: dict[str, list[float]] = {name: [] for name in kinds}
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(TIMES):
            for name, (server, requests, connections, each) in kinds.items():
                used = machine.cpu_seconds(server.pid)
                done, took = producer.call("saturate", server.publisher, requests, connections, SECONDS)
                rates[name].append(done * each / took)
                times[name].append((machine.cpu_seconds(server.pid) - used) / (done * each) * 1e6)
    figures = {name: Figure(values) for name, values in rates.items()}
    table = Table(
        "Publishes over HTTP, server on one core", ("", "to sse-starlette", "publishes/s", "of the core, each")
    )
    for name, figure in figures.items():
        to_peer = ratio(figure, figures[PEER])
        table.rows.append((name, to_peer, str(figure), str(Figure(times[name], " µs"))))
    singly_rate, batched = figures["Milepost, 64 connections"], figures[f"Milepost, batches of {BATCHES[-1]}"]
    table.goals.append(Goal("durable publishes over HTTP, singly", "≥", 8_000, singly_rate.median, "/s"))
    table.goals.append(Goal("durable publishes over HTTP, in batches", "≥", 25_000, batched.median, "/s"))
    return [table]
