"""The hub over a real engine: catching up, going live, lagging, time, and what is left of those who went."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from milepost import dialects
from milepost.commands import Batch, Cancel, Complete, Notify, StartJob, check
from milepost.dialects import MILEPOST, Dialect, Frame
from milepost.engine import Document, Engine, Page
from milepost.engines import open_engine
from milepost.errors import NotFound, Unavailable
from milepost.hub import LIFE_SPREAD, PAGE, Hub
from milepost.ledger import Ledger
from milepost.model import Cursor, Identity
from milepost.subscriber import State, Subscriber
from milepost.testing import FakeClock, wait_until
from milepost.wire import CursorSeal
from tests.server.sse_client import Event
from tests.unit.readers import Reader

SEAL = CursorSeal(b"k" * 32)
ME = Identity("me", scopes=frozenset({"consume", "produce"}))
BEAT = 15.0


class Troubled:
    """An engine that is away when it is told to be, and that counts the reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.away = False
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def changes(self, tenant: str, audiences: Sequence[str] | None, after: Cursor | None, **more: Any) -> Page:
        """See ``Engine.changes``."""
        if self.away:
            raise Unavailable(code="engine_away")
        self.reads += 1
        return await self._engine.changes(tenant, audiences, after, **more)


class World:
    """A hub, its engine, a ledger to write with, and two clocks."""

    def __init__(self, engine: Engine) -> None:
        self.engine = Troubled(engine)
        self.wall, self.steady = FakeClock(), FakeClock(1000.0)
        self.ledger = Ledger(engine, now=self.wall)
        self.hub = Hub(
            self.engine,
            SEAL,
            heartbeat_seconds=BEAT,
            max_stream_seconds=600,
            now=self.wall,
            monotonic=self.steady,
        )

    def pass_time(self, seconds: float) -> None:
        """On both clocks."""
        self.wall.advance(seconds)
        self.steady.advance(seconds)

    async def open(self, identity: Identity = ME, reader: Reader | None = None, **more: Any) -> Reader:
        """A stream, from its first read on."""
        after = SEAL.decode(identity.tenant, more["requested"]) if "requested" in more else None
        made = Subscriber(identity, more.pop("dialect", MILEPOST), after=after, **more)
        await self.hub.open(made)
        reader = reader or Reader()
        reader.subscriber = made
        self.hub.begin(made, reader)
        return reader

    async def live(self, identity: Identity = ME, **more: Any) -> Reader:
        """A stream that has caught up."""
        reader = await self.open(identity, **more)
        await wait_until(lambda: reader.subscriber.state is State.LIVE)
        return reader

    async def job(self, id: str = "j", identity: Identity = ME, **more: Any) -> None:
        """Begin a job."""
        await self.ledger.start_job(identity, StartJob(id=id, title=id, **more))

    async def notify(self, user: str | None = "me", title: str = "x") -> None:
        """Tell a user, or everyone."""
        to: dict[str, Any] = {"everyone": True} if user is None else {"user": user}
        await self.ledger.notify(ME, Notify(title=title, **to))

    async def batch(self, *commands: dict[str, Any]) -> None:
        """Carry out commands in one commit."""
        await self.ledger.batch(ME, check(Batch, {"commands": list(commands)}))

    async def settled(self, reader: Reader, documents: int) -> None:
        """Wait until that many jobs and notifications have come."""
        await wait_until(lambda: len([n for n in reader.names if n in ("job", "notification")]) >= documents)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A hub that has started."""
    engine = open_engine(f"sqlite:///{tmp_path}/hub.db")
    made = World(engine)
    await made.hub.start()
    yield made
    await made.hub.stop()
    await made.ledger.close()
    await engine.close()


def revisions(events: Sequence[Event]) -> list[int]:
    """Of the documents in them."""
    return [e.json[e.name]["rev"] for e in events if e.name in ("job", "notification")]


# --- catching up and going live --------------------------------------------------------------------------------------


async def test_snapshot_then_live(world: World) -> None:
    """What is there comes first, ``live`` once, then what happens."""
    await world.job()
    reader = await world.live()
    assert reader.names == ["connected", "job", "inbox", "live"]
    await world.notify()
    await world.settled(reader, 2)
    assert reader.names[4:] == ["notification"]


async def test_an_unknown_job(world: World) -> None:
    """A job's stream of none, or of a foreign one, is refused before it begins, and leaves nothing behind."""
    await world.job("foreign", replace(ME, user="other"))
    for job in ("none", "foreign"):
        subscriber = Subscriber(ME, MILEPOST, only=frozenset({f"job:{job}"}), job=f"job:{job}")
        with pytest.raises(NotFound):
            await world.hub.open(subscriber)
        world.hub.close(subscriber)
    assert world.hub.stats.streams == 0
    assert not world.hub._tenants  # noqa: SLF001


