"""Notifications and jobs in a transaction of the application's own: stored if it commits, never heard of otherwise.

For producers straight on PostgreSQL, in the database that the application's own tables are in.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from milepost.errors import Invalid

from .fields import JobFields, NoteFields, note_fields, start_fields
from .line import Line

if TYPE_CHECKING:
    from .sync import LoopThread


class AsyncTransaction:
    """What ``AsyncMilepost.in_transaction`` gives. It belongs to the transaction that the connection is in.

    Readers hear of it once that is committed and a hub has seen to it, usually within some ten milliseconds.
    """

    def __init__(self, line: Line, connection: Any) -> None:
        self._line = line
        self._connection = connection

    async def notify(self, user: str | None = None, *, title: str, **fields: Unpack[NoteFields]) -> None:
        """As ``AsyncMilepost.notify``, with nothing to return yet."""
        await _awaited((await self.draft("notify", note_fields(user, title, fields)))())

    async def start_job(self, id: str | None = None, *, title: str, **fields: Unpack[JobFields]) -> str:
        """As ``AsyncMilepost.start_job``; returns the job's id. A job of this id that lives by then stays as it is."""
        start = start_fields(id, title, fields)
        await _awaited((await self.draft("start", start))())
        return str(start["id"])

    async def draft(self, verb: str, fields: Mapping[str, Any]) -> Callable[[], Coroutine[Any, Any, None] | None]:
        """What puts it into the transaction when it is called, on the connection's own thread. Raises ``Invalid``."""
        from .direct import DirectTransport

        transport = self._line.transport()
        if not isinstance(transport, DirectTransport):
            raise Invalid("url: only PostgreSQL can take part in a transaction, not a server", field="url")
        writes = await transport.draft(verb, fields)
        return lambda: transport.commit_in(self._connection, writes)


class Transaction:
    """What ``Milepost.in_transaction`` gives: ``AsyncTransaction`` without ``await``, for connections without it."""

    def __init__(self, transaction: AsyncTransaction, loop: LoopThread) -> None:
        self._async = transaction
        self._loop = loop

    def notify(self, user: str | None = None, *, title: str, **fields: Unpack[NoteFields]) -> None:
        """See ``AsyncTransaction.notify``."""
        self._put("notify", note_fields(user, title, fields))

    def start_job(self, id: str | None = None, *, title: str, **fields: Unpack[JobFields]) -> str:
        """See ``AsyncTransaction.start_job``."""
        start = start_fields(id, title, fields)
        self._put("start", start)
        return str(start["id"])

    def _put(self, verb: str, fields: Mapping[str, Any]) -> None:
        waiting = self._loop.run(self._async.draft(verb, fields))()
        if waiting is not None:
            waiting.close()
            raise Invalid("connection: an async one needs AsyncMilepost", field="connection")


async def _awaited(waiting: Coroutine[Any, Any, None] | None) -> None:
    if waiting is not None:
        await waiting
