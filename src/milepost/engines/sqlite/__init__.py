"""SQLite as an engine: one file, one writer thread per process, any number of processes of one host. The default.

Each commit is synced to the disk before it returns ([durable], for the machine too). Reads run on the caller's own
thread: they are index ranges of some ten microseconds. Other processes notice a commit within ``POLL_SECONDS``. A file
that is deleted or replaced while it is in use is refused from then on; so is every commit after a failed fsync.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from milepost.engine import Counts, Document, Due, Page, Question, Reach, Write
from milepost.engines.sqlite import reading
from milepost.engines.sqlite.file import DriverError, Handle, SqliteFile, away, explain
from milepost.engines.sqlite.group import checked
from milepost.engines.sqlite.hints import Hints
from milepost.engines.sqlite.reading import Ahead, Snapshot
from milepost.engines.sqlite.writer import Writer
from milepost.errors import Unavailable
from milepost.model import Cursor

__all__ = ["SqliteEngine"]

Values = ParamSpec("Values")
Result = TypeVar("Result")


class SqliteEngine:
    """``milepost.engine.Engine`` over one file. Safe for any number of event loops and threads, and across a fork.

    Raises ``Unavailable`` where the file cannot be opened or belongs to somebody else.
    """

    def __init__(self, path: str) -> None:
        self.file = self._open(path)
        self.writer = Writer(self.file)
        self._local = threading.local()
        self._closed = False

    @property
    def reach(self) -> Reach:
        """As far as the file: this host."""
        return Reach.HOST

    async def get(self, tenant: str, keys: Sequence[str]) -> list[Document | None]:
        """See ``Engine.get``."""
        return self._read(reading.get, tenant, keys)

    async def commit(self, tenant: str, writes: Sequence[Write]) -> list[Document]:
        """See ``Engine.commit``. Raises ``Invalid`` for a write that no store could hold."""
        if not writes:
            return []
        todo = checked(writes)
        return await self.writer.do(lambda group: group.commit(tenant, todo), len(todo))

    async def touch(self, tenant: str, key: str, *, revision: int, due_at: float) -> bool:
        """See ``Engine.touch``."""
        return await self.writer.do(lambda group: group.touch(tenant, key, revision, due_at))

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
        try:
            return self._read(reading.changes, tenant, audiences, after, now, limit, recent, keys, proven=False)
        except Ahead as ahead:
            epoch = ahead.epoch
            # Where a commit is not possible the reader gets its snapshot all the same, in the old epoch.
            with contextlib.suppress(Unavailable):
                await self.writer.do(lambda group: group.draw_epoch(tenant, epoch, now))
        return self._read(reading.changes, tenant, audiences, after, now, limit, recent, keys, proven=True)

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
        return self._read(reading.find, tenant, audiences, kind, labels, before, after, limit, oldest=oldest)

    async def count(self, tenant: str, questions: Sequence[Question]) -> Counts:
        """See ``Engine.count``."""
        return self._read(reading.count, tenant, questions)

    async def heads(self, tenants: Sequence[str]) -> list[Cursor]:
        """See ``Engine.heads``."""
        return self._read(reading.heads, tenants)

    async def due(self, *, now: float, limit: int = 256) -> list[Due]:
        """See ``Engine.due``."""
        return self._read(reading.due, now, limit)

    async def renew_epoch(self) -> None:
        """See ``Engine.renew_epoch``."""
        await self.writer.do(lambda group: group.renew_epoch())

    @contextlib.asynccontextmanager
    async def hints(self) -> AsyncIterator[AsyncIterator[str | None]]:
        """See ``Engine.hints``."""
        self._usable()
        try:
            hints = Hints(self.file, self.writer.own)
        except DriverError as error:
            raise explain(error) from error
        self.writer.listeners.append(hints)
        try:
            yield hints
        finally:
            with contextlib.suppress(ValueError):  # a forked child has none of its parent's
                self.writer.listeners.remove(hints)
            hints.close()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Reads of this thread inside the block are of one snapshot and share what it costs. Nothing may wait in it."""
        try:
            with self._handle().together():
                yield
        except DriverError as error:
            raise explain(error) from error

    async def prune(self, *, now: float, limit: int = 1000) -> int:
        """See ``Engine.prune``."""
        return await self.writer.do(lambda group: group.prune(now, limit), limit)

    async def ping(self) -> None:
        """See ``Engine.ping``. Writes one page, so that a full disk shows itself."""
        await self.writer.do(lambda group: group.probe())

    async def close(self) -> None:
        """See ``Engine.close``. Afterwards every other method raises ``Unavailable``."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self.writer.close)
            self.file.close()

    def _open(self, path: str) -> SqliteFile:
        return SqliteFile(path)

    def _usable(self) -> None:
        if self._closed:
            raise away("the engine is closed")
        self.file.look()

    def _read(
        self, function: Callable[Concatenate[Snapshot, Values], Result], *values: Values.args, **named: Values.kwargs
    ) -> Result:
        """One read transaction, here and now, on this thread's own connection."""
        self._usable()
        try:
            return self._handle().read(function, *values, **named)
        except DriverError as error:
            raise explain(error) from error

    def _handle(self) -> Handle:
        handle: Handle | None = getattr(self._local, "handle", None)
        if handle is None:
            handle = self._local.handle = Handle(self.file)
        return handle
