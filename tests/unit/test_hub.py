"""The hub over a real engine: catching up, going live, lagging, time, and what is left of those who went."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from milepost.commands import Cancel, Complete
from milepost.dialects import MILEPOST, Dialect, Frame
from milepost.engine import Document
from milepost.errors import NotFound, Unavailable
from milepost.hub import PAGE
from milepost.model import Cursor
from milepost.subscriber import State, Subscriber
from milepost.testing import wait_until
from tests.unit.readers import Reader
from tests.unit.world import BEAT, ME, SEAL, World, of_job, revisions

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


async def test_one_of_several_left_while_away(world: World) -> None:
    """A stream narrowed to jobs begins with their state, and with the end of one that its client may still hold."""
    for job in ("j", "k"):
        await world.job(job, watchers=("w",))
    user, several = replace(ME, user="w"), frozenset({"job:j", "job:k"})
    before = await world.live(user, only=several)
    world.hub.close(before.subscriber)
    await world.batch({"verb": "cancel", "job": "j"}, {"verb": "start", "job": "j", "title": "secret", "watchers": []})
    after = await world.live(user, only=several, requested=before.events[-1].id)
    told = {event.json["job"]["id"]: event.json["job"].get("gone", False) for event in after.events[1:-1]}
    assert told == {"j": True, "k": False}
    assert "secret" not in str(after.events)


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
        requested = SEAL.encode("default", head._replace(revision=99))
    else:
        requested = SEAL.encode("default", head._replace(revision=1))
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
