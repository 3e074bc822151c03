"""The hub over a real engine against a scheduler that does its worst: a state machine of readers, writers and faults.

Every read of the hub waits, before and after it is made, until the machine lets it go, in any order; hints get lost,
are late or come twice; sinks fill and drain; readers leave and resume; owners and watchers change; epochs are renewed,
documents expire. Held at every step: what a connection is written rises in revision, and nothing is written to anybody
who may not see it. Held in the end, when all is quiet: everybody has the newest revision of everything they may see.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from milepost.commands import Batch, Notify, check
from milepost.dialects import MILEPOST
from milepost.engine import Document
from milepost.engines import open_engine
from milepost.errors import NotFound
from milepost.hub import Hub
from milepost.ledger import Ledger
from milepost.model import Identity
from milepost.subscriber import State, Subscriber
from milepost.testing import FakeClock
from milepost.wire import CursorSeal, subject
from tests.server.sse_client import Event
from tests.unit.gated import Gated
from tests.unit.readers import Reader

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[Any]], Any]

SEAL = CursorSeal(b"k" * 32)
WRITER = Identity("writer", scopes=frozenset({"produce:any"}))
USERS = ("a", "b")
JOBS = ("j0", "j1")
MAX_NOTES = 18  # fewer than a snapshot's 20, so that a snapshot holds all that is not archived
MAX_READERS = 4
WRITES = ["move", "move", "advance", "advance", "complete", "notify", "notify", "mark", "read_all"]
KINDS = st.sampled_from(["wide", "wide", "jobs", "job", "job"])
RETENTION = 1000.0
DAY = 86400.0


class Person:
    """A client over all its connections: its cursor, and what it holds, as a client of ours holds it."""

    def __init__(self, user: str, only: tuple[str, ...], job: str | None, shared: tuple[str, ...]) -> None:
        self.identity = Identity(user, jobs=shared)
        self.only = only
        self.job = job
        self.cursor = self.cursor_at_start = ""
        self.held: dict[str, int] = {}
        self.known: dict[str, int] = {}  # newest revision of each, gone ones too
        self.reader: Reader | None = None
        self.task: asyncio.Task[None] | None = None
        self.taken = 0
        self.last = 0
        self.over = False  # told that its one job ended, or is no more

    def may_see(self, document: Document) -> bool:
        """By the document's audiences, and by what the stream is narrowed to."""
        if self.only and subject(document.key) not in self.only:
            return False
        return not set(self.identity.audiences).isdisjoint(document.audiences)

    def begin(self, reader: Reader) -> None:
        """A new connection."""
        self.reader, self.taken, self.last = reader, 0, 0
        self.cursor_at_start = self.cursor

    def take(self, event: Event, log: dict[int, Document]) -> None:
        """What a client does with an event, and what must hold of it."""
        if event.name == "reset":
            self.held.clear()
            self.known.clear()
            self.last = 0
        if event.name in ("job", "notification"):
            self._document(event.name, event.json[event.name], log)
        if event.name == "stream_end":
            self.over = True
        if event.id is not None:
            self.cursor = event.id

    def _document(self, name: str, told: dict[str, Any], log: dict[int, Document]) -> None:
        rev, key = told["rev"], f"{name}:{told['id']}"
        assert rev > self.last, "revisions rise within a connection"
        self.last = rev
        if not told.get("gone"):
            stored = log[rev]
            assert subject(stored.key) == key
            assert self.may_see(stored), f"{key} at {rev} is not for {self.identity.user}"
        if rev > self.known.get(key, 0):
            self.known[key] = rev
            if told.get("gone"):
                self.held.pop(key, None)
            else:
                self.held[key] = rev


class HubMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.time = 0.0
        self.loop.time = lambda: self.time  # type: ignore[method-assign] # no timer goes off by itself
        shm = Path("/dev/shm")  # noqa: S108 - faster than a disk, where there is one
        self.folder = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
        self.engine = open_engine(self.empty_store())
        self.gated = Gated(self.engine)
        self.clock = FakeClock()
        self.ledger = Ledger(self.engine, now=self.clock, notification_retention=RETENTION)
        self.log: dict[int, Document] = {}
        self.logged = 0
        self.people: list[Person] = []
        self.notes = 0
        self.note_ids: list[str] = []
        self.owed_hints = 0
        self.hub = self.run(self._hub())

    def empty_store(self) -> str:
        """The URL of a store without a document."""
        return f"sqlite:///{self.folder}/m.db"

    async def _hub(self) -> Hub:
        hub = Hub(self.gated, SEAL, heartbeat_seconds=3600, max_stream_seconds=36000, now=self.clock)
        await hub.start()
        return hub

    def run(self, work: Awaitable[T]) -> T:
        """Do it, then let everything run that can run without the machine's leave."""

        async def all_of_it() -> T:
            done = await work
            turns = 0
            while turns < 25:
                await asyncio.sleep(0)
                turns = 0 if self.gated.asking else turns + 1
            return done

        return self.loop.run_until_complete(all_of_it())

    async def _nothing(self) -> None:
        """Only let things run."""

    # --- writing --------------------------------------------------------------------------------------------------

    async def _read_log(self) -> None:
        """What the history holds now; only the newest revision of each is kept, so it is read after each commit."""
        (head,) = await self.engine.heads(["default"])
        page = await self.engine.changes(
            "default", None, type(head)(head.epoch, self.logged), now=self.clock(), limit=10_000
        )
        for document in page.documents:
            self.log[document.revision] = document
        self.logged = head.revision

    def write(self, work: Awaitable[object]) -> None:
        """Write, with the hub's reads held."""

        async def both() -> None:
            await work
            await self._read_log()

        self.run(both())
        self.owed_hints += 1

    def batch(self, *commands: dict[str, Any]) -> None:
        """Write commands in one commit."""
        self.write(self.ledger.batch(WRITER, check(Batch, {"commands": list(commands)})))

    def _state(self, job: str) -> str | None:
        (document,) = self.run(self.engine.get("default", [f"job:{job}"]))
        if document is None:
            return None
        return next(label[6:] for label in document.labels if label.startswith("state:"))

    @initialize(comers=st.lists(st.tuples(st.sampled_from(USERS), KINDS, st.booleans()), min_size=1, max_size=3))
    def begin(self, comers: list[tuple[str, str, bool]]) -> None:
        """Two jobs are under way, which both may see, and some readers are live."""
        for job in JOBS:
            self.batch({"verb": "start", "job": job, "title": job, "owner": USERS[0], "watchers": [USERS[1]]})
        for user, kind, shared in comers:
            self._come(user, kind, shared=shared)
        self.let_all_go()
        assert all(person.reader and person.reader.subscriber.state is State.LIVE for person in self.people)

    @rule(data=st.data(), what=st.sampled_from(WRITES))
    def write_something(self, data: st.DataObject, what: str) -> None:
        """Somebody writes."""
        getattr(self, f"_{what}")(data.draw)

    @rule(what=st.sampled_from(["expire", "expire", "drop_gone", "renew_epoch"]))
    def age(self, what: str) -> None:
        """What is out of date goes, what has been gone for long is dropped, or the history becomes another one."""
        if what == "renew_epoch":
            self.write(self.engine.renew_epoch())
            return
        self.clock.advance(RETENTION if what == "expire" else 2 * DAY)
        self.write(self.engine.prune(now=self.clock()))

    def _move(self, draw: Draw) -> None:
        """A job begins, or a new attempt with other people: some lose it, some get it."""
        job, people = draw(st.sampled_from(JOBS)), draw(st.lists(st.sampled_from(USERS), min_size=1, unique=True))
        commands: list[dict[str, Any]] = []
        if self._state(job) in ("queued", "running"):
            commands.append({"verb": "cancel", "job": job})
        start = {"verb": "start", "job": job, "title": job, "owner": people[0], "watchers": people[1:]}
        for command in [*commands, start]:  # one by one, since the log has to see each revision
            self.batch(command)

    def _advance(self, draw: Draw) -> None:
        job = draw(st.sampled_from(JOBS))
        if self._state(job) in ("queued", "running"):
            self.batch({"verb": "advance", "job": job, "by": 1})

    def _complete(self, draw: Draw) -> None:
        job = draw(st.sampled_from(JOBS))
        if self._state(job) in ("queued", "running"):
            self.batch({"verb": "complete", "job": job})

    def _notify(self, draw: Draw) -> None:
        user = draw(st.sampled_from([*USERS, None]))
        if self.notes == MAX_NOTES:
            return
        self.notes += 1
        name = f"n{self.notes}"
        to: dict[str, Any] = {"everyone": True} if user is None else {"user": user}
        self.write(self.ledger.notify(WRITER, Notify(id=name, title=name, **to)))
        self.note_ids.append(name)

    def _mark(self, draw: Draw) -> None:
        if not self.note_ids:
            return
        verb = draw(st.sampled_from([self.ledger.archive, self.ledger.mark_read]))
        user, name = draw(st.sampled_from(USERS)), draw(st.sampled_from(self.note_ids))

        async def try_it() -> None:
            with contextlib.suppress(NotFound):
                await verb(Identity(user), name)

        self.write(try_it())

    def _read_all(self, draw: Draw) -> None:
        self.write(self.ledger.mark_all_read(Identity(draw(st.sampled_from(USERS)))))

    # --- hints and turns ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.owed_hints)
    @rule(how=st.sampled_from(["one", "one", "twice", "everything", "lost"]))
    def hint(self, how: str) -> None:
        """Hints arrive, late, doubled, or not at all."""
        self.owed_hints = 0
        if how != "lost":
            self.gated.hint(None if how == "everything" else "default")
        if how == "twice":
            self.gated.hint("default")
        self.run(self._nothing())

    @precondition(lambda self: self.gated.waiting)
    @rule(numbers=st.lists(st.integers(0, 4), min_size=1, max_size=3))
    def let_go(self, numbers: list[int]) -> None:
        """Some reads of the hub go on, in some order."""
        for number in numbers:
            self.gated.release(number)
            self.run(self._nothing())

    @precondition(lambda self: self.gated.waiting)
    @rule()
    def let_all_go(self) -> None:
        """Everything that waits goes on, and what comes of it, until nothing does."""
        for _ in range(200):
            self.gated.release(0)
            self.run(self._nothing())
            if not self.gated.waiting:
                break

    # --- readers ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.people) < MAX_READERS)
    @rule(user=st.sampled_from(USERS), kind=KINDS, shared=st.booleans())
    def come(self, user: str, kind: str, shared: bool) -> None:
        """A client comes, without a cursor."""
        self._come(user, kind, shared=shared)

    def _come(self, user: str, kind: str, *, shared: bool) -> None:
        only = {"wide": (), "jobs": ("job:j0", "job:j1"), "job": ("job:j0",)}[kind]
        person = Person(user, only, "job:j0" if kind == "job" else None, ("j1",) if shared else ())
        self.people.append(person)
        self._connect(person)

    @precondition(lambda self: self.people)
    @rule(number=st.integers(0, 9), room=st.sampled_from([None, 2, 5]))
    def connect(self, number: int, room: int | None) -> None:
        """A client that was cut off comes again with its cursor; its sink may fill soon."""
        person = self.people[number % len(self.people)]
        if person.reader is None and person.task is None and not person.over:
            self._connect(person, room)

    def _connect(self, person: Person, room: int | None = None) -> None:
        requested = person.cursor or None
        subscriber = Subscriber(
            person.identity,
            MILEPOST,
            after=None if requested is None else SEAL.decode("default", requested),
            requested=requested,
            only=frozenset(person.only) or None,
            job=person.job,
        )

        async def open_it() -> None:
            try:
                await self.hub.open(subscriber)
            except NotFound:
                self.hub.close(subscriber)
                return
            except asyncio.CancelledError:
                self.hub.close(subscriber)
                raise
            if requested is None:
                person.held.clear()
            reader = Reader(room)
            reader.subscriber = subscriber
            person.begin(reader)
            self.hub.begin(subscriber, reader)

        async def start() -> None:
            person.task = asyncio.create_task(open_it())
            person.task.add_done_callback(lambda _: setattr(person, "task", None))

        self.run(start())

    @precondition(lambda self: self.people)
    @rule(number=st.integers(0, 9))
    def leave(self, number: int) -> None:
        """A client is cut off, in whatever state it is."""
        person = self.people[number % len(self.people)]
        self._take(person)
        if person.task is not None:
            person.task.cancel()
        elif person.reader is not None:
            self.hub.close(person.reader.subscriber)
            person.reader = None
        self.run(self._nothing())

    @precondition(lambda self: self.people)
    @rule(number=st.integers(0, 9), room=st.sampled_from([None, 1, 3]))
    def drain(self, number: int, room: int | None) -> None:
        """A sink has room again."""
        reader = self.people[number % len(self.people)].reader
        if reader is not None and reader.subscriber.state is State.LAGGING:
            reader.room = room
            self.run(self._drained(reader))

    async def _drained(self, reader: Reader) -> None:
        self.hub.drained(reader.subscriber)

    @precondition(lambda self: self.people)
    @rule(number=st.integers(0, 9))
    def fill(self, number: int) -> None:
        """A sink will be full with the next write."""
        reader = self.people[number % len(self.people)].reader
        if reader is not None and reader.subscriber.state is State.LIVE:
            reader.room = 1

    def _take(self, person: Person) -> None:
        if person.reader is not None:
            events = person.reader.events
            for event in events[person.taken :]:
                person.take(event, self.log)
            person.taken = len(events)
            if person.cursor_at_start and not person.only and "reset" not in person.reader.names:
                assert not person.reader.over, "only a snapshot goes on although the sink is full"
            if person.reader.ended:
                person.reader = None

    # --- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def order_and_right(self) -> None:
        """Everything that was written so far was in order and for whoever got it."""
        for person in self.people:
            self._take(person)

    def teardown(self) -> None:
        """All becomes quiet; then everybody has everything."""
        try:
            self.run(self._quiet())
            for person in self.people:
                self._take(person)
                if person.reader is not None:
                    self._has_everything(person)
        finally:
            self.run(self._close())
            self.loop.close()
            shutil.rmtree(self.folder)

    async def _quiet(self) -> None:
        self.gated.release_all()
        self.gated.hint(None)
        for _ in range(1000):
            for person in self.people:
                if person.reader is not None and person.reader.subscriber.state is State.LAGGING:
                    person.reader.room = None
                    self.hub.drained(person.reader.subscriber)
            (head,) = await self.engine.heads(["default"])
            positions = [tenant.position for tenant in self.hub._tenants.values()]  # noqa: SLF001
            if not any(map(self._busy, self.people)) and all(position == head for position in positions):
                return
            self.time += 0.01
            await asyncio.sleep(0)
        raise AssertionError("it never becomes quiet")

    @staticmethod
    def _busy(person: Person) -> bool:
        if person.task is not None:
            return True
        return person.reader is not None and person.reader.subscriber.state in (State.CATCHING_UP, State.LAGGING)

    def _has_everything(self, person: Person) -> None:
        present = self.run(
            self.engine.changes(
                "default",
                person.identity.audiences,
                None,
                now=self.clock(),
                keys=list(person.only) or None,
            )
        )
        owed = {
            subject(document.key): document.revision
            for document in present.documents
            if document.kind in ("job", "notification")
        }
        assert owed.items() <= person.held.items(), f"{person.identity.user} lacks or has old ones"
        for key in set(person.held) - set(owed):
            self._may_hold(person, key)

    def _may_hold(self, person: Person, key: str) -> None:
        """Beyond a snapshot a client may hold what is archived or ended long ago, if it is as it is now."""
        copy = f"{key}@user:{person.identity.user}"
        found = [d for d in self.run(self.engine.get("default", [copy, key])) if d is not None and person.may_see(d)]
        assert found, f"{key} is gone, and {person.identity.user} was not told"
        assert person.held[key] == found[0].revision

    async def _close(self) -> None:
        for person in self.people:
            if person.task is not None:
                person.task.cancel()
        self.gated.release_all()
        await self.hub.stop()
        await self.ledger.close()
        await self.engine.close()


def run_of(examples: int) -> settings:
    """So many runs of the machine."""
    return settings(
        max_examples=examples,
        stateful_step_count=80,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


TestHub = HubMachine.TestCase
TestHub.settings = run_of(200)
