"""Producers and readers on a store that fails, and what each of them was told, for the checker to judge."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from milepost import inbox, jobs
from milepost.commands import Advance, Complete, Fail, Notify, StartJob
from milepost.dialects import MILEPOST
from milepost.engine import Document, Engine, Question
from milepost.engines import open_engine
from milepost.errors import Conflict, NotFound, Unavailable
from milepost.hub import Hub
from milepost.idempotency import Once
from milepost.ledger import Ledger
from milepost.model import Cursor, Identity
from milepost.subscriber import State, Subscriber
from milepost.testing import wait_until
from milepost.testing.documents import NOW, start, write
from milepost.wire import CursorSeal
from tests.faults.checker import Account, Record, Seen, faults, seen
from tests.server.sse_client import Parser

T = TypeVar("T")

BOUND: Final = 2.0  # seconds within which every call ends
RECOVERED: Final = 5.0  # and within which everything works again once the store does
PATIENCE: Final = 30.0  # for traffic, of which the process has so much that seconds say nothing of the engine
FOR_EVER: Final = float("inf")

TENANT: Final = "t"
PLAIN: Final = "user:plain"  # whom no stream belongs to: what only the engine knows is not for people
USERS: Final = ("a", "b")
SEAL: Final = CursorSeal(b"k" * 32)


def dice() -> random.Random:
    """What decides on the moments of faults; its seed is printed."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


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
        "ahead": lambda: engine.changes("t", ["user:a"], Cursor(epoch, 99), now=NOW),
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
    """Producers, each on an engine of its own, and readers on another, for as long as ``running`` lasts.

    A producer commits plain documents, which it never repeats, and leads jobs and notifies through the ledger, which it
    repeats under their idempotency keys until it is answered. Readers: one that follows hints and cursor as a hub does,
    and for each user a person on a real hub, who goes and comes back with the last id that they were sent.

    ``forgets``: the store will be made to forget what it acknowledged. ``patience``: for how long to wait, when all is
    over, until every reader holds everything. ``rest``: the pause of a producer after each document. ``seed`` decides
    when people go.
    """

    def __init__(
        self,
        writers: Sequence[Engine],
        reader: Engine,
        *,
        forgets: bool = False,
        patience: float = PATIENCE,
        rest: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self.writers = writers
        self.reader = reader
        self.in_doubt: set[str] = set()
        self.codes: set[str] = set()
        self.faults: list[str] = []
        self._forgets = forgets
        self._patience = patience
        self._rest = rest
        self._chance = random.Random(seed)
        self._accounts = [Account() for _ in writers]
        self._record = Record("the follower")
        self._people = [Record(f"user {user}", frozenset({f"user:{user}"})) for user in USERS]
        self._subscribers: dict[str, Subscriber] = {}
        self._producing: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._stay = asyncio.Event()
        self._go_on = asyncio.Event()
        self._go_on.set()
        self._resting = 0

    @property
    def resets(self) -> int:
        """How often the follower had to begin anew."""
        return self._record.resets

    @property
    def reached(self) -> int:
        """The revision that the follower was shown last."""
        return max((it.revision for it in self._record.since_reset[-1:]), default=0)

    @property
    def acknowledged(self) -> int:
        """How many documents the producers were told are stored."""
        return sum(len(account.acknowledged) for account in self._accounts)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Traffic, while the block lasts; then the readers get their time, and the checker its say."""
        cursor = await start(self.reader)
        hub = Hub(self.reader, SEAL)
        await hub.start()
        self._producing = [asyncio.create_task(self._produce(n, engine)) for n, engine in enumerate(self.writers)]
        reading = [asyncio.create_task(self._follow(cursor))]
        reading += [
            asyncio.create_task(self._person(hub, Identity(user, tenant=TENANT), record))
            for user, record in zip(USERS, self._people, strict=True)
        ]
        try:
            yield
            self._stay.set()
            await self.production_ended()
            await self._judge(reading)
        finally:
            for task in (*self._producing, *reading):
                task.cancel()
            await asyncio.gather(*self._producing, *reading, return_exceptions=True)
            await hub.stop()

    async def got_through(self, documents: int = 1) -> None:
        """Wait until each producer was acknowledged so many new documents."""
        wanted = [len(account.acknowledged) + documents for account in self._accounts]
        await wait_until(
            lambda: all(len(a.acknowledged) >= w for a, w in zip(self._accounts, wanted, strict=True)),
            seconds=PATIENCE,
        )

    async def people_stay(self) -> None:
        """From now on nobody goes; wait until everybody's stream is live."""
        self._stay.set()
        await wait_until(
            lambda: [each.state for each in self._subscribers.values()] == [State.LIVE] * len(USERS), seconds=PATIENCE
        )

    async def pause(self) -> None:
        """Have the producers rest when their jobs have ended; wait until the readers hold everything."""
        self._go_on.clear()
        await wait_until(lambda: self._resting == len(self.writers), seconds=PATIENCE)
        await wait_until(self._all_is_well, seconds=PATIENCE)

    def go_on(self) -> None:
        """End the rest."""
        self._go_on.set()

    async def production_ended(self) -> None:
        """Have the producers finish what they have begun."""
        self._stop.set()
        await asyncio.gather(*self._producing)

    async def was_reset(self, times: int) -> None:
        """Wait until the follower has been told so often that the history is another one."""
        await wait_until(lambda: self.resets >= times, seconds=PATIENCE)

    def check(self) -> None:
        """Nothing was promised that is not so."""
        assert self.faults == []
        assert self.codes <= {"engine_away"}
        assert self.acknowledged

    async def _judge(self, reading: Sequence[asyncio.Task[None]]) -> None:
        """Look until all is well, or until the readers have had their time."""
        until = time.monotonic() + self._patience
        while True:
            for task in reading:
                if task.done():
                    task.result()
            if await self._all_is_well() or time.monotonic() > until:
                return
            await asyncio.sleep(0.1)

    async def _all_is_well(self) -> bool:
        try:
            stored = await self._stored()
        except Unavailable:  # right after a restart
            return False
        self.faults = faults(self._accounts, [self._record, *self._people], stored, forgets=self._forgets)
        return not self.faults

    async def _stored(self) -> list[Seen]:
        cursor, found, more = Cursor((await start(self.reader)).epoch, 0), list[Seen](), True
        while more:
            page = await self.reader.changes(TENANT, None, cursor, now=NOW)
            assert page.reset is None
            found += filter(None, map(_seen, page.documents))
            cursor, more = page.cursor, page.more
        return found

    # --- producers ----------------------------------------------------------------------------------------------

    async def _produce(self, number: int, engine: Engine) -> None:
        account = self._accounts[number]
        identity = Identity(f"producer-{number}", tenant=TENANT, scopes=frozenset({"produce"}))
        ledger = Ledger(engine)
        count = 0
        while not self._stop.is_set():
            self._resting += 1
            await self._go_on.wait()
            self._resting -= 1
            count += 1
            for n in range(4):
                await self._plain(engine, account, f"{number}-{count}-{n}")
            with contextlib.suppress(NotFound):  # only a store that forgot says so of a job that was begun
                await self._job(ledger, identity, account, f"{number}-job-{count}", USERS[count % len(USERS)])
        await ledger.close()

    async def _plain(self, engine: Engine, account: Account, key: str) -> None:
        """A document that is committed once and never again, whatever comes of it."""
        account.asked.add(key)
        began = time.monotonic()
        try:
            (it,) = await engine.commit(TENANT, [write(key, PLAIN, body=f"plain {key}".encode(), open_until=FOR_EVER)])
        except Unavailable as error:
            self._doubt(key, error)
            await asyncio.sleep(0.02)
        else:
            account.acknowledged[key] = it.revision
        assert time.monotonic() - began < 2 * BOUND  # whose tests have a quieter process than this one
        await asyncio.sleep(self._rest)

    async def _job(self, ledger: Ledger, identity: Identity, account: Account, job: str, owner: str) -> None:
        """A job from its beginning to its end, and a word to its owner; each until it is acknowledged."""
        note = f"note-{job}"
        account.asked |= {job, note}
        begun = await self._persist(
            job,
            lambda: ledger.start_job(identity, StartJob(id=job, title=job, owner=owner), Once.of(job, "start", b"")),
        )
        account.acknowledged[job] = begun.job.rev
        await self._persist(job, lambda: ledger.advance(identity, job, Advance(by=1, message="on the way")))
        end = Complete() if self._chance.random() < 0.7 else Fail(code="TEMPLATE_ERROR")
        ended = await self._persist(job, lambda: ledger.end(identity, job, end, Once.of(f"end-{job}", "end", b"")))
        account.acknowledged[job] = ended.rev
        account.ends[job] = ended.state
        told = await self._persist(
            note, lambda: ledger.notify(identity, Notify(user=owner, title=note), Once.of(note, "notify", b""))
        )
        account.acknowledged[note] = told[0].revision

    async def _persist(self, what: str, verb: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await verb()
            except Unavailable as error:
                self._doubt(what, error)
                await asyncio.sleep(0.02)
            except Conflict as error:
                raise AssertionError(f"{what} was already there") from error

    def _doubt(self, what: str, error: Unavailable) -> None:
        self.in_doubt.add(what)
        self.codes.add(error.code)

    # --- readers ------------------------------------------------------------------------------------------------

    async def _follow(self, cursor: Cursor) -> None:
        """Read on from the cursor whenever a hint comes."""
        async with self.reader.hints() as hints:
            while True:
                try:
                    cursor = await self._read_on(cursor)
                except Unavailable:
                    await asyncio.sleep(0.05)
                    continue
                await anext(hints)

    async def _read_on(self, cursor: Cursor) -> Cursor:
        more = True
        while more:
            page = await self.reader.changes(TENANT, None, cursor, now=NOW)
            if page.reset is not None:
                self._record.shown.append(None)
            self._record.shown += filter(None, map(_seen, page.documents))
            cursor, more = page.cursor, page.more
        return cursor

    async def _person(self, hub: Hub, identity: Identity, record: Record) -> None:
        """Open stream after stream, each from the last id of the one before; the last one stays."""
        last: str | None = None
        while True:
            sink = _Sink(record)
            after = None if last is None else SEAL.decode(TENANT, last)
            subscriber = self._subscribers[identity.user] = Subscriber(identity, MILEPOST, after=after, requested=last)
            try:
                await hub.open(subscriber)
                hub.begin(subscriber, sink)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stay.wait(), self._chance.uniform(0.05, 1.0))
                if self._stay.is_set():
                    await asyncio.Event().wait()
            except Unavailable:
                await asyncio.sleep(0.05)
            finally:
                hub.close(subscriber)
            last = sink.parser.last_event_id or last


class _Sink:
    """Where a person's stream goes: into the record, as they would read it (``milepost.subscriber.Sink``)."""

    chunked = False

    def __init__(self, record: Record) -> None:
        self.parser = Parser()
        self._record = record

    def write(self, data: bytes) -> bool:
        """See ``Sink.write``."""
        for event in self.parser.feed(data):
            if event.name == "reset":
                self._record.shown.append(None)
            elif event.name in ("job", "notification"):
                self._record.shown.append(seen(event.name, event.json[event.name]))
        return True

    def end(self) -> None:
        """See ``Sink.end``."""


def _seen(document: Document) -> Seen | None:
    """A stored document in the checker's words; None for what only the ledger knows."""
    audiences = document.audiences
    match document.kind:
        case "job":
            return seen("job", jobs.load(document).full_json(), audiences)
        case "notification":
            return seen("notification", inbox.load(document).full_json(), audiences)
        case "note":
            return Seen(document.key, document.key, document.revision, document.order, audiences=audiences)
    return None
