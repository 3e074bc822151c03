"""The part of the engine contract that takes more than one: two engines on one store, two processes, hints."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from milepost.engine import Engine, Reach
from milepost.engines import open_engine
from milepost.model import Cursor
from milepost.testing.documents import NOW, SECONDS, keys, read_on, revisions, start, write, writing


class SharedContract:
    """See ``EngineContract``, which is what an engine's tests inherit."""

    def open(self, url: str) -> Engine:
        """Open an engine on a store. Override it for an engine that ``open_engine`` does not know."""
        return open_engine(url)

    @pytest.fixture
    async def other(self, url: str, engine: Engine) -> AsyncIterator[Engine]:
        """A second engine on the store of ``engine``."""
        del engine  # only to be there first
        other = self.open(url)
        yield other
        await other.close()

    async def test_durable_reopened(self, url: str, engine: Engine) -> None:
        """[durable] What was committed is there after the store was closed and opened again, epoch and all."""
        stored = await engine.commit("t", [write("a", body=b"kept"), write("b", body=None)])
        head = await engine.heads(["t", "empty"])
        await engine.close()
        again = self.open(url)
        assert await again.get("t", ["a"]) == stored[:1]
        assert await again.heads(["t", "empty"]) == head
        assert (await read_on(again, Cursor(head[0].epoch, 0)))[0] == stored
        await again.close()

    async def test_durable_killed(self, url: str, engine: Engine) -> None:
        """[durable] A process that is killed in the middle of its commits has lost none that it had heard back of."""
        async with writing(url, "doomed", 100_000) as process:
            assert process.stdout is not None
            heard = [await asyncio.wait_for(process.stdout.readline(), SECONDS) for _ in range(50)]
            process.kill()
            heard += (await process.stdout.read()).splitlines(keepends=True)
        acknowledged = dict(json.loads(line) for line in heard if line.endswith(b"\n"))
        assert len(acknowledged) >= 50
        found = await engine.get("t", list(acknowledged))
        assert {it.key: it.revision for it in found if it} == acknowledged
        assert revisions(await engine.commit("t", [write("next")])) == [(await start(engine)).revision]

    async def test_dense_two_engines(self, engine: Engine, other: Engine) -> None:
        """[dense] Two engines on one store write one history: no hole, no revision twice, and both read all of it."""
        before = await start(engine)
        commits = [each.commit("t", [write(f"{each is engine}-{n}")]) for n in range(100) for each in (engine, other)]
        got = [it.revision for stored in await asyncio.gather(*commits) for it in stored]
        assert sorted(got) == list(range(1, 201))
        first, second = await read_on(engine, before), await read_on(other, before)
        assert first == second
        assert revisions(first[0]) == list(range(1, 201))

    async def test_replaces_two_engines(self, engine: Engine, other: Engine) -> None:
        """[replaces] Of two engines that create one key at the same time exactly one does."""
        for n in range(20):
            commits = [each.commit("t", [write(f"k{n}", replaces=0)]) for each in (engine, other)]
            results = await asyncio.gather(*commits, return_exceptions=True)
            assert sorted(isinstance(each, list) for each in results) == [False, True]

    async def test_dense_two_processes(self, url: str, engine: Engine) -> None:
        """[dense] Two processes that write at once both get on, lose no step of a shared count, and leave no hole."""
        before, count = await start(engine), 60
        async with writing(url, "one", count) as one, writing(url, "two", count) as two:
            outputs = [out for out, _ in await asyncio.gather(one.communicate(), two.communicate())]
        assert (one.returncode, two.returncode) == (0, 0)
        got = dict(json.loads(line) for output in outputs for line in output.splitlines())
        assert len(got) == 2 * count
        found, cursor = await read_on(engine, before)
        assert {it.key: it.revision for it in found} == {**got, "shared": found[-1].revision}
        assert found[-1].body == b"%d" % (2 * count)
        assert cursor.revision == 4 * count

    async def test_hint_own(self, engine: Engine) -> None:
        """[hint] A commit of this engine hints its tenant to everyone who listens, at once."""
        async with engine.hints() as first, engine.hints() as second:
            await engine.commit("t", [write("a")])
            for hints in (first, second):
                assert await asyncio.wait_for(anext(hints), SECONDS) in ("t", None)
            await engine.commit("s", [write("a")])
            assert await _hinted(first, "s")

    async def test_hint_other_engine(self, engine: Engine, other: Engine) -> None:
        """[hint] A commit of another engine on the store is hinted, and can then be read."""
        before = await start(engine)
        async with engine.hints() as hints:
            for n in range(3):
                await other.commit("t", [write(f"k{n}")])
                assert await _hinted(hints, "t")
                found, before = await read_on(engine, before)
                assert keys(found)[-1] == f"k{n}"

    async def test_hint_other_process(self, url: str, engine: Engine) -> None:
        """[hint] Commits of another process are hinted where hints reach further than the process."""
        assert engine.reach is not Reach.PROCESS
        cursor, held = await start(engine), set[str]()
        async with engine.hints() as hints, writing(url, "far", 5):
            while "far-4" not in held:
                assert await _hinted(hints, "t")
                found, cursor = await read_on(engine, cursor)
                held |= set(keys(found))

    async def test_hint_epoch(self, engine: Engine, other: Engine) -> None:
        """[hint] A new epoch is hinted like a commit, so that open streams learn of it."""
        await engine.commit("t", [write("a")])
        async with engine.hints() as hints:
            await other.renew_epoch()
            assert await _hinted(hints, "t")
            cursor = await start(engine)
            await other.changes("t", None, Cursor(cursor.epoch, 9), now=NOW)
            while (await start(engine)).epoch == cursor.epoch:
                assert await _hinted(hints, "t")

    async def test_reset_two_engines(self, engine: Engine, other: Engine) -> None:
        """[reset] A new epoch holds for every engine on the store."""
        await engine.commit("t", [write("a")])
        before = await start(engine)
        page = await other.changes("t", None, Cursor(before.epoch, 9), now=NOW)
        assert page.reset == "ahead"
        assert await start(engine) == page.cursor
        assert (await engine.changes("t", None, before, now=NOW)).reset == "epoch"

    async def test_snapshot_is_one(self, engine: Engine, other: Engine) -> None:
        """[snapshot] Documents and cursor are of one moment: what a snapshot misses comes after its cursor."""
        writing = asyncio.gather(*(other.commit("t", [write(f"k{n}", open_until=9e9)]) for n in range(200)))
        while not writing.done():
            page = await engine.changes("t", ["user:a"], None, now=NOW)
            assert revisions(page.documents) == list(range(1, page.cursor.revision + 1))
            await asyncio.sleep(0)
        await writing

    async def test_hint_after_close(self, engine: Engine) -> None:
        """[hint] Closed hints hold nothing back: commits go on, and new hints begin from now."""
        async with engine.hints():
            pass
        await engine.commit("t", [write("a")])
        async with engine.hints() as hints:
            await engine.commit("s", [write("a")])
            assert await asyncio.wait_for(anext(hints), SECONDS) in ("s", None)


async def _hinted(hints: AsyncIterator[str | None], tenant: str) -> bool:
    deadline = time.monotonic() + SECONDS
    while True:
        if await asyncio.wait_for(anext(hints), deadline - time.monotonic()) in (tenant, None):
            return True
