"""Listening: what a reader gets through lost, mute and refused connections."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from milepost import AsyncMilepost, Invalid, Milepost, NotFound, Unavailable
from milepost.client.consumer import Consumer, Event
from milepost.errors import Unauthenticated
from tests.client.hub import Hub
from tests.client.relay import Mode, Relay


@pytest.fixture
def job_id() -> str:
    """An id that no other test uses."""
    return f"job-{secrets.token_hex(4)}"


@pytest.fixture
def user() -> str:
    """A user whom no other test tells anything."""
    return f"u-{secrets.token_hex(4)}"


@pytest.fixture
async def live(hub: Hub) -> AsyncIterator[AsyncMilepost]:
    """Somebody who reports, straight to the server."""
    async with AsyncMilepost(hub.url, token=hub.token("worker", "produce:any")) as made:
        yield made


def of(job_id: str) -> Callable[[Event], bool]:
    """Whether an event is a state of this job."""
    return lambda event: event.event == "job" and event.data["job"]["id"] == job_id


async def until(events: AsyncGenerator[Event, None], found: Callable[[Event], object], *, seconds: float = 20) -> Event:
    """The next event for which this is true."""
    async with asyncio.timeout(seconds):
        async for event in events:
            if found(event):
                return event
    raise AssertionError("the stream ended before")


async def titled(events: AsyncGenerator[Event, None], title: str) -> Event:
    """The notification with this title."""
    return await until(events, lambda e: e.event == "notification" and e.data["notification"]["title"] == title)


async def test_a_job_from_start_to_end(hub: Hub, live: AsyncMilepost, job_id: str, user: str) -> None:
    """The state at once, each change, and an end of its own after the job's; documents carry the cursor."""
    async with (
        Consumer(hub.url, token=hub.token(user)) as consumer,
        live.job(job_id, title="Set", owner=user, total=2) as job,
        aclosing(consumer.follow(job_id)) as events,
    ):
        first = await anext(events)
        assert (first.event, first.cursor) == ("connected", None)
        assert first.data["heartbeat_seconds"] == 15
        await until(events, of(job_id))
        await job.advance(message="half")
        seen = await until(events, lambda e: of(job_id)(e) and e.data["job"]["message"] == "half")
        assert seen.data["job"]["percent"] == 50.0
        assert seen.cursor
        await job.complete(output_url="/x.zip")
        rest = [event async for event in events]
    assert rest[-1].event == "stream_end"
    assert rest[-1].data["reason"] == "completed"
    assert rest[-2].data["job"]["output_url"] == "/x.zip"


async def test_a_job_that_has_ended(hub: Hub, live: AsyncMilepost, job_id: str, user: str) -> None:
    """Who comes late is told how it ended, and no more."""
    with pytest.raises(ValueError, match="no"):
        async with live.job(job_id, title="Set", owner=user):
            raise ValueError("no")
    async with Consumer(hub.url, token=hub.token(user)) as consumer:
        events = [event async for event in consumer.follow(job_id)]
    assert [event.event for event in events if event.event != "live"] == ["connected", "job", "stream_end"]
    assert events[-1].data["reason"] == "failed"


async def test_a_job_that_does_not_exist_yet(hub: Hub, live: AsyncMilepost, job_id: str, user: str) -> None:
    """It is waited for; what never comes is ``NotFound`` in the end."""
    async with Consumer(hub.url, token=hub.token(user)) as consumer, aclosing(consumer.follow(job_id)) as events:
        waiting = asyncio.create_task(until(events, of(job_id)))
        _, pending = await asyncio.wait({waiting}, timeout=0.5)
        assert pending
        await live.start_job(job_id, title="Set", owner=user)
        assert (await waiting).data["job"]["state"] == "queued"
    async with Consumer(hub.url, token=hub.token(user), patience=1) as consumer:
        with pytest.raises(NotFound):
            await anext(consumer.follow(f"{job_id}-never"))