async def test_between_the_read_and_the_first_byte(world: World) -> None:
    """What is committed between the first read and the beginning is not lost."""
    subscriber = Subscriber(ME, MILEPOST)
    await world.hub.open(subscriber)
    await world.notify(title="in between")
    await asyncio.sleep(0.05)  # the hub reads and finds nobody live
    reader = Reader()
    world.hub.begin(subscriber, reader)
    await world.settled(reader, 1)
    await wait_until(lambda: "live" in reader.names)
    assert reader.names.index("notification") < reader.names.index("live")


async def test_a_resume_of_several_pages(world: World) -> None:
    """A reader that missed several pages gets them in order while others are written, each document once."""
    first = await world.live()
    cursor = first.parser.last_event_id
    total = PAGE * 2 + 50
    for start in range(0, total, 200):
        commands = [{"verb": "notify", "user": "me", "title": str(n)} for n in range(start, min(start + 200, total))]
        await world.batch(*commands)
    reader = await world.open(requested=cursor)
    for number in range(total, total + 20):
        await world.notify(title=str(number))
    await world.settled(reader, total + 20)
    titles = [e.json["notification"]["title"] for e in reader.events if e.name == "notification"]
    assert titles == [str(n) for n in range(total + 20)]
    await world.settled(first, total + 20)
    assert revisions(first.events) == revisions(reader.events)


async def test_everyone_gets_the_same_bytes(world: World) -> None:
    """Each document is encoded once per dialect: its readers get the very same frame."""
    readers = [await world.live(replace(ME, user=user)) for user in ("a", "b")]
    await world.notify(None)
    for reader in readers:
        await world.settled(reader, 1)
    assert readers[0].events[-1] == readers[1].events[-1]


async def test_unread_is_each_readers_own(world: World) -> None:
    """The count beside a notification is its user's, exact at the cursor beside it."""
    readers = {user: await world.live(replace(ME, user=user)) for user in ("a", "b")}
    await world.notify("a")
    await world.batch({"verb": "notify", "user": "a", "title": "2"}, {"verb": "notify", "user": "b", "title": "1"})
    await world.settled(readers["a"], 2)
    await world.settled(readers["b"], 1)
    assert readers["a"].events[-1].json["unread"] == 2
    assert readers["b"].events[-1].json["unread"] == 1


# --- readers that do not read ----------------------------------------------------------------------------------------


async def test_a_full_reader_is_written_nothing(world: World) -> None:
    """After the write that fills it a reader gets not one byte more; when it has room it resumes without a gap."""
    other = await world.live()
    reader = await world.live(reader=Reader(room=4))
    for number in range(30):
        await world.notify(title=str(number))
    await world.settled(other, 30)
    assert reader.subscriber.state is State.LAGGING
    assert world.hub.stats.lagging == 1
    assert reader.over == 0
    while len(revisions(reader.events)) < 30:
        reader.room = 5
        world.hub.drained(reader.subscriber)
        await wait_until(lambda: reader.subscriber.state in (State.LAGGING, State.LIVE))
        assert reader.over == 0
    assert revisions(reader.events) == revisions(other.events)


async def test_full_at_the_last_document(world: World) -> None:
    """A reader that is filled by the very last document misses nothing that comes later."""
    reader = await world.live(reader=Reader(room=4))
    await world.notify()
    await wait_until(lambda: reader.subscriber.state is State.LAGGING)
    reader.room = None
    world.hub.drained(reader.subscriber)
    await world.notify()
    await world.settled(reader, 2)
    assert world.hub.stats.lagging == 0


