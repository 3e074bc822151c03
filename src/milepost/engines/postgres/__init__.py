"""PostgreSQL as an engine: any number of hubs and producers on any number of hosts share one database.

Each commit is flushed to the server's disk before it returns ([durable], for the machine too), and to its synchronous
standbys where it has some. Every call ends within 2 seconds: where the server is away or hangs, with ``Unavailable``.
It connects when it is first used and by itself again; its tables are in the schema ``milepost``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from milepost.engine import GONE_SECONDS, Counts, Document, Due, Page, Question, Reach, Write
from milepost.engines.postgres import outbox
from milepost.engines.postgres.hints import Listener
from milepost.engines.postgres.plan import checked
from milepost.engines.postgres.reading import Ahead, Reader
from milepost.engines.postgres.session import Pool, Server, Session, away
from milepost.engines.postgres.writer import Writer
from milepost.errors import Conflict, Unavailable
from milepost.model import Cursor

__all__ = ["PostgresEngine"]

DRAW_SECONDS: Final = 60.0  # a cursor ahead of the head draws a new epoch at most this often

# What a forked child inherited. Closing it, or letting it be collected, would write to its parent's connections.
_inherited: list[object] = []


class _Here:
    """What one event loop has: sessions never leave theirs."""

    def __init__(self, server: Server, tell: Callable[[Mapping[str, int]], None], own: Callable[[int], bool]) -> None:
        self.loop = asyncio.get_running_loop()
        self.pool = Pool(server)
        self.writer = Writer(server, tell)
        self.listener = Listener(server, own, self.writer.relay)

    async def close(self) -> None:
        """Finish, on the own loop."""
        await self.writer.close()
        await self.listener.close()
        self.pool.close()

    def let_go(self) -> None:
        """Of a loop that is not this one: nothing of it runs any more, or it will find out."""
        self.pool.close()
        self.writer.let_go()
        self.listener.let_go()


class PostgresEngine:
    """``milepost.engine.Engine`` over one database. Safe for any number of event loops and threads, and after a fork.

    Raises ``Invalid`` for a URL that libpq does not understand.
    """

    def __init__(self, url: str) -> None:
        self.server = Server(url)
        self._reader = Reader()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._loops: dict[asyncio.AbstractEventLoop, _Here] = {}

    @property
    def reach(self) -> Reach:
        """As far as the database: every host that has it."""
        return Reach.NETWORK

    async def get(self, tenant: str, keys: Sequence[str]) -> list[Document | None]:
        """See ``Engine.get``."""
        return await self._here().pool.do(lambda session: self._reader.get(session, tenant, keys))

    async def commit(self, tenant: str, writes: Sequence[Write]) -> list[Document]:
        """See ``Engine.commit``. Raises ``Invalid`` for a write that no store could hold."""
        if not writes:
            return []
        return await self._here().writer.commit(tenant, checked(tenant, writes))

    async def touch(self, tenant: str, key: str, *, revision: int, due_at: float) -> bool:
        """See ``Engine.touch``."""
        return await self._here().writer.touch(tenant, key, revision, due_at)

    async def changes(
        self,
        tenant: str,
        audiences: Sequence[str] | None,
        after: Cursor | None,
        *,
        now: float,
        limit: int = 256,
        recent: int = 20,
        keys: Sequence[str] | None = None,
    ) -> Page:
        """See ``Engine.changes``."""

        async def read(*, proven: bool) -> Page:
            return await self._here().pool.do(
                lambda session: self._reader.changes(
                    session, tenant, audiences, after, now=now, limit=limit, recent=recent, keys=keys, proven=proven
                )
            )

        try:
            return await read(proven=False)
        except Ahead:
            # Where a write is not possible the reader gets its snapshot all the same, in the old epoch.
            with contextlib.suppress(Unavailable):
                await self._draw_epoch(tenant, now)
        return await read(proven=True)

    async def find(
        self,
        tenant: str,
        audiences: Sequence[str] | None,
        *,
        kind: str,
        labels: Sequence[str] = (),
        before: int | None = None,
        after: int | None = None,
        oldest: bool = False,
        limit: int = 50,
    ) -> Page:
        """See ``Engine.find``."""
        bounds = (after, before)
        return await self._here().pool.do(
            lambda session: self._reader.find(
                session, tenant, audiences, kind=kind, labels=labels, bounds=bounds, oldest=oldest, limit=limit
            )
        )

    async def count(self, tenant: str, questions: Sequence[Question]) -> Counts:
        """See ``Engine.count``."""
        return await self._here().pool.do(lambda session: self._reader.count(session, tenant, questions))

    async def heads(self, tenants: Sequence[str]) -> list[Cursor]:
        """See ``Engine.heads``."""
        if not tenants:
            return []
        return await self._here().pool.do(lambda session: self._reader.heads(session, tenants))

    async def due(self, *, now: float, limit: int = 256) -> list[Due]:
        """See ``Engine.due``."""
        return await self._here().pool.do(lambda session: self._reader.due(session, now, limit))

    async def renew_epoch(self) -> None:
        """See ``Engine.renew_epoch``."""

        async def renew(session: Session) -> None:
            await session.run(
                ("BEGIN", {}),
                ("lock_all", {}),
                ("renew_store", {"secret": secrets.token_hex(16)}),
                ("renew_tenants", {}),
                ("notify", {}),
                ("COMMIT", {}),
            )

        await self._here().pool.do(renew)

    @contextlib.asynccontextmanager
    async def hints(self) -> AsyncIterator[AsyncIterator[str | None]]:
        """See ``Engine.hints``. While some are open, this process also empties the outbox."""
        listener = self._here().listener
        hints = listener.open()
        try:
            yield hints
        finally:
            await listener.leave(hints)

    async def prune(self, *, now: float, limit: int = 1000) -> int:
        """See ``Engine.prune``. What somebody writes or prunes at the same time is left for the next one."""
        here = self._here()
        rows = await here.pool.do(lambda session: session.rows("expired", now=float(now), limit=limit))
        expired: dict[str, list[Write]] = {}
        for tenant, key, kind, revision in rows:
            expired.setdefault(tenant, []).append(Write(key, kind, None, replaces=revision))
        done = 0
        for tenant, writes in expired.items():
            with contextlib.suppress(Conflict):
                done += len(await here.writer.commit(tenant, writes, now))
        values = {"before": float(now) - GONE_SECONDS, "limit": limit - len(rows)}

        async def drop(session: Session) -> int:
            _, ids = await session.run(("BEGIN", {}), ("lock_gone", values))
            ((dropped,),), _ = await session.run(("drop", {**values, "ids": [id_ for (id_,) in ids]}), ("COMMIT", {}))
            return int(dropped)

        return done + await here.pool.do(drop)

    async def ping(self) -> None:
        """See ``Engine.ping``. Writes one row, so that a full disk or a server that only reads shows itself."""
        await self._here().pool.do(lambda session: session.rows("probe"))

    async def close(self) -> None:
        """See ``Engine.close``. Afterwards every other method raises ``Unavailable``."""
        if self.server.closed:
            return
        here = self._loops.get(asyncio.get_running_loop()) if self._pid == os.getpid() else None
        if here is not None:
            await here.close()
        self.server.closed = True
        if self._pid == os.getpid():
            for other in self._loops.values():
                other.let_go()

    def commit_in(self, connection: Any, tenant: str, writes: Sequence[Write]) -> Coroutine[Any, Any, None] | None:
        """Commit in the transaction that a connection of the application is in; to be awaited where that is async.

        What was written gets its revisions from a hub, soon after that transaction is committed; where it is rolled
        back nobody hears of it. A write whose ``replaces`` does not hold by then is dropped. The connection is
        psycopg's or SQLAlchemy's and leads to this engine's database. Raises ``Invalid``.
        """
        return outbox.insert(connection, tenant, checked(tenant, writes))

    async def _draw_epoch(self, tenant: str, now: float) -> None:
        values = {"tenant": tenant, "epoch": secrets.token_hex(16), "now": float(now), "seconds": DRAW_SECONDS}
        await self._here().pool.do(lambda session: session.rows("draw_epoch", **values))

    def _here(self) -> _Here:
        if self.server.closed:
            raise away("the engine is closed")
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            _inherited.append(self._loops)
            self._lock, self._pid, self._loops = threading.Lock(), os.getpid(), {}
        here = self._loops.get(loop)
        if here is None:
            with self._lock:
                for other in [each for each in self._loops if each.is_closed()]:
                    self._loops.pop(other).let_go()
                here = self._loops[loop] = _Here(self.server, self._tell, self._is_own)
        return here

    def _is_own(self, pid: int) -> bool:
        return any(pid == here.writer.pid for here in list(self._loops.values()))

    def _tell(self, heads: Mapping[str, int]) -> None:
        """A group is stored: everyone who listens in this process hears of it, on their own loops."""
        current = asyncio.get_running_loop()
        for here in list(self._loops.values()):
            if here.loop is current:
                here.listener.grew(heads)
            elif here.listener.hints:
                with contextlib.suppress(RuntimeError):  # that loop is closed
                    here.loop.call_soon_threadsafe(here.listener.grew, dict(heads))
