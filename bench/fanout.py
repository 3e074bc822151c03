"""One broadcast to thousands of streams: deliveries per second on one core.

The next broadcast is sent when the one before has arrived everywhere, so every delivery is a write of its own and
nobody gains by joining several. The C program shows what the kernel allows, and that the load can take it. Ratios are
of the processor time that the servers used for a delivery: they hold also where something else uses the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench import machine
from bench.load import Readers, Remote
from bench.report import Figure, Table, ratio
from bench.servers import Limit, Milepost, Peer, Server

STREAMS = 5_000
SECONDS = 2.5
TIMES = 3


def run() -> Sequence[Table]:
    """Measure."""
    kinds: list[type[Server]] = [Limit] if Limit.available() else []
    kinds += [Milepost, Peer]
    rates: dict[type[Server], list[float]] = {kind: [] for kind in kinds}
    times: dict[type[Server], list[float]] = {kind: [] for kind in kinds}
    with ExitStack() as stack:
        folder = stack.enter_context(machine.folder())
        sets = []
        for kind in kinds:
            server = stack.enter_context(kind(folder))
            readers = stack.enter_context(Remote(Readers))
            readers.call("open", server.address, [server.stream(n) for n in range(STREAMS)], server.ready)
            sets.append((kind, server, readers))
        for _ in range(TIMES):
            for kind, server, readers in sets:
                before = machine.cpu_seconds(server.pid)
                deliveries, took = readers.call(
                    "broadcast", server.address, server.publish(None), b"event: notification", SECONDS
                )
                rates[kind].append(deliveries / took)
                times[kind].append((machine.cpu_seconds(server.pid) - before) / deliveries * 1e6)
        for _, _, readers in sets:
            readers.call("close")
    each = {kind: Figure(values, " µs") for kind, values in times.items()}
    table = Table(
        f"Fan-out: one broadcast to {STREAMS:,} streams, server on one core",
        ("", "to sse-starlette", "to C", "of the core, each", "deliveries/s"),
        notes=() if Limit in each else ("no C compiler here: the kernel's limit was not measured",),
    )
    for kind, cost in each.items():
        limit = ratio(each[Limit], cost) if Limit in each else "–"
        table.rows.append((kind.name, ratio(each[Peer], cost), limit, str(cost), str(Figure(rates[kind]))))
    return [table]
