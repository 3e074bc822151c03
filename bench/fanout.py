"""One broadcast to a hundred streams, and to more and more of them: what a delivery costs, and how that grows.

The next broadcast is sent when the one before has arrived everywhere, so every delivery is a write of its own and
nobody gains by joining several. The C program shows what the kernel allows; as long as the load's core has time left,
the load was not what was measured. Ratios are of the processor time that the servers used for a delivery: they hold
also where something else uses the core.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack

from bench import machine, plot
from bench.load import Remote
from bench.readers import Readers, Round
from bench.report import Figure, Goal, Table, ratio
from bench.servers import Limit, Milepost, Nchan, Server, SseStarlette, everybody

SIZES = (100, 300, 1_000, 2_500, 5_000, 10_000, 15_000)
TOLD = (1_000, 5_000, 15_000)  # with a table of their own
SECONDS = 0.7
TIMES = 3
CORES = ("server's core", "load's core")


class _Results:
    """What was found for one server and one number of streams."""

    def __init__(self) -> None:
        self.each: list[float] = []  # µs of the server's core for a delivery
        self.rates: list[float] = []  # deliveries a second
        self.kernel: list[float] = []  # of that, %
        self.busy: list[float] = []  # of the server's core, %
        self.load: list[float] = []  # of the load's core, %

    def add(self, used: float, kernel: float, found: Round) -> None:
        self.each.append(used / found.deliveries * 1e6)
        self.kernel.append(kernel / used * 100)
        self.rates.append(found.deliveries / found.seconds)
        self.busy.append(used / found.seconds * 100)
        self.load.append(found.load_seconds / found.seconds * 100)


Results = dict[int, dict[type[Server], _Results]]


def run() -> Sequence[Table]:
    """Measure."""
    kinds = everybody()
    results: Results = {size: defaultdict(_Results) for size in SIZES}
    left: dict[type[Server], str] = {}  # a peer that lost a stream, and where
    with ExitStack() as stack:
        sets = {}
        for kind in kinds:
            server = stack.enter_context(kind(stack.enter_context(machine.folder())))
            sets[kind] = server, stack.enter_context(Remote(Readers))
        opened = 0
        for size in SIZES:
            more = range(opened, size)
            opened = size
            for turn in range(TIMES):
                for kind, (server, readers) in [one for one in sets.items() if size <= one[0].most]:
                    try:
                        if turn == 0:
                            server.open(readers, [server.stream(n) for n in more])
                        _once(server, readers, results[size][kind])
                    except RuntimeError:
                        if kind in (Limit, Milepost):
                            raise
                        del sets[kind], results[size][kind]
                        left[kind] = f"{kind.name} lost a stream at {size:,} and is left out from there on."
        for _, readers in sets.values():
            readers.call("close")
    tables = [_table(size, results[size]) for size in TOLD]
    tables.append(_growth(results))
    tables[-1].notes = tuple(left.values())
    return tables


def _once(server: Server, readers: Remote, results: _Results) -> None:
    """Broadcast for a while."""
    before, inside = machine.cpu_seconds(server.pid), machine.kernel_seconds(server.pid)
    mark = b"event: notification"
    found = readers.call("broadcast", server.publisher, server.publish(None), mark, SECONDS)
    used, kernel = machine.cpu_seconds(server.pid) - before, machine.kernel_seconds(server.pid) - inside
    results.add(used, kernel, found)


def _table(size: int, results: dict[type[Server], _Results]) -> Table:
    each = {kind: Figure(found.each, " µs") for kind, found in results.items()}
    table = Table(
        f"Fan-out: one broadcast to {size:,} streams, server on one core",
        (
            "",
            "to C",
            "to sse-starlette",
            "of the core, each",
            "in the kernel",
            "deliveries/s",
            "server's core",
            "load's core",
        ),
    )
    for kind, cost in each.items():
        found = results[kind]
        kernel, busy, load = (Figure(values).median for values in (found.kernel, found.busy, found.load))
        table.rows.append(
            (
                kind.name,
                ratio(each[Limit], cost),
                ratio(each[SseStarlette], cost) if SseStarlette in each else "–",
                str(cost),
                f"{kernel:.0f} %",
                str(Figure(found.rates)),
                f"{busy:.0f} %",
                f"{load:.0f} %",
            )
        )
    for peer, limit in ((Limit, 0.85), (Nchan, 1.25), (SseStarlette, 6.0)):
        if peer in each:
            what = f"fan-out to {size:,}, to {peer.name}"
            table.goals.append(Goal(what, "≥", limit, each[peer].median / each[Milepost].median, " ×"))
    return table


def _growth(results: Results) -> Table:
    """How the cost of a delivery grows with the streams."""
    kinds = list(results[SIZES[0]])
    table = Table("Growth: µs of the core for one delivery, by open streams", ("", *(f"{size:,}" for size in SIZES)))
    series = {}
    for kind in kinds:
        costs = {size: Figure(results[size][kind].each).median for size in SIZES if kind in results[size]}
        table.rows.append((kind.name, *(f"{costs[size]:.1f}" if size in costs else "–" for size in SIZES)))
        series[kind.name] = list(costs.items())
    title = "What one delivery of a broadcast costs"
    table.plot = "fanout", plot.lines(title, "open streams", "µs of the server's core", series)
    ours = series[Milepost.name]
    table.goals.append(Goal("a delivery at 15,000 streams, to one at 100", "≤", 1.0, ours[-1][1] / ours[0][1], " ×"))
    return table
