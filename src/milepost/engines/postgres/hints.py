"""Hints of the PostgreSQL engine: own commits at once, those of other processes by LISTEN, and a look each second.

One session listens per event loop, however many hints are open. A notification says only that something grew; which
tenants it was is read from their rows. Notifications that are lost cost a second, a session that is lost likewise:
when one is lost, and when there is a new one, the hint is "look at everything".
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final

import psycopg

from milepost.engines.postgres.session import Server, Session, away, in_time
from milepost.errors import Unavailable

LOOK_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = (0.1, 0.5)  # until the next try of a listener that lost its session
MANY_TENANTS: Final = 1000  # beyond this a hint says "look at everything"


class Hints(AsyncIterator[str | None]):
    """The tenants that grew since it was opened, each once until it is taken; for one task of one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._pending: dict[str | None, None] = {}
        self._news = asyncio.Event()
        self._closed = False

    def add(self, tenants: Iterable[str | None]) -> None:
        """Say that these grew; on the loop's own thread."""
        for tenant in tenants:
            self._pending[tenant] = None
        if len(self._pending) > MANY_TENANTS:
            self._pending = {None: None}
        if self._pending:
            self._news.set()

    async def __anext__(self) -> str | None:
        """The next tenant that grew. Raises ``Unavailable`` when the engine is closed."""
        while not self._pending:
            if self._closed:
                raise away("the engine is closed")
            self._news.clear()
            await self._news.wait()
        tenant = next(iter(self._pending))
        del self._pending[tenant]
        return tenant

    def close(self) -> None:
        """Nothing comes any more."""
        self._closed = True
        self._news.set()


class Listener:
    """Listens for one event loop, for as long as hints are open there."""

    def __init__(self, server: Server, own: Callable[[int], bool], relay: Callable[[], None]) -> None:
        self.hints: list[Hints] = []
        self._server = server
        self._own = own
        self._relay = relay
        self._task: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._known: dict[str, tuple[int, str | None]] = {}
        self._secret = ""

    def open(self) -> Hints:
        """New hints; the first of them begins to listen."""
        hints = Hints()
        self.hints.append(hints)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="milepost-hints")
        return hints

    async def leave(self, hints: Hints) -> None:
        """Close them; the last of them ends the listening."""
        hints.close()
        with contextlib.suppress(ValueError):
            self.hints.remove(hints)
        if not self.hints:
            await self.close()

    async def close(self) -> None:
        """Listen no more; what is open learns of it."""
        for hints in self.hints:
            hints.close()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        self.let_go()

    def let_go(self) -> None:
        """Let go of the session at once, from any thread."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def grew(self, heads: Mapping[str, int]) -> None:
        """A commit of this process moved these heads; on the loop's own thread."""
        for tenant, head in heads.items():
            if tenant in self._known:
                self._known[tenant] = (head, self._known[tenant][1])
        self.tell(heads)

    def tell(self, tenants: Iterable[str | None]) -> None:
        """To everyone who listens."""
        told = list(tenants)
        for hints in self.hints:
            hints.add(told)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(Unavailable, psycopg.Error):
                async with in_time():
                    session = self._session = await self._server.connect()
                    await session.use(session.run(("LISTEN milepost", {}), ("LISTEN milepost_outbox", {})))
                await self._listen(session)
            self.tell((None,))  # who looks now learns that the store is away, and can say so to its readers
            self.let_go()
            await asyncio.sleep(random.uniform(*AGAIN_SECONDS))

    async def _listen(self, session: Session) -> None:
        await self._look(session)
        self.tell((None,))
        while True:
            heard = await session.use(_heard(session))
            if not heard or any(not self._own(pid) for pid in heard):
                await self._look(session)

    async def _look(self, session: Session) -> None:
        """See which tenants grew, and whether the outbox was filled."""
        async with in_time():
            rows = await session.use(session.rows("look", limit=MANY_TENANTS + 1))
        if not rows:
            raise away("the store is empty")
        secret, filled = rows[0][:2]
        if filled:
            self._relay()
        found: dict[str, tuple[int, Any]] = {name: (head, epoch) for _, _, name, head, epoch in rows if name}
        if secret != self._secret or len(found) > MANY_TENANTS:
            self.tell((None,))
        else:
            # one that this process moved meanwhile may be known to be further: that was told already
            self.tell([name for name, state in found.items() if self._known.get(name) != state])
        self._secret, self._known = secret, found


async def _heard(session: Session) -> list[int]:
    """The backends that notified, as soon as one does; none after ``LOOK_SECONDS``."""
    return [each.pid async for each in session.connection.notifies(timeout=LOOK_SECONDS, stop_after=1)]