async def test_nothing_is_missed_through_cuts(hub: Hub, relay: Relay, live: AsyncMilepost, user: str) -> None:
    """Connections that are cut again and again: every notification arrives, each once."""
    told: list[str] = []

    async def listen() -> None:
        async with (
            Consumer(relay.url, token=hub.token(user)) as consumer,
            aclosing(consumer.open("/stream", steps=(0.05,))) as events,
        ):
            async for event in events:
                if event.event == "notification" and event.data["notification"]["user"] == user:
                    told.append(event.data["notification"]["title"])
                    if told[-1] == "last":
                        return

    listening = asyncio.create_task(listen())
    for n in range(60):
        await live.notify(user, title=f"{n}")
        if n % 6 == 5:
            relay.cut()
    await live.notify(user, title="last")
    await asyncio.wait_for(listening, 30)
    assert told == [*(str(n) for n in range(60)), "last"]


async def test_a_server_that_comes_back(own_hub: Hub, user: str) -> None:
    """``kill -9`` of the server: the reader resumes behind what it saw, without being told the old again."""
    async with (
        AsyncMilepost(own_hub.url, token=own_hub.token("worker", "produce:any")) as live,
        Consumer(own_hub.url, token=own_hub.token(user)) as consumer,
        aclosing(consumer.stream()) as events,
    ):
        await live.notify(user, title="before")
        await titled(events, "before")
        await until(events, lambda e: e.event == "live")
        await asyncio.to_thread(own_hub.stop, signal.SIGKILL)
        await asyncio.to_thread(own_hub.start)
        await live.notify(user, title="after")
        again = await until(events, lambda e: e.event == "connected")
        assert again.data["cursor"]
        new = await until(events, lambda e: e.event == "notification")
        assert new.data["notification"]["title"] == "after"


async def test_a_server_that_drains(own_hub: Hub, user: str) -> None:
    """A server that is stopped says so and when to come back; the reader does, and goes on."""
    async with (
        Consumer(own_hub.url, token=own_hub.token(user)) as consumer,
        aclosing(consumer.stream()) as events,
    ):
        await until(events, lambda e: e.event == "live")
        stopping = asyncio.create_task(asyncio.to_thread(own_hub.stop))
        ended = await until(events, lambda e: e.event == "stream_end")
        assert ended.data["reason"] == "shutdown"
        assert await stopping == 0
        await asyncio.to_thread(own_hub.start)
        await until(events, lambda e: e.event == "live")


async def test_silence_is_noticed(tmp_path: Path, user: str) -> None:
    """A connection that stays open and says nothing is given up after two heartbeats and 5 seconds."""
    hub = Hub(tmp_path, "--heartbeat-seconds", "0.5")
    hub.start()
    relay = Freezing(hub.port)
    try:
        async with (
            Consumer(relay.url, token=hub.token(user)) as consumer,
            aclosing(consumer.stream()) as events,
        ):
            await until(events, lambda e: e.event == "heartbeat")
            relay.frozen = True
            began = time.monotonic()
            await until(events, lambda e: e.event == "connected")
            assert 5 < time.monotonic() - began < 12
    finally:
        relay.close()
        hub.close()


class Freezing(Relay):
    """A relay that can make the connections that are open silent, without closing them; new ones pass."""

    frozen = False

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False, lose: bool = False
    ) -> None:
        new = self.frozen
        while data := await reader.read(65536):
            if new or not self.frozen:
                writer.write(data)


async def test_a_token_that_expires_in_the_middle(hub: Hub, live: AsyncMilepost, user: str) -> None:
    """The stream ends with the token; the function is asked for another one, and nothing is missed."""
    given: list[str] = []

    def give() -> str:
        given.append(hub.token(user, ttl=2 if not given else 3600))
        return given[-1]

    async with Consumer(hub.url, token=give) as consumer, aclosing(consumer.stream()) as events:
        await until(events, lambda e: e.event == "live")
        ended = await until(events, lambda e: e.event == "stream_end")
        assert ended.data["reason"] == "token_expired"
        await live.notify(user, title="meanwhile")
        await titled(events, "meanwhile")
    assert len(given) == 2


