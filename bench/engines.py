"""The three engines side by side: what each commits, how fast it carries news between two servers, what idlers cost it.

All of them keep what they acknowledge: SQLite and PostgreSQL as they come, Redis with ``appendfsync always``; one more
row is Redis as most people run it, which may lose its last second. Redis and PostgreSQL are real servers that are
started here, on the load's core; Milepost has the other one.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from bench import machine
from bench.engine import commit, job, rate
from bench.latency import paced
from bench.load import Producer, Remote
from bench.protocol import Address
from bench.readers import Readers
from bench.report import Figure, Goal, Table, number, p99
from bench.servers import Milepost, user
from milepost.engines import open_engine
from tests.engines.postgres_server import PostgresServer
from tests.engines.redis_server import RedisServer, running_redis

TIMES: Final = 3
RATE: Final = 500.0
EVENTS: Final = 800
LISTENERS: Final = 200
IDLE: Final = 2_000
IDLE_SECONDS: Final = 5.0
HOW: Final = (("one caller, one by one", 1, 1), ("64 callers, one by one", 1, 64), ("batches of 64", 64, 1))
CONNECTIONS: Final = {"PostgreSQL": 10, "Redis": 3}  # of a server, whatever the number of its subscribers
EVERYSEC: Final = "Redis, appendfsync everysec"
GOALS: Final = {"PostgreSQL": (10, 40), "Redis": (3, 15), EVERYSEC: (3, 15)}  # publish to receive, ms: p50, p99
ASKED: Final = 5  # a second: more than chance, far less than if each of a thousand asked but once in minutes


class Toll(NamedTuple):
    """What a store was asked until now, who is connected to it, and the processor time that it used."""

    asked: float
    connections: int
    seconds: float


class Store:
    """One engine's store: an empty one for each measurement, since what another one left would be looked after."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._files = (folder / f"milepost-{number}.db" for number in itertools.count())
        self.empty()

    def empty(self) -> None:
        """Go on with an empty one."""
        self._file = next(self._files)
        self.url = f"sqlite:///{self._file}"

    def begin_counting(self) -> None:
        """What is asked from now on is counted."""

    def toll(self, server: Milepost) -> Toll:
        """Of a file: the reads that the server says it made, its open handles, and the server's own time."""
        handles = Path(f"/proc/{server.pid}/fd").iterdir()
        held = sum(handle.readlink() == self._file for handle in handles if handle.exists())
        asked = server.metric("milepost_changes_reads_total") + server.metric("milepost_commits_total")
        return Toll(asked, held, machine.cpu_seconds(server.pid))


class PostgresStore(Store):
    """A PostgreSQL with its defaults."""

    name = "PostgreSQL"

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.empty()
        (self._pid,) = (int(line) for line in (server.data / "postmaster.pid").read_text().splitlines()[:1])
        for pid in machine.family(self._pid):
            machine.pin(pid, machine.LOAD_CORE)

    def empty(self) -> None:
        """Another database."""
        self._database = self._server.new_database()
        self.url = self._server.url(self._database)

    def begin_counting(self) -> None:
        """Every statement makes a line in its log."""
        self._server.execute("ALTER SYSTEM SET log_statement = 'all'")
        self._server.execute("SELECT pg_reload_conf()")

    def toll(self, server: Milepost) -> Toll:
        """Statements by its log, sessions by its own list."""
        asked = len(re.findall(r"LOG:  (?:execute|statement)", (self._server.folder / "log").read_text()))
        ((sessions,),) = self._server.execute(
            "SELECT count(*) FROM pg_stat_activity"
            f" WHERE datname = '{self._database}' AND backend_type = 'client backend'"
        )
        return Toll(asked, int(str(sessions)), machine.cpu_seconds(self._pid))


class RedisStore(Store):
    """A Redis that has each commit on its disk before it says so, and is held to that; or one as it comes with AOF."""

    def __init__(self, server: RedisServer, *, strict: bool) -> None:
        self._server = server
        self.name = "Redis" if strict else EVERYSEC
        self.url = f"{server.url}?durability={'strict' if strict else 'relaxed'}"
        machine.pin(server.pid, machine.LOAD_CORE)

    def empty(self) -> None:
        """The same one, emptied."""
        self._server.do("FLUSHALL")

    def toll(self, server: Milepost) -> Toll:
        """By its own INFO."""
        asked, clients = (self._server.info(name) for name in ("total_commands_processed", "connected_clients"))
        return Toll(float(asked), int(clients) - 1, machine.cpu_seconds(self._server.pid))


class Node(Milepost):
    """One of the servers that share a store."""

    def __init__(self, folder: Path, store: Store) -> None:
        folder.mkdir()
        self._engine = store.url
        super().__init__(folder)

    def start(self) -> tuple[Address, Address]:
        """It takes nobody in before its store has answered."""
        address, publisher = super().start()
        self.answers(address)
        return address, publisher

    def command(self) -> tuple[Sequence[str | Path], dict[str, str]]:
        """`milepost serve` on the store."""
        words, environment = super().command()
        return words, {**environment, "MILEPOST_ENGINE": self._engine}


def run() -> Sequence[Table]:
    """Measure."""
    with stores() as found:
        return [_commits(found), _latency(found), _idle([store for store in found if store.name != EVERYSEC])]


