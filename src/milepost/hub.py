"""The hub: who listens, what they have seen, fan-out, catch-up, heartbeat, expiry. One per process.

There is no separate live path. Per tenant the hub keeps ONE position, the revision up to which it has read; told that a
tenant grew it reads on from there and writes each document, encoded once per dialect, to whoever may see it. A
subscriber is catching up, live, or lagging; while it is not live nothing is written to it or queued for it, only its
``missed`` flag is set, and it reads from its own cursor until a read finds no more and nothing was missed.

Rules that an executable model of this design showed to be necessary (design section 5):
 1 what a connection is sent rises strictly in revision;
 2 the position is set before the first listener's own read, and moves only when a fan-out is complete;
 3 ``missed`` is cleared when the read gets its turn, before the read;
 4 only live subscribers are told the hub's position (in heartbeats);
 5 another epoch, or a reset of the hub's own read, makes every subscriber catch up from its own cursor;
 6 authorisation is decided at delivery.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from milepost import unread, wire
from milepost.delivery import Delivery, HubStats
from milepost.engine import Document, Engine, Page
from milepost.errors import NotFound, Unavailable
from milepost.model import Cursor
from milepost.pulse import SLICE_SECONDS, Pulse
from milepost.subscriber import Sink, State, Subscriber, Tenant, Waiter
from milepost.unread import Unread
from milepost.wheel import TICK

log = logging.getLogger("milepost.hub")

READS_AT_ONCE: Final = 8  # catch-up reads in flight: a storm must not starve the live readers
PAGE: Final = 64  # documents of a catch-up that are read at once: those that its sink has no room for are read again
TENANT_PAGE: Final = 256
ALL: Final = 10_000  # more than a stream can be narrowed to
BACKSTOP_SECONDS: Final = 5.0
AWAY_SECONDS: Final = (0.1, 2.0)  # first and last pause between tries while the engine is away


class Hub:
    """Fans one engine out to this process's streams and long polls. Use within one event loop."""

    def __init__(
        self,
        engine: Engine,
        seal: wire.CursorSeal,
        *,
        heartbeat_seconds: float = 15.0,
        max_stream_seconds: float = 600.0,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.seal = seal
        self.stats = HubStats()
        self.delivery = Delivery(seal, self.stats, ended=self._ended, left=self._look_again)
        self._now = now
        self._monotonic = monotonic
        self._tenants: dict[str, Tenant] = {}
        self._pulse = Pulse(
            self.delivery,
            seal,
            self._tenants,
            heartbeat_seconds=heartbeat_seconds,
            max_stream_seconds=max_stream_seconds,
            now=now,
            monotonic=monotonic,
            end=lambda subscriber, reason, retry_ms: self.end(subscriber, reason, retry_ms=retry_ms),
        )
        self._turns = asyncio.Semaphore(READS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to listen for hints and to turn the wheel."""
        for job in (self._listen(), self._pulse.run(), self._backstop()):
            self._spawn(job)

    async def stop(self) -> None:
        """Drop everything at once; see ``drain`` for the polite way."""
        self._draining = True
        for subscriber in self._begun():
            self.end(subscriber, "shutdown")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def drain(self, seconds: float) -> None:
        """End every stream, spread over ``seconds``, each told a time of its own to come back."""
        self._draining = True
        waiting = self._begun()
        random.shuffle(waiting)
        pause = seconds / len(waiting) if waiting else 0.0
        for tenant in self._tenants.values():
            for listener in list(tenant.listeners):
                if isinstance(listener, Waiter):
                    listener.miss()
        owed = 0.0
        for subscriber in waiting:
            self.end(subscriber, "shutdown", retry_ms=random.randint(500, 3000))
            owed += pause
            if owed >= TICK:
                await asyncio.sleep(owed)
                owed = 0.0

    def _begun(self) -> list[Subscriber]:
        everyone = (listener for tenant in self._tenants.values() for listener in tenant.listeners)
        return [listener for listener in everyone if isinstance(listener, Subscriber) and listener.sink is not None]

    # --- subscribers --------------------------------------------------------------------------------------------

    async def open(self, subscriber: Subscriber) -> None:
        """Register a subscriber and make its first read, before its response has begun.

        Raises NotFound where it follows one job that it cannot see, Unavailable where the engine is away. Whoever
        calls this calls ``close`` in the end, whatever happens.
        """
        await self._enter(subscriber)
        # a narrowed stream begins with the state of its jobs, whatever the cursor: that is checked, not used
        sent = subscriber.cursor
        if subscriber.only is not None:
            subscriber.cursor = None
        async with self._turns:
            subscriber.missed = False
            page = await self._read(subscriber)
            if subscriber.job is not None and not page.documents:
                raise NotFound("There is no such job.")
            if sent is not None and subscriber.only is not None:
                page = await self._with_gone(subscriber, page, sent)
            subscriber.first = page, await self._inbox_of(subscriber, page)

    def begin(self, subscriber: Subscriber, sink: Sink) -> None:
        """Write the first read to the opened stream, in one piece, and go on from there."""
        first, subscriber.first = subscriber.first, None
        assert first is not None, "open() comes before begin()"
        subscriber.sink = sink
        self.stats.streams += 1
        self._pulse.begin(subscriber)
        if self._draining:  # it was opened before
            self.end(subscriber, "shutdown", retry_ms=random.randint(500, 3000))
            return
        page, counted = first
        connected = subscriber.dialect.connected(
            subscriber.reader(self.stats.of_user),
            now=self._now(),
            cursor=None if page.reset or subscriber.reset else subscriber.requested,
            heartbeat_seconds=self._pulse.beat(subscriber),
        )
        subscriber.requested = None  # told; thousands of idle streams need it no longer
        self.stats.sent["connected"] += 1
        if self._tell(subscriber, page, counted, connected):
            self._spawn(self._catch_up(subscriber))

    def drained(self, subscriber: Subscriber) -> None:
        """The sink of a lagging subscriber has room again: it asks the engine what it has missed."""
        if subscriber.state is State.LAGGING:
            self.stats.lagging -= 1
            subscriber.state = State.CATCHING_UP
            self._spawn(self._catch_up(subscriber))

    def close(self, subscriber: Subscriber) -> None:
        """Forget a subscriber whose connection is gone. Idempotent."""
        if subscriber.state is State.CLOSED:
            return
        if subscriber.state is State.LAGGING:
            self.stats.lagging -= 1
        subscriber.state = State.CLOSED
        self._leave(subscriber)
        if subscriber.sink is not None:
            self.stats.streams -= 1
            self.stats.on_close(self._pulse.age(subscriber))

    def end(self, subscriber: Subscriber, reason: str, *, retry_ms: int = 1000) -> None:
        """Tell a subscriber why its stream ends, and end it."""
        if subscriber.state is State.CLOSED or subscriber.sink is None:
            self.close(subscriber)
            return
        self.delivery.last(subscriber, reason, retry_ms, self._now())
        sink = subscriber.sink
        self.close(subscriber)
        sink.end()

    async def wait(
        self, tenant: str, topics: Iterable[str], read: Callable[[], Awaitable[Page]], seconds: float
    ) -> Page:
        """A long poll: what ``read`` finds as soon as it finds something, or its empty page after ``seconds``."""
        waiter = Waiter(tuple(topics))
        await self._enter(waiter, tenant)
        try:
            deadline = self._monotonic() + seconds
            while True:
                waiter.event.clear()
                page = await read()
                left = deadline - self._monotonic()
                if page.documents or page.reset is not None or left <= 0 or self._draining:
                    return page
                try:
                    await asyncio.wait_for(waiter.event.wait(), left)
                except TimeoutError:
                    return await read()  # a hint may have got lost, and the cursor moves with the tenant
        finally:
            self._leave(waiter, tenant)

    # --- topics -------------------------------------------------------------------------------------------------

    async def _enter(self, listener: Subscriber | Waiter, tenant_name: str = "") -> None:
        name = tenant_name or listener.identity.tenant  # type: ignore[union-attr]
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = Tenant(name)
        tenant.listeners[listener] = None  # keeps the tenant while the head is being read
        if tenant.position is None:
            try:
                async with tenant.ready:
                    if tenant.position is None:  # whoever waited for the first one finds it read
                        tenant.position = (await self.engine.heads([name]))[0]
            except BaseException:
                self._leave(listener, name)
                raise
        if tenant.task is None:
            tenant.task = self._spawn(self._follow(tenant))
        for topic in listener.topics:
            tenant.topics.add(topic, listener)

    def _leave(self, listener: Subscriber | Waiter, tenant_name: str = "") -> None:
        name = tenant_name or listener.identity.tenant  # type: ignore[union-attr]
        tenant = self._tenants.get(name)
        if tenant is None:
            return
        for topic in listener.topics:
            tenant.topics.discard(topic, listener)
        tenant.listeners.pop(listener, None)
        if not tenant.listeners:
            del self._tenants[name]
            if tenant.task is not None:
                tenant.task.cancel()

    # --- catching up --------------------------------------------------------------------------------------------

    async def _read(self, subscriber: Subscriber) -> Page:
        """What this subscriber has not seen; of a job stream always its job's state, seen or not."""
        self.stats.reads += 1
        after = subscriber.cursor
        audiences = None if subscriber.audiences is None else tuple(subscriber.audiences)
        keys = None if subscriber.only is None else tuple(subscriber.only)
        since = after if subscriber.job is None else None
        page = await self.engine.changes(
            subscriber.identity.tenant, audiences, since, now=self._now(), limit=PAGE, recent=unread.SHOWN, keys=keys
        )
        if since is not after and after is not None and after.epoch != page.cursor.epoch:
            return page._replace(reset="epoch")
        return page

    async def _with_gone(self, subscriber: Subscriber, page: Page, sent: Cursor) -> Page:
        """A narrowed stream's first page, and what went since the cursor that its client sent: it may still hold it."""
        audiences = None if subscriber.audiences is None else tuple(subscriber.audiences)
        keys = tuple(subscriber.only or ())
        since = await self.engine.changes(
            subscriber.identity.tenant, audiences, sent, now=self._now(), limit=ALL, keys=keys
        )
        if since.reset is not None:
            return page._replace(reset=since.reset)
        gone = [d for d in since.documents if d.gone and d.revision <= page.cursor.revision]  # later ones come later
        return page._replace(documents=page.documents + gone)

    async def _catch_up(self, subscriber: Subscriber) -> None:
        """Read and write until there is no more and nothing was missed meanwhile."""
        pause = AWAY_SECONDS[0]
        while subscriber.state is State.CATCHING_UP:
            try:
                async with self._turns:
                    subscriber.missed = False
                    page = await self._read(subscriber)
                    counted = await self._inbox_of(subscriber, page)
            except Unavailable:
                await asyncio.sleep(pause * random.uniform(0.7, 1.0))
                pause = min(pause * 2, AWAY_SECONDS[1])
                continue
            if not self._tell(subscriber, page, counted):
                return
            if not page.more:  # it missed something, or the hub has not met the new epoch yet
                await asyncio.sleep(TICK / 10)

    def _tell(self, subscriber: Subscriber, page: Page, counted: Unread | None, before: bytes = b"") -> bool:
        """Write a page, and go live in the same step where nothing was missed; whether there is more to read."""
        if subscriber.state is not State.CATCHING_UP:  # it left while the page was read
            return False
        if subscriber.job is not None and not page.documents:
            self.end(subscriber, "revoked")
            return False
        tenant = self._tenants[subscriber.identity.tenant]
        epoch_met = tenant.position is not None and tenant.position.epoch == page.cursor.epoch
        if not epoch_met:
            tenant.grew.set()  # the hub's own read comes first
        live = b""
        if epoch_met and not page.more and not subscriber.announced:
            live = subscriber.dialect.live(self.seal.encode(tenant.name, page.cursor))
        room = self.delivery.page(subscriber, page, counted, before, live)
        if subscriber.state is not State.CATCHING_UP:
            return False
        done = epoch_met and not page.more and not subscriber.missed
        if done and subscriber.cursor == page.cursor:
            self.stats.sent["live"] += bool(live)
            subscriber.announced = True
            if page.cursor == tenant.position:
                subscriber.cursor = tenant.position  # one object for all who wait for what comes next
        if not room:
            self.delivery.lags(subscriber)
        elif done:
            subscriber.state = State.LIVE
        return room and not done

    async def _inbox_of(self, subscriber: Subscriber, page: Page) -> Unread | None:
        if subscriber.only is not None:
            return None
        identity, whole = subscriber.identity, subscriber.cursor is None or page.reset is not None
        return await unread.of_page(self.engine, self.seal, identity.tenant, identity.user, page, whole=whole)

    def _ended(self, subscriber: Subscriber, reason: str) -> None:
        self.end(subscriber, reason, retry_ms=5000)

    def _look_again(self, subscriber: Subscriber) -> None:
        """The job of a job stream left an audience: whether it is still seen through another, only a read can tell."""
        if subscriber.state is State.LIVE:
            subscriber.state = State.CATCHING_UP
            self._spawn(self._catch_up(subscriber))
        else:
            subscriber.missed = True

    # --- following the engine -----------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Turn hints into wake-ups. A lost hint costs latency only: the backstop looks every few seconds."""
        while True:
            try:
                async with self.engine.hints() as hints:
                    async for name in hints:
                        for tenant in list(self._tenants.values()) if name is None else [self._tenants.get(name)]:
                            if tenant is not None:
                                tenant.grew.set()
            except Unavailable:
                log.warning("the engine's hints are away")
            await asyncio.sleep(AWAY_SECONDS[1])

    async def _backstop(self) -> None:
        """Compare heads every few seconds and count what no hint told of."""
        while True:
            await asyncio.sleep(BACKSTOP_SECONDS * random.uniform(0.8, 1.0))
            names = list(self._tenants)
            try:
                heads = await self.engine.heads(names)
            except Unavailable:
                continue
            for name, head in zip(names, heads, strict=True):
                tenant = self._tenants.get(name)
                if tenant is not None and tenant.position not in (None, head) and not tenant.grew.is_set():
                    self.stats.backstop_found += not tenant.degraded
                    tenant.grew.set()

    async def _follow(self, tenant: Tenant) -> None:
        """Read the tenant on from the hub's position whenever it grew, and fan out."""
        pause = AWAY_SECONDS[0]
        while True:
            await tenant.grew.wait()
            tenant.grew.clear()
            try:
                while await self._advance(tenant):
                    pass
            except Exception as error:  # a bug must not leave a tenant's readers without news for ever
                if not isinstance(error, Unavailable):
                    log.exception("following a tenant failed")
                tenant.degraded = True
                tenant.grew.set()
                await asyncio.sleep(pause * random.uniform(0.7, 1.0))
                pause = min(pause * 2, AWAY_SECONDS[1])
                continue
            tenant.degraded, pause = False, AWAY_SECONDS[0]

    async def _advance(self, tenant: Tenant) -> bool:
        """One page of the whole tenant, in one snapshot, to everyone; whether there is more."""
        position = tenant.position
        assert position is not None, "set before the first listener"
        self.stats.reads += 1
        page = await self.engine.changes(tenant.name, None, position, now=self._now(), limit=TENANT_PAGE)
        if page.reset is not None or page.cursor.epoch != position.epoch:
            tenant.position = page.cursor
            self._start_over(tenant)
            return False
        users = [user for document in page.documents for user in self._listening_users(tenant, document)]
        counts = await unread.of_users(self.engine, self.seal, tenant.name, list(dict.fromkeys(users)))
        began = self._monotonic()
        for document in page.documents:
            self.delivery.fan_out(tenant.topics, tenant.name, position.epoch, document, counts)
            if self._monotonic() - began > SLICE_SECONDS:
                await asyncio.sleep(0)
                began = self._monotonic()
        tenant.position = page.cursor
        return page.more

    @staticmethod
    def _listening_users(tenant: Tenant, document: Document) -> list[str]:
        """Whose unread count this document changes, among those who listen; a broadcast's readers ask for it."""
        if document.kind == "job":
            return []
        return [a[5:] for a in document.audiences if a.startswith("user:") and a in tenant.topics]

    def _start_over(self, tenant: Tenant) -> None:
        """Another epoch: everyone catches up from their own cursor, and so is told of the reset."""
        for listener in list(tenant.listeners):
            listener.miss()
            if isinstance(listener, Subscriber) and listener.state is State.LIVE:
                listener.state = State.CATCHING_UP
                self._spawn(self._catch_up(listener))

    def _spawn(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the hub failed", exc_info=task.exception())
