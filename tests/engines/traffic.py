"""Producers and a reader on a store that fails, and the checker of what they were told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from milepost.engine import Document, Engine, Question
from milepost.engines import open_engine
from milepost.errors import Conflict, Unavailable
from milepost.model import Cursor
from milepost.testing import wait_until
from milepost.testing.documents import NOW, SECONDS, start, write

BOUND = 2.0  # seconds within which every call ends
RECOVERED = 5.0  # and within which everything works again once the store does
FOR_EVER = float("inf")


@asynccontextmanager
async def opened(*urls: str) -> AsyncIterator[list[Engine]]:
    """An engine for each URL."""
    engines = [open_engine(url) for url in urls]
    try:
        yield engines
    finally:
        for engine in engines:
            await engine.close()


async def until_it_works(verb: Callable[[], Awaitable[object]]) -> None:
    """Ask until the store answers."""

    async def works() -> bool:
        try:
            await verb()
        except Unavailable:
            return False
        return True

    await wait_until(works, every=0.02)


def verbs(engine: Engine, epoch: str) -> Mapping[str, Callable[[], Awaitable[object]]]:
    """Everything that an engine can be asked."""
    return {
        "get": lambda: engine.get("t", ["a"]),
        "commit": lambda: engine.commit("t", [write("b")]),
        "touch": lambda: engine.touch("t", "a", revision=1, due_at=NOW),
        "changes": lambda: engine.changes("t", ["user:a"], Cursor(epoch, 0), now=NOW),
        "snapshot": lambda: engine.changes("t", ["user:a"], None, now=NOW),
        "find": lambda: engine.find("t", None, kind="note"),
        "count": lambda: engine.count("t", [Question("user:a", "x", "a")]),
        "heads": lambda: engine.heads(["t"]),
        "due": lambda: engine.due(now=NOW),
        "prune": lambda: engine.prune(now=NOW),
        "ping": engine.ping,
        "renew_epoch": engine.renew_epoch,
    }


class Traffic:
    """Producers that each commit document after document, and what they were told; a reader, and what it holds.

    The reader does what a hub does: hints wake it, a cursor leads it on, and a reset makes it begin anew. What it is
    shown rises strictly in revision, or a reset came between.
    """

    def __init__(self, writers: Sequence[Engine], reader: Engine) -> None:
        self.writers = writers
        self.reader = reader
        self.acknowledged: dict[str, int] = {}
        self.in_doubt: set[str] = set()
        self.held: dict[str, int] = {}
        self.resets: list[str] = []
        self._position = 0
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Traffic, while the block lasts; then the reader catches up."""
        cursor = await start(self.reader)
        async with asyncio.TaskGroup() as running:
            for number, engine in enumerate(self.writers):
                running.create_task(self._produce(number, engine))
            running.create_task(self._read(cursor))
            yield
            self._stop.set()

    async def got_through(self) -> None:
        """Wait until each producer was acknowledged something new."""
        before = set(self.acknowledged)

        def all_new() -> bool:
            fresh = set(self.acknowledged) - before
            return all(any(key.startswith(f"{n}-") for key in fresh) for n in range(len(self.writers)))

        await wait_until(all_new, seconds=RECOVERED)

    async def check(self, *, lost: bool = False) -> None:
        """The reader ends with what is stored, no revision is there twice, and nobody heard of what was never asked.

        Acknowledged ⊆ stored, unless the store was told to forget: ``lost``.
        """
        page = await self.reader.changes("t", None, None, now=NOW)
        stored = {it.key: it.revision for it in page.documents}
        assert self.held == stored
        assert sorted(stored.values()) == list(range(1, page.cursor.revision + 1))
        assert set(stored) <= set(self.acknowledged) | self.in_doubt
        if not lost:
            assert self.acknowledged.items() <= stored.items()

    async def _produce(self, number: int, engine: Engine) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            key = f"{number}-{count}"
            began = time.monotonic()
            try:
                (it,) = await engine.commit("t", [write(key, replaces=0, open_until=FOR_EVER)])
            except Unavailable:
                self.in_doubt.add(key)
                await asyncio.sleep(0.02)
            except Conflict as conflict:
                raise AssertionError(f"{key} was committed twice") from conflict
            else:
                self.acknowledged[key] = it.revision
            assert time.monotonic() - began < BOUND
            await asyncio.sleep(0)

    async def _read(self, cursor: Cursor) -> None:
        async with self.reader.hints() as hints:
            while True:
                stopping = self._stop.is_set()
                try:
                    cursor = await self._read_on(cursor)
                    at_head = cursor == await start(self.reader)
                except Unavailable:
                    await asyncio.sleep(0.05)
                    continue
                if stopping and at_head:
                    return
                if not stopping:
                    await asyncio.wait_for(anext(hints), SECONDS)

    async def _read_on(self, cursor: Cursor) -> Cursor:
        more = True
        while more:
            page = await self.reader.changes("t", None, cursor, now=NOW)
            if page.reset is not None:
                self.resets.append(page.reset)
                self.held, self._position = {}, 0
            self._take(page.documents)
            cursor, more = page.cursor, page.more
        return cursor

    def _take(self, documents: Sequence[Document]) -> None:
        for it in documents:
            assert it.revision > self._position
            self._position = it.revision
            self.held[it.key] = it.revision