async def test_filled_while_catching_up(world: World) -> None:
    """A reader that is filled in the middle of a page goes on behind the last document that it was written."""
    first = await world.live()
    for number in range(20):
        await world.notify(title=str(number))
    await world.settled(first, 20)
    cursor = next(event.id for event in first.events if event.name == "live")
    reader = await world.open(requested=cursor, reader=Reader(room=6))
    await wait_until(lambda: reader.subscriber.state is State.LAGGING)
    assert reader.over == 0
    reader.room = None
    world.hub.drained(reader.subscriber)
    await wait_until(lambda: "live" in reader.names)
    assert revisions(reader.events) == revisions(first.events)


async def test_a_lagging_reader_is_ended_too(world: World) -> None:
    """Age, expiry and drain end a reader that is full like any other."""
    reader = await world.live(reader=Reader(room=4))
    await world.notify()
    await wait_until(lambda: reader.subscriber.state is State.LAGGING)
    world.hub.end(reader.subscriber, "timeout")
    assert reader.ended
    assert (world.hub.stats.streams, world.hub.stats.lagging) == (0, 0)


# --- a job's own stream ----------------------------------------------------------------------------------------------


def of_job(job: str = "j") -> dict[str, Any]:
    """What makes a subscriber follow one job."""
    return {"only": frozenset({f"job:{job}"}), "job": f"job:{job}"}


async def test_ends_with_its_job(world: World) -> None:
    """A job's stream ends when its job does, and is gone from the books."""
    await world.job()
    reader = await world.live(**of_job())
    await world.ledger.end(ME, "j", Complete())
    await wait_until(lambda: reader.ended)
    assert reader.names[-2:] == ["job", "stream_end"]
    assert world.hub.stats.streams == 0
    assert not world.hub._tenants  # noqa: SLF001


async def test_the_last_reader_of_a_tenant_ends_within_the_fan_out(world: World) -> None:
    """The end of the tenant's last stream, in the middle of a fan-out, leaves the hub fit for the next one."""
    await world.job()
    reader = await world.live(**of_job())
    await world.ledger.end(ME, "j", Complete())
    await wait_until(lambda: reader.ended)
    again = await world.live()
    await world.notify()
    await world.settled(again, 2)


async def test_revoked(world: World) -> None:
    """A watcher who is taken off gets an end as ``revoked`` and nothing of the job; one who stays goes on."""
    await world.job(watchers=("w", "x"))
    readers = {user: await world.live(replace(ME, user=user), **of_job()) for user in ("w", "x")}
    again = {"verb": "start", "job": "j", "title": "secret", "watchers": ["x"]}
    await world.batch({"verb": "cancel", "job": "j"}, again)
    await wait_until(lambda: readers["w"].ended)
    assert readers["w"].events[-1].json["reason"] == "revoked"
    assert "secret" not in str(readers["w"].events)
    await world.settled(readers["x"], 2)
    assert readers["x"].events[-1].json["job"]["title"] == "secret"


async def test_seen_by_two_ways(world: World) -> None:
    """Who loses a job as a watcher but has a share token for it keeps it."""
    await world.job(watchers=("w",))
    guest = replace(ME, user="w", jobs=("j",))
    reader = await world.live(guest, **of_job())
    await world.batch({"verb": "cancel", "job": "j"}, {"verb": "start", "job": "j", "title": "again", "watchers": []})
    await world.settled(reader, 2)
    assert not reader.ended
    assert reader.events[-1].json["job"]["title"] == "again"


async def test_a_new_attempt_while_the_reader_lags(world: World) -> None:
    """A reader that missed an end and a new attempt behind it follows the new attempt."""
    await world.job()
    reader = await world.live(reader=Reader(room=4), **of_job())
    await world.batch({"verb": "advance", "job": "j", "by": 1})
    await wait_until(lambda: reader.subscriber.state is State.LAGGING)
    await world.ledger.end(ME, "j", Cancel())
    await world.job()
    reader.room = None
    world.hub.drained(reader.subscriber)
    await world.settled(reader, 3)
    assert not reader.ended
    assert reader.events[-1].json["job"]["attempt"] == 2


