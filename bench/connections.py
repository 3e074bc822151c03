"""What a connection costs: to accept one with its token and first read, to keep one, to keep thousands idle.

Each repetition is a fresh server, since memory that was used once is seldom given back. Ratios of connects are of the
processor time that the servers used for one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from bench import machine, plot
from bench.load import Producer, Remote
from bench.readers import Readers
from bench.report import Figure, Goal, Table, ratio
from bench.servers import Limit, Milepost, Server, SseStarlette, everybody, user

STREAMS = 3_000
MORE = (10_000, 15_000)  # in the last turn
WARM = 200
IDLE_SECONDS = 16.0  # one heartbeat of 15 s at every stream
TIMES = 3

Found = dict[type[Server], list[float]]


class _Quiet(NamedTuple):
    """A server with nothing to do but heartbeats."""

    cpu: float  # % of the core
    beats: int  # that the stream with the fewest got
    lost: int  # streams that it closed
    memory: float  # KiB a stream
    reads: float  # of the store, a second, by Milepost's own count; 0 for the others


def run() -> Sequence[Table]:
    """Measure."""
    kinds = everybody()
    rates: Found = defaultdict(list)
    times: Found = defaultdict(list)
    sizes: Found = defaultdict(list)
    idle: dict[int, dict[type[Server], _Quiet]] = {}
    for turn in range(TIMES):
        with ExitStack() as stack:
            sets, before = [], {}
            for kind in kinds:
                server = stack.enter_context(kind(stack.enter_context(machine.folder())))
                readers = stack.enter_context(Remote(Readers))
                sets.append((kind, server, readers))
                if isinstance(server, Milepost):
                    fill(server, MORE[-1] if turn == TIMES - 1 else STREAMS)
                server.open(readers, [server.stream(n) for n in range(WARM)])
                before[kind], used = machine.resident(server.pid), machine.cpu_seconds(server.pid)
                took = server.open(readers, [server.stream(n) for n in range(WARM, STREAMS)])
                rates[kind].append((STREAMS - WARM) / took)
                times[kind].append((machine.cpu_seconds(server.pid) - used) / (STREAMS - WARM) * 1e6)
                sizes[kind].append((machine.resident(server.pid) - before[kind]) / (STREAMS - WARM) / 1024)
            opened = STREAMS
            for size in MORE if turn == TIMES - 1 else ():
                sets = [one for one in sets if size <= one[0].most]
                for _, server, readers in sets:
                    server.open(readers, [server.stream(n) for n in range(opened, size)])
                opened = size
                idle[size] = _idle(sets, before, size)
    return [_opening(rates, times), *(_keeping(size, found) for size, found in idle.items()), _memory(sizes, idle)]


def fill(server: Milepost, count: int) -> None:
    """A queued job and an unread notification for each user, which their snapshots then hold."""
    users = [user(n) for n in range(count)]
    requests = [server.start_jobs(users[at : at + 50]) for at in range(0, count, 50)]
    with Remote(Producer) as producer:
        producer.call("each", server.publisher, requests)


def _idle(
    sets: Sequence[tuple[type[Server], Server, Remote]], before: dict[type[Server], int], size: int
) -> dict[type[Server], _Quiet]:
    used = {kind: machine.cpu_seconds(server.pid) for kind, server, _ in sets}
    beating = [(kind, server, readers) for kind, server, readers in sets if kind is not Limit]
    for _, server, readers in beating:
        readers.begin("idle", IDLE_SECONDS, server.beat)
    asked = _reads(sets)
    beats = {kind: readers.end() for kind, _, readers in beating}
    asked = (_reads(sets) - asked) / IDLE_SECONDS
    found = {}
    if beats[Milepost][1]:
        raise RuntimeError("Milepost closed an idle stream")
    for kind, server, _ in beating:
        cpu = (machine.cpu_seconds(server.pid) - used[kind]) / IDLE_SECONDS * 100
        memory = (machine.resident(server.pid) - before[kind]) / (size - WARM) / 1024
        found[kind] = _Quiet(cpu, beats[kind][0], beats[kind][1], memory, asked if kind is Milepost else 0.0)
    return found


def _reads(sets: Sequence[tuple[type[Server], Server, Remote]]) -> float:
    """How often Milepost has read from its store, but for one look at the heads every few seconds."""
    return sum(server.metric("milepost_changes_reads_total") for _, server, _ in sets if isinstance(server, Milepost))


def _opening(rates: Found, times: Found) -> Table:
    each = {kind: Figure(values, " µs") for kind, values in times.items()}
    table = Table(
        f"Connects: {STREAMS:,} streams, each with a token of its own, until the first event",
        ("", "to sse-starlette", "of the core, each", "connects/s", "before it is open"),
    )
    first = {Milepost: "token checked, job, notification and unread count sent", Limit: "nothing"}
    for kind, cost in each.items():
        does = first.get(kind, kind.does.split(",")[0])
        table.rows.append((kind.name, ratio(each[SseStarlette], cost), str(cost), str(Figure(rates[kind])), does))
    accepted = Figure(rates[Milepost]).median
    table.goals.append(Goal("connects with token and snapshot", "≥", 6_000, accepted, "/s"))
    return table


def _keeping(size: int, found: dict[type[Server], _Quiet]) -> Table:
    table = Table(
        f"Idle: {size:,} open streams, a heartbeat every 15 s, for {IDLE_SECONDS:.0f} s",
        ("", "to sse-starlette", "of the core", "resident memory per stream", "fewest heartbeats", "streams lost"),
    )
    for kind, quiet in found.items():
        to_peer = ratio(Figure([found[SseStarlette].cpu]), Figure([max(quiet.cpu, 0.01)]))
        told = f"{quiet.cpu:.1f} %", f"{quiet.memory:.2f} KiB", str(quiet.beats), str(quiet.lost)
        table.rows.append((kind.name, to_peer, *told))
    ours = found[Milepost]
    if size == MORE[0]:
        table.goals.append(Goal(f"idle with {size:,} streams, of the core", "≤", 3, ours.cpu, " %"))
        table.goals.append(Goal(f"reads of the store with {size:,} idle streams", "≤", 50, ours.reads, "/s"))
    if size == MORE[-1]:
        # design says KB: a thousand bytes
        table.goals.append(Goal(f"memory per idle stream at {size:,}", "≤", 2.5, ours.memory * 1.024, " KB"))
    return table


def _memory(sizes: Found, idle: dict[int, dict[type[Server], _Quiet]]) -> Table:
    kinds = [kind for kind in sizes if kind is not Limit]
    table = Table("Resident memory per stream, by open streams", ("", f"{STREAMS:,}", *(f"{size:,}" for size in idle)))
    series = {}
    for kind in kinds:
        first = Figure(sizes[kind], " KiB")
        more = [(size, found[kind].memory) for size, found in idle.items() if kind in found]
        told = [f"{memory:.2f} KiB" for _, memory in more]
        table.rows.append((kind.name, str(first), *told, *["–"] * (len(idle) - len(more))))
        series[kind.name] = [(STREAMS, first.median), *more]
    table.plot = "memory", plot.lines("Memory of a server per open stream", "open streams", "KiB", series)
    return table
