"""The hub in time: heartbeats, expiry, age, the drain, and what is left of those who went."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from milepost import dialects
from milepost.dialects import MILEPOST
from milepost.engine import Page
from milepost.pulse import LIFE_SPREAD
from milepost.subscriber import State, Subscriber
from milepost.testing import wait_until
from tests.unit.readers import Reader
from tests.unit.world import BEAT, ME, SEAL, World, of_job

# --- time ------------------------------------------------------------------------------------------------------------


async def test_heartbeat(world: World) -> None:
    """A quiet stream is told after the heartbeat's time up to where it has seen everything, and then again."""
    reader = await world.live()
    await world.notify("other")
    world.pass_time(BEAT)
    await wait_until(lambda: reader.names[-1] == "heartbeat")
    (head,) = await world.engine.heads(["default"])
    assert SEAL.decode("default", reader.events[-1].json["cursor"]) == head
    world.pass_time(BEAT)
    await wait_until(lambda: reader.names.count("heartbeat") == 2)


async def test_heartbeats_let_others_run(world: World) -> None:
    """Many heartbeats that are due at once hold up nothing else for longer than a slice of some milliseconds."""
    readers = [await world.live() for _ in range(40)]
    turns = 0

    class Slow(Reader):
        """Each write takes a millisecond."""

        def write(self, data: bytes) -> bool:
            world.steady.advance(0.001)
            return super().write(data)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += "heartbeat" in readers[0].names and "heartbeat" not in readers[-1].names
            await asyncio.sleep(0)

    for reader in readers:
        reader.__class__ = Slow
    other = asyncio.create_task(count())
    world.pass_time(BEAT)
    await wait_until(lambda: "heartbeat" in readers[-1].names)
    other.cancel()
    assert turns >= 40 // 6


async def test_no_heartbeat_to_a_lagging_reader(world: World) -> None:
    """Only a live reader is told the hub's cursor: to a lagging one it would be a lie."""
    reader = await world.live(reader=Reader(room=4))
    other = await world.live()
    await world.notify()
    await wait_until(lambda: reader.subscriber.state is State.LAGGING)
    world.pass_time(BEAT + 1)
    await wait_until(lambda: "heartbeat" in other.names)
    assert "heartbeat" not in reader.names


async def test_a_dialects_own_heartbeat(world: World) -> None:
    """A dialect may beat in its own time, and with a comment."""
    document = dialects.dialect("document")
    assert document is not None
    reader = await world.open(dialect=document)
    world.pass_time(BEAT)
    await wait_until(lambda: "heartbeat" in reader.parser.comments)


async def test_expiry(world: World) -> None:
    """A stream ends with its token, as soon as the next tick."""
    reader = await world.live(replace(ME, expires_at=world.wall() + 5))
    world.pass_time(4)
    await asyncio.sleep(0.3)
    assert not reader.ended
    world.pass_time(1.1)
    await wait_until(lambda: reader.ended)
    assert reader.events[-1].json["reason"] == "token_expired"


async def test_age(world: World) -> None:
    """Streams live between 80 and 100 % of their time, so that they do not all come back at once."""
    readers = [await world.live() for _ in range(30)]
    ages = [reader.subscriber.ends_at - world.steady() for reader in readers]
    assert all(600 * LIFE_SPREAD <= age <= 600 for age in ages)
    assert max(ages) - min(ages) > 30
    world.pass_time(601)
    for reader in readers:
        await wait_until(lambda reader=reader: reader.ended)  # type: ignore[misc]
        assert reader.events[-1].json["reason"] == "timeout"


async def test_idle_streams_cost_no_reads(world: World) -> None:
    """However many streams are idle, the engine is not asked for changes."""
    for number in range(50):
        await world.live(replace(ME, user=f"u{number % 10}"))
    read = []
    for _ in range(20):  # that the store's hints have begun to come, which may take its time, is a hint as well
        before = world.engine.reads
        world.pass_time(BEAT)
        await asyncio.sleep(0.6)
        read.append(world.engine.reads - before)
        if read[-1] == 0:
            break
    assert read[-1] == 0
    assert sum(read) <= 2


# --- ends ------------------------------------------------------------------------------------------------------------


async def test_drain(world: World) -> None:
    """Draining ends every stream with a time of its own to come back."""
    readers = [await world.live() for _ in range(20)]
    await world.hub.drain(0.3)
    ends = [reader.events[-1] for reader in readers]
    assert all(reader.ended for reader in readers)
    assert {end.json["reason"] for end in ends} == {"shutdown"}
    assert len({end.retry for end in ends}) > 10
    assert world.hub.stats.streams == 0


async def test_drain_before_the_first_byte(world: World) -> None:
    """A stream that is between its first read and its first byte when all are drained ends like the others."""
    subscriber = Subscriber(ME, MILEPOST)
    await world.hub.open(subscriber)
    await world.hub.drain(0)
    reader = Reader()
    world.hub.begin(subscriber, reader)
    assert reader.ended
    assert reader.names == ["stream_end"]
    world.hub.close(subscriber)
    assert world.hub.stats.streams == 0


async def test_drain_wakes_long_polls(world: World) -> None:
    """Long polls answer at once when the server stops."""

    async def read() -> Page:
        (head,) = await world.engine.heads(["default"])
        return await world.engine.changes("default", ME.audiences, head, now=0)

    waiting = asyncio.create_task(world.hub.wait("default", ME.audiences, read, 20))
    await asyncio.sleep(0.05)
    await world.hub.drain(0)
    assert not (await asyncio.wait_for(waiting, 1)).documents


async def test_nothing_is_left(world: World) -> None:
    """When all have gone, in whatever state, the hub holds nothing of them."""
    await world.job()
    for _ in range(3):
        readers = [
            await world.open(),
            await world.live(),
            await world.open(reader=Reader(room=4)),
            await world.open(**of_job()),
        ]
        await world.notify()
        await wait_until(lambda: world.hub.stats.lagging == 1)
        for reader in readers:
            world.hub.close(reader.subscriber)
            world.hub.close(reader.subscriber)
    hub = world.hub
    assert (hub.stats.streams, hub.stats.lagging) == (0, 0)
    assert not hub._tenants  # noqa: SLF001