# --- cursors, epochs, hints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["malformed", "epoch", "ahead", "expired"])
async def test_reset(world: World, reason: str) -> None:
    """A cursor that cannot be resumed from: told why, then the snapshot, then live."""
    await world.job()
    await world.notify()
    (head,) = await world.engine.heads(["default"])
    if reason == "malformed":
        requested = "nonsense"
    elif reason == "epoch":
        requested = SEAL.encode("default", Cursor("0" * 12, 1))
    elif reason == "ahead":
        requested = SEAL.encode("default", replace(head, revision=99))
    else:
        requested = SEAL.encode("default", replace(head, revision=1))
        await world.engine.prune(now=world.wall() + 100 * 86400)
        await world.engine.prune(now=world.wall() + 102 * 86400)
    reader = await world.live(requested=requested)
    assert reader.names[:2] == ["connected", "reset"]
    assert reader.events[1].json == {"reason": reason}
    assert reader.names[-1] == "live"
    await world.notify()
    await wait_until(lambda: reader.names[-1] == "notification")


async def test_another_epoch_resets_all(world: World) -> None:
    """When the history is another one every open stream is told, gets the present, and goes on."""
    await world.job()
    readers = [await world.live(), await world.live(**of_job()), await world.live(only=frozenset({"job:j"}))]
    await world.engine.renew_epoch()
    await world.batch({"verb": "advance", "job": "j", "by": 1})
    for reader in readers:
        await wait_until(lambda reader=reader: "reset" in reader.names)  # type: ignore[misc]
        await wait_until(lambda reader=reader: reader.subscriber.state is State.LIVE)  # type: ignore[misc]
        assert reader.names.count("live") == 1
    await world.batch({"verb": "advance", "job": "j", "by": 1})
    for reader in readers:
        await wait_until(lambda reader=reader: reader.events[-1].json.get("job", {}).get("current") == 2)  # type: ignore[misc]
        after = reader.events[reader.names.index("reset") :]
        assert revisions(after) == sorted(set(revisions(after)))


async def test_an_engine_that_is_away(world: World) -> None:
    """While the engine is away streams stay open, and tell so in their heartbeats; afterwards nothing is missing."""
    reader = await world.live()
    world.engine.away = True
    await world.notify(title="unseen")
    await asyncio.sleep(0.05)
    world.pass_time(BEAT + 1)
    await wait_until(lambda: "heartbeat" in reader.names)
    assert reader.events[-1].json["degraded"] is True
    with pytest.raises(Unavailable):
        await world.open()
    world.engine.away = False
    await world.settled(reader, 1)
    world.pass_time(BEAT + 1)
    await wait_until(lambda: reader.names[-1] == "heartbeat")
    assert "degraded" not in reader.events[-1].json


async def test_an_engine_that_goes_while_one_catches_up(world: World) -> None:
    """A reader whose catching up is interrupted goes on with it when the engine is back."""
    reader = await world.live(reader=Reader(room=4))
    await world.notify()
    await wait_until(lambda: reader.subscriber.state is State.LAGGING)
    world.engine.away = True
    reader.room = None
    world.hub.drained(reader.subscriber)
    await world.notify()
    await asyncio.sleep(0.05)
    world.engine.away = False
    await world.settled(reader, 2)


async def test_a_dialect_that_fails(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A document that a dialect cannot tell is left out and logged; its other documents, and other readers, go on."""

    class Fragile(Dialect):
        name = "fragile"

        def document(self, document: Document, cursor: str) -> Frame | None:
            if document.kind == "job":
                raise KeyError(document.key)
            return MILEPOST.document(document, cursor)

    fragile = Fragile()
    await world.job("before")
    sound, reader = await world.live(), await world.live(dialect=fragile)
    with caplog.at_level(logging.CRITICAL):
        await world.job("after")
        await world.notify()
        await world.settled(reader, 1)
        await world.settled(sound, 3)
    assert reader.documents("notification") == sound.documents("notification")
    assert sound.documents("job") == ["before", "after"]


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
    before = world.engine.reads
    world.pass_time(BEAT)
    await asyncio.sleep(0.6)
    assert world.engine.reads - before == 0


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
    assert not hub._subscribers  # noqa: SLF001