@contextmanager
def stores() -> Iterator[list[Store]]:
    """All of them, running."""
    with ExitStack() as stack:
        folder = stack.enter_context(machine.folder())
        folder.chmod(0o755)  # PostgreSQL is not root's
        (folder / "postgres").mkdir()
        server = PostgresServer(folder / "postgres")
        server.create()
        server.start()
        stack.callback(server.stop)
        found = [Store(folder), PostgresStore(server)]
        for sync in ("always", "everysec"):
            settings = {"appendonly": "yes", "appendfsync": sync, "maxmemory_policy": "noeviction"}
            redis = stack.enter_context(running_redis(folder / sync, **settings))
            found.append(RedisStore(redis, strict=sync == "always"))
        yield found


def _commits(found: Sequence[Store]) -> Table:
    rates: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with machine.on_core(machine.SERVER_CORE):
        for _ in range(TIMES):
            for store in found:
                store.empty()
                asyncio.run(_commit(store.url, rates[store.name]))
    table = Table(
        "Commits to each engine, new documents/s", ("", *(name for name, _, _ in HOW), "before it is acknowledged")
    )
    for name, figures in rates.items():
        does = "in memory" if name == EVERYSEC else "on the disk"
        table.rows.append((name, *(str(Figure(figures[how])) for how, _, _ in HOW), does))
    return table


async def _commit(url: str, rates: dict[str, list[float]]) -> None:
    engine, numbers = open_engine(url), itertools.count(time.time_ns())
    try:
        await engine.commit("t", [job(0)])  # connected, and its tables made
        for how, count, callers in HOW:
            rates[how].append(await rate(partial(commit, engine, lambda: job(next(numbers)), count), count, callers))
    finally:
        await engine.close()


def _latency(found: Sequence[Store]) -> Table:
    p50s: dict[str, list[float]] = defaultdict(list)
    p99s: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        folder = stack.enter_context(machine.folder())
        sets = []
        for store in found:
            store.empty()
            one, other = (stack.enter_context(Node(folder / f"{store.name}-{n}", store)) for n in range(2))
            readers = stack.enter_context(Remote(Readers))
            other.open(readers, [other.stream(n) for n in range(LISTENERS)])
            sets.append((store.name, one, readers))
        producer = stack.enter_context(Remote(Producer))
        for _ in range(TIMES):
            for name, server, readers in sets:
                requests = [server.publish(user(n % LISTENERS)) for n in range(EVENTS)]
                took = paced(server, readers, producer, requests, RATE, EVENTS)
                p50s[name].append(statistics.median(took))
                p99s[name].append(p99(took))
        for _, _, readers in sets:
            readers.call("close")
    table = Table(
        f"Publish to receive across two servers on one store: {RATE:,.0f} publishes/s to one, streams on the other",
        ("", "p50", "p99"),
    )
    for name, values in p50s.items():
        table.rows.append((name, str(Figure(values, " ms")), str(Figure(p99s[name], " ms"))))
    for name, limits in GOALS.items():
        for what, limit, times in zip(("p50", "p99"), limits, (p50s, p99s), strict=True):
            goal = f"publish to receive across two servers on {name}, {what}"
            table.goals.append(Goal(goal, "≤", limit, Figure(times[name]).median, " ms"))
    return table


def _idle(found: Sequence[Store]) -> Table:
    with ExitStack() as stack:
        folder = stack.enter_context(machine.folder())
        for store in found:
            store.empty()
        nodes = [stack.enter_context(Node(folder / f"{store.name}-idle", store)) for store in found]
        for store in found:
            store.begin_counting()
        all_readers = [stack.enter_context(Remote(Readers)) for _ in nodes]
        found_tolls, opened = [], 0
        for count in (1, IDLE):
            for node, readers in zip(nodes, all_readers, strict=True):
                node.open(readers, [node.stream(n) for n in range(opened, count)])
            opened = count
            time.sleep(1)  # what opening them has brought about
            found_tolls.append(_tolls(found, nodes))
        for readers in all_readers:
            readers.call("close")
    table = Table(
        f"What idle subscribers cost the store of one server: one of them → {IDLE:,}",
        ("", "asked a second", "connections", "processor time a second"),
        notes=(
            "Asked are statements (PostgreSQL, by its log), commands (Redis, by INFO), reads and commits (SQLite).",
            "Connections of SQLite are open handles of the file; its time is the server's own, heartbeats included.",
        ),
    )
    for store, one, many in zip(found, *found_tolls, strict=True):
        told = [f"{number(low)} → {number(high)}" for low, high in zip(one, many, strict=True)]
        table.rows.append((store.name, *told[:2], f"{told[2]} ms"))
        if store.name in CONNECTIONS:
            goal = f"{store.name}: connections with {IDLE:,} idle subscribers"
            table.goals.append(Goal(goal, "≤", CONNECTIONS[store.name], many[1]))
        goal = f"{store.name}: asked more by 1,000 more idle subscribers"
        table.goals.append(Goal(goal, "≤", ASKED, (many[0] - one[0]) / IDLE * 1_000, "/s"))
    return table


def _tolls(found: Sequence[Store], nodes: Sequence[Milepost]) -> list[tuple[float, float, float]]:
    """Of each store: what it is asked a second, its connections, its processor time a second in ms."""
    began = [store.toll(node) for store, node in zip(found, nodes, strict=True)]
    time.sleep(IDLE_SECONDS)
    ended = [store.toll(node) for store, node in zip(found, nodes, strict=True)]
    return [
        (
            (then.asked - first.asked) / IDLE_SECONDS,
            float(then.connections),
            (then.seconds - first.seconds) / IDLE_SECONDS * 1e3,
        )
        for first, then in zip(began, ended, strict=True)
    ]
