"""The SQLite engine by itself: durable commits per second, and the time of the reads that streams are made of.

Commits include their fsync. A caller waits for its own commit before the next; callers at once share one.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from bench import machine
from bench.report import Figure, Table, p99
from milepost.engine import Engine, Question, Write
from milepost.engines import open_engine

BODY = b'{"id":"case-123","kind":"document","title":"Discovery set","state":"running","message":"Page 3"}' * 6
SECONDS = 0.8
TIMES = 3
READS = 1_000


def run() -> Sequence[Table]:
    """Measure, on the servers' core."""
    with machine.on_core(machine.SERVER_CORE), machine.folder() as folder:
        return asyncio.run(_measured(f"sqlite:///{folder / 'bench.db'}"))


async def _measured(url: str) -> Sequence[Table]:
    engine = open_engine(url)
    try:
        return [await _commits(engine), await _reads(engine)]
    finally:
        await engine.close()


def job(number: int) -> Write:
    """A job's document as the ledger writes it, of 600 bytes."""
    owner = f"user:u{number % 500}"
    return Write(
        f"job:{number}",
        "job",
        BODY,
        (owner, f"job:{number}"),
        private=b"[]",
        labels=("state:running", "kind:document"),
        open_until=float("inf"),
        due_at=time.time() + 30,
    )


async def commit(engine: Engine, make: Callable[[], Write], count: int) -> None:
    """One commit of so many documents."""
    await engine.commit("t", [make() for _ in range(count)])


async def rate(work: Callable[[], Awaitable[object]], writes: int, callers: int) -> float:
    """Documents per second that ``callers`` at once get committed."""
    until = time.perf_counter() + SECONDS
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await work()
            done += writes

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - started)


async def _commits(engine: Engine) -> Table:
    numbers = itertools.count(1000)
    await engine.commit("t", [job(number) for number in range(1000)])
    table = Table(
        "SQLite engine: durable commits, documents/s on one core", ("", "new documents", "progress of old ones")
    )
    for name, count, callers in (
        ("one caller, one by one", 1, 1),
        ("64 callers, one by one", 1, 64),
        ("one caller, batches of 64", 64, 1),
        ("one caller, batches of 256", 256, 1),
    ):
        figures = []
        for make in (lambda: job(next(numbers)), lambda: job(next(numbers) % 1000)):
            work = partial(commit, engine, make, count)
            figures.append(Figure([await rate(work, count, callers) for _ in range(TIMES)]))
        table.rows.append((name, *map(str, figures)))
    return table


async def _reads(engine: Engine) -> Table:
    unread = [
        Write(f"notification:{n}", "notification", BODY, ("user:reader",), labels=("unread", "recent"))
        for n in range(500)
    ]
    await engine.commit("t", unread)
    (head,) = await engine.heads(["t"])
    await engine.commit("t", unread[:47])
    (last,) = await engine.heads(["t"])
    await engine.commit("t", [job(1)])
    (end,) = await engine.heads(["t"])
    readers, now = ("user:reader", "everyone"), time.time()
    questions = [Question("user:reader", "unread", "inbox:reader"), Question("everyone", "unread", "inbox:reader")]
    table = Table("SQLite engine: reads, microseconds on one core", ("", "median", "p99"))
    for name, read in (
        ("changes, empty: at the head", lambda: engine.changes("t", readers, end, now=now)),
        ("changes, empty: others' documents only", lambda: engine.changes("t", readers, last, now=now)),
        ("changes, 47 documents", lambda: engine.changes("t", readers, head, now=now)),
        ("snapshot: the 20 newest", lambda: engine.changes("t", readers, None, now=now)),
        ("inbox: the newest 50 of 500", lambda: engine.find("t", readers, kind="notification")),
        ("unread count of 500", lambda: engine.count("t", questions)),
    ):
        times = [await _micros(read) for _ in range(READS)]
        table.rows.append((name, f"{statistics.median(times):.0f}", f"{p99(times):.0f}"))
    return table


async def _micros(read: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await read()
    return (time.perf_counter() - started) * 1e6
