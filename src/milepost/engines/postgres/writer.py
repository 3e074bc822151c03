"""Group commit: what waits together shares a transaction and its flush to disk, each commit with its own fate.

One writer per event loop, with one session. A group is three round trips: lock the heads; read what is replaced; write,
move the heads, notify, commit. A group whose outcome is unknown is never repeated: only a session that turns out
to be broken before anything was written is replaced, once.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from milepost.engine import Document, Write
from milepost.engines.postgres.outbox import Outbox
from milepost.engines.postgres.plan import Plan, keys_of
from milepost.engines.postgres.session import CALL_SECONDS, Lost, Server, Session, away, explain, in_time
from milepost.errors import MilepostError, Unavailable

GROUP_WRITES: Final = 256
QUEUE_TASKS: Final = 10_000  # commits that may wait; more are refused, so that a slow disk does not fill the memory


@dataclass(slots=True, eq=False)
class Task:
    """A commit, or (without writes) a touch."""

    tenant: str
    future: asyncio.Future[Any]
    writes: Sequence[Write] = ()
    now: float = 0.0
    touch: tuple[str, int, float] | None = None  # key, revision, due_at
    answer: Any = None
    error: BaseException | None = None

    @property
    def keys(self) -> list[str]:
        """The documents that it must know."""
        return [write.key for write in self.writes] if self.touch is None else [self.touch[0]]

    def carry_out(self, plan: Plan) -> None:
        """Take it into the plan; an error of ours is its own and changes nothing."""
        try:
            if self.touch is not None:
                self.answer = plan.touch(self.tenant, *self.touch)
            else:
                self.answer = plan.commit(self.tenant, self.writes, self.now)
        except MilepostError as error:
            self.error = error


@dataclass(slots=True)
class Writer:
    """The commits of one event loop. ``tell`` is called with the heads that a group moved, after it is stored."""

    server: Server
    tell: Callable[[Mapping[str, int]], None]
    pid: int = 0  # of the backend whose notifications are of our own commits
    _queue: collections.deque[Task] = field(default_factory=collections.deque)
    _session: Session | None = None
    _work: asyncio.Task[None] | None = None
    _relay: bool = False

    async def commit(self, tenant: str, writes: Sequence[Write], now: float | None = None) -> list[Document]:
        """Store in the next group; returns when that is on the disk. Raises ``Conflict``, ``Unavailable``."""
        at = time.time() if now is None else now
        stored: list[Document] = await self._do(Task(tenant, _future(), writes, at))
        return stored

    async def touch(self, tenant: str, key: str, revision: int, due_at: float) -> bool:
        """Move a due time in the next group."""
        moved: bool = await self._do(Task(tenant, _future(), touch=(key, revision, due_at)))
        return moved

    def relay(self) -> None:
        """Give what is in the outbox its revisions, soon."""
        self._relay = True
        self._begin()

    async def close(self) -> None:
        """Finish what is waiting, then let go of the session."""
        if self._work is not None:
            await asyncio.wait((self._work,))
        self.let_go()

    def let_go(self) -> None:
        """Let go of the session at once, from any thread."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    async def _do(self, task: Task) -> Any:
        if len(self._queue) >= QUEUE_TASKS:
            raise Unavailable(f"{QUEUE_TASKS} commits are waiting for the database", code="overloaded", retry_after=1.0)
        self._queue.append(task)
        self._begin()
        async with in_time():
            return await task.future  # given up: a group that has not begun leaves it out

    def _begin(self) -> None:
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run(), name="milepost-commits")

    async def _run(self) -> None:
        await asyncio.sleep(0)  # for those who commit in the same turn of the loop
        while self._queue or self._relay:
            relay, self._relay = self._relay, False
            tasks = self._gather()
            if not tasks and not relay:
                continue
            try:
                await self._store(tasks, Outbox() if relay else None)
            except Unavailable as error:
                _fail(tasks, error)
            except Exception as error:  # noqa: BLE001 — what one commit brought about must not take the others with it
                await self._alone(tasks, error)
            _deliver(tasks)

    def _gather(self) -> list[Task]:
        tasks: list[Task] = []
        writes = 0
        while self._queue and writes < GROUP_WRITES:
            task = self._queue.popleft()
            if not task.future.done():
                tasks.append(task)
                writes += len(task.writes) or 1
        return tasks

    async def _alone(self, tasks: list[Task], error: Exception) -> None:
        if len(tasks) == 1:
            _fail(tasks, error)
            return
        for task in tasks:
            task.error = None
            try:
                await self._store([task], None)
            except Exception as own:  # noqa: BLE001 — likewise
                _fail([task], own)

    async def _store(self, tasks: Sequence[Task], outbox: Outbox | None) -> None:
        """One transaction. Raises ``Unavailable`` where it could not be stored, or nobody can know."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                session, plan = await self._open(tasks, outbox)
                await self._finish(session, tasks, plan, outbox)
        except TimeoutError:
            raise away(f"PostgreSQL has not answered for {CALL_SECONDS:g} s") from None
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            raise explain(error) from error
        if plan.grown:
            self.tell(plan.grown)
        if outbox is not None and outbox.has_more:
            self._relay = True

    async def _open(self, tasks: Sequence[Task], outbox: Outbox | None) -> tuple[Session, Plan]:
        """Begin, lock the heads, read what is replaced: on a new session where the last one is broken."""
        if self._session is not None and self._session.is_open:
            try:
                return self._session, await self._session.use(begin(self._session, tasks, outbox))
            except Lost:
                pass
        self._session = await self.server.connect()
        self.pid = self._session.pid
        return self._session, await self._session.use(begin(self._session, tasks, outbox))

    async def _finish(self, session: Session, tasks: Sequence[Task], plan: Plan, outbox: Outbox | None) -> None:
        for task in tasks:
            task.carry_out(plan)
        moved: list[tuple[str, dict[str, Any]]] = []
        if outbox is not None:
            outbox.carry_out(plan)
            if outbox.ids:
                moved.append(("moved", {"ids": outbox.ids}))
        await session.use(session.run(*plan.statements(), *moved, ("COMMIT", {})))


async def begin(session: Session, tasks: Sequence[Task], outbox: Outbox | None) -> Plan:
    """Begin a transaction, lock the heads, read what is to be replaced. ``Plan`` says what comes next."""
    begin: list[tuple[str, dict[str, Any]]] = [("BEGIN", {})]
    wanted = [(task.tenant, task.keys) for task in tasks]
    if outbox is not None:
        wanted += await outbox.read(session)
        begin = []
    tenants = list(dict.fromkeys(tenant for tenant, _ in wanted))
    lock = ("lock", {"tenants": tenants})
    *_, heads = await session.run(*begin, lock)
    missing = set(tenants).difference(name for name, _, _ in heads)
    if missing:
        _, heads = await session.run(("add_tenants", {"tenants": sorted(missing)}), lock)
    # By itself and last, so that the server's limit for idle transactions counts from here: what the driver sends at
    # the end of a pipeline switches that limit off, and a stopped process would hold its heads for ever.
    return Plan.of(heads, await session.rows("stored", **keys_of(wanted)))


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _fail(tasks: Iterable[Task], error: Exception) -> None:
    for task in tasks:
        task.error = error  # also those that conflicted: with what was then not stored


def _deliver(tasks: Iterable[Task]) -> None:
    for task in tasks:
        if task.future.done():  # its caller gave up
            continue
        if task.error is not None:
            task.future.set_exception(task.error)
        else:
            task.future.set_result(task.answer)
