"""One broadcast to thousands of streams: deliveries per second on one core.

The next broadcast is sent when the one before has arrived everywhere, so every delivery is a write of its own and
nobody gains by joining several. The C program shows what the kernel allows, and that the load can take it. The time of
the core is what the server's process used of it: it stays true where something else uses the core too.
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
    figures = {kind: Figure(values) for kind, values in rates.items()}
    table = Table(
        f"Fan-out: one broadcast to {STREAMS:,} streams, server on one core",
        ("", "to sse-starlette", "to C", "deliveries/s", "of the core, each"),
        notes=() if Limit in figures else ("no C compiler here: the kernel's limit was not measured",),
    )
    for kind, figure in figures.items():
        limit = ratio(figure, figures[Limit]) if Limit in figures else "–"
        table.rows.append(
            (kind.name, ratio(figure, figures[Peer]), limit, str(figure), str(Figure(times[kind], " µs")))
        )
    return [table]