async def test_a_token_that_cannot_be_renewed(hub: Hub, user: str) -> None:
    """Without another token the expired one ends the iteration with an error; so does one that never counted."""
    async with Consumer(hub.url, token=hub.token(user, ttl=1)) as consumer:
        with pytest.raises(Unauthenticated) as caught:
            [event async for event in consumer.stream()]
    assert caught.value.code == "token_expired"
    async with Consumer(hub.url, token="nonsense") as consumer:
        with pytest.raises(Unauthenticated):
            await anext(consumer.stream())


async def test_patience_ends(relay: Relay, hub: Hub, user: str) -> None:
    """Without a way to the server it raises when its patience is over; a page that is no stream is no way."""
    modes: list[Mode] = ["refuse", "503", "hello"]
    for mode in modes:
        relay.turn(mode)
        async with Consumer(relay.url, token=hub.token(user), patience=0.5) as consumer:
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await anext(consumer.stream())
            assert time.monotonic() - began < 6


async def test_a_cursor_resumes_in_another_process(hub: Hub, live: AsyncMilepost, user: str) -> None:
    """The cursor of an event, kept, is where a later reader goes on; one that we did not make is a reset."""
    async with Consumer(hub.url, token=hub.token(user)) as consumer:
        async with aclosing(consumer.stream()) as events:
            await live.notify(user, title="one")
            kept = (await titled(events, "one")).cursor
        await live.notify(user, title="two")
        async with aclosing(consumer.stream(after=kept)) as events:
            assert (await anext(events)).data["cursor"] == kept
            new = await until(events, lambda e: e.event == "notification")
            assert new.data["notification"]["title"] == "two"
        async with aclosing(consumer.stream(after="no.such.cursor")) as events:
            reset = await until(events, lambda e: e.event == "reset")
            assert reset.data["reason"] == "malformed"
            assert reset.cursor is None
            await titled(events, "one")


async def test_only_some_jobs(hub: Hub, live: AsyncMilepost, job_id: str, user: str) -> None:
    """A stream of some jobs has these and nothing else."""
    await live.start_job(f"{job_id}-a", title="a", owner=user)
    await live.start_job(f"{job_id}-b", title="b", owner=user)
    await live.notify(user, title="not here")
    async with (
        Consumer(hub.url, token=hub.token(user)) as consumer,
        aclosing(consumer.stream(jobs=[f"{job_id}-b"])) as events,
    ):
        seen = []
        async for event in events:
            seen.append(event)
            if event.event == "live":
                break
    assert [e.data["job"]["id"] for e in seen if e.event == "job"] == [f"{job_id}-b"]
    assert not [e for e in seen if e.event == "notification"]


def test_without_await(hub: Hub, job_id: str) -> None:
    """``follow`` and ``stream`` are plain iterators on ``Milepost``; leaving one lets go of its connection."""
    with Milepost(hub.url, token=hub.token("u7", "consume produce")) as mp:
        mp.start_job(job_id, title="Set")
        states = []
        for event in mp.follow(job_id):
            if event.event == "job":
                states.append(event.data["job"]["state"])
            if event.event == "live":
                mp.cancel(job_id)
        assert states == ["queued", "cancelled"]
        for event in mp.stream():
            if event.event == "live":
                break


async def test_an_engine_has_no_streams(tmp_path: Path) -> None:
    """Following needs a server, and says so."""
    live = AsyncMilepost(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(Invalid, match="only a server has streams"):
        await anext(live.follow("x"))


async def test_another_dialect_ends_too(hub: Hub, live: AsyncMilepost, job_id: str, user: str) -> None:
    """A dialect without ``stream_end`` ends with its own last word, when the stream closes behind it."""
    async with live.job(job_id, title="Set", owner=user, total=1) as job:
        await job.advance()
    async with Consumer(hub.url, token=hub.token(user)) as consumer:
        events = [e async for e in consumer.open(f"/jobs/{job_id}/stream", dialect="document")]
    assert events[-1].event == "complete"
    assert events[-1].data["jobId"] == job_id
