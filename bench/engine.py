"""How fast the SQLite engine is, on this machine, in one run: ``python bench/engine.py``.

Prints commits per second singly (one caller, and sixty-four at once) and in batches, and the time of the reads that
streams and polls are made of. Figures of a temporary folder's disk, fsync included.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from milepost.engine import Engine, Question, Write
from milepost.engines import open_engine

BODY = b'{"id":"case-123","kind":"document","title":"Discovery set","state":"running","message":"Page 3"}' * 6
SECONDS = 2.0


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


async def rate(work: Callable[[], Awaitable[object]], writes: int, callers: int = 1) -> float:
    """Documents per second that ``callers`` at once get committed, each waiting for its own before the next."""
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


async def micros(read: Callable[[], Awaitable[object]], times: int = 3000) -> float:
    """The mean time of a read in microseconds."""
    started = time.perf_counter()
    for _ in range(times):
        await read()
    return (time.perf_counter() - started) / times * 1e6


async def measure(engine: Engine) -> None:
    """Print every figure."""
    numbers = itertools.count()

    await engine.commit("t", [job(number) for number in range(1000)])
    print(f"{'documents committed per second':44} {'new':>9} {'again':>9}")
    for name, count, callers in (
        ("one caller, one by one", 1, 1),
        ("64 callers, one by one", 1, 64),
        ("batches of 64", 64, 1),
        ("batches of 256", 256, 1),
    ):
        new, old = [
            await rate(partial(commit, engine, make, count), count, callers)
            for make in (lambda: job(next(numbers)), lambda: job(next(numbers) % 1000))
        ]
        print(f"{name:44} {new:9,.0f} {old:9,.0f}")

    unread = [
        Write(f"notification:{n}", "notification", BODY, ("user:reader",), labels=("unread", "recent"), order=None)
        for n in range(500)
    ]
    await engine.commit("t", unread)
    (head,) = await engine.heads(["t"])
    await engine.commit("t", unread[:47])
    (last,) = await engine.heads(["t"])
    await engine.commit("t", [job(1)])
    (end,) = await engine.heads(["t"])
    readers, now = ("user:reader", "everyone"), time.time()
    unread_count = [Question("user:reader", "unread", "inbox:reader"), Question("everyone", "unread", "inbox:reader")]
    print("microseconds per read")
    for title, read in (
        ("changes, at the head", lambda: engine.changes("t", readers, end, now=now)),
        ("changes, nothing of mine", lambda: engine.changes("t", readers, last, now=now)),
        ("changes, 47 documents", lambda: engine.changes("t", readers, head, now=now)),
        ("snapshot, 20 recent", lambda: engine.changes("t", readers, None, now=now)),
        ("find, the newest 50 of 500", lambda: engine.find("t", readers, kind="notification")),
        ("count, unread of 500", lambda: engine.count("t", unread_count)),
        ("heads of one tenant", lambda: engine.heads(["t"])),
    ):
        print(f"{title:44} {await micros(read):9.1f}")


def main() -> None:
    """Measure in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'bench.db'}")

        async def run() -> None:
            try:
                await measure(engine)
            finally:
                await engine.close()

        asyncio.run(run())


if __name__ == "__main__":
    main()
