"""What a connection costs: to accept one with its token and first read, to keep one, to keep thousands idle.

Each repetition is a fresh server, since memory that was used once is seldom given back. Ratios of connects are of the
processor time that the servers used for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench import machine
from bench.load import Producer, Readers, Remote
from bench.report import Figure, Table, ratio
from bench.servers import Limit, Milepost, Peer, Server, user

STREAMS = 5_000
WARM = 200
IDLE_SECONDS = 16.0  # one heartbeat of 15 s at every stream
TIMES = 3


def run() -> Sequence[Table]:
    """Measure."""
    kinds: list[type[Server]] = [Limit] if Limit.available() else []
    kinds += [Milepost, Peer]
    rates: dict[type[Server], list[float]] = {kind: [] for kind in kinds}
    times: dict[type[Server], list[float]] = {kind: [] for kind in kinds}
    sizes: dict[type[Server], list[float]] = {kind: [] for kind in kinds}
    idle: dict[type[Server], tuple[float, int]] = {}
    for turn in range(TIMES):
        with ExitStack() as stack:
            sets = []
            for kind in kinds:
                folder = stack.enter_context(machine.folder())
                server = stack.enter_context(kind(folder))
                readers = stack.enter_context(Remote(Readers))
                if isinstance(server, Milepost):
                    _fill(server)
                requests = [server.stream(n) for n in range(STREAMS)]
                readers.call("open", server.address, requests[:WARM], server.ready)
                size, used = machine.resident(server.pid), machine.cpu_seconds(server.pid)
                took = readers.call("open", server.address, requests[WARM:], server.ready)
                rates[kind].append((STREAMS - WARM) / took)
                times[kind].append((machine.cpu_seconds(server.pid) - used) / (STREAMS - WARM) * 1e6)
                sizes[kind].append((machine.resident(server.pid) - size) / (STREAMS - WARM) / 1024)
                sets.append((kind, server, readers))
            if turn == TIMES - 1:
                idle = _idle(sets)
    return [_opening(rates, times), _keeping(sizes, idle)]


def _fill(server: Milepost) -> None:
    """A queued job and an unread notification for each user, which their snapshots then hold."""
    users = [user(n) for n in range(STREAMS)]
    requests = [server.start_jobs(users[at : at + 50]) for at in range(0, STREAMS, 50)]
    with Remote(Producer) as producer:
        producer.call("each", server.address, requests)


def _idle(sets: Sequence[tuple[type[Server], Server, Remote]]) -> dict[type[Server], tuple[float, int]]:
    """Per server: the share of the core that it used with nothing to do but heartbeats, and the fewest heartbeats."""
    used = {kind: machine.cpu_seconds(server.pid) for kind, server, _ in sets}
    for _, server, readers in sets:
        readers.begin("idle", IDLE_SECONDS, server.beat)
    beats = {kind: readers.end() for kind, _, readers in sets}
    return {
        kind: ((machine.cpu_seconds(server.pid) - used[kind]) / IDLE_SECONDS * 100, beats[kind])
        for kind, server, _ in sets
    }


def _opening(rates: dict[type[Server], list[float]], times: dict[type[Server], list[float]]) -> Table:
    each = {kind: Figure(values, " µs") for kind, values in times.items()}
    table = Table(
        f"Connects: {STREAMS:,} streams, each with a token of its own, until the first live event",
        ("", "to sse-starlette", "of the core, each", "connects/s"),
        notes=(
            "Milepost checks the token and sends a snapshot: a job, a notification, the unread count;",
            "sse-starlette checks the token; C does neither.",
        ),
    )
    for kind, cost in each.items():
        table.rows.append((kind.name, ratio(each[Peer], cost), str(cost), str(Figure(rates[kind]))))
    return table


def _keeping(sizes: dict[type[Server], list[float]], idle: dict[type[Server], tuple[float, int]]) -> Table:
    figures = {kind: Figure(values, " KiB") for kind, values in sizes.items() if kind is not Limit}
    table = Table(
        f"Idle: {STREAMS:,} open streams, a heartbeat every 15 s",
        ("", "to sse-starlette", "resident memory per stream", "CPU of the core", "fewest heartbeats in 16 s"),
    )
    for kind, figure in figures.items():
        cpu, beats = idle[kind]
        table.rows.append((kind.name, ratio(figure, figures[Peer]), str(figure), f"{cpu:.1f} %", str(beats)))
    return table
