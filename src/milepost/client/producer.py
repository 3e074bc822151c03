"""``AsyncMilepost``: report jobs and send notifications. ``sync.Milepost`` is a shell over it."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence, Sized
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack

from milepost.errors import Invalid
from milepost.model import Notification, dumps

from .fields import JobFields, NoteFields, note_fields, start_fields
from .line import Line
from .reporter import AsyncReporter
from .transaction import AsyncTransaction
from .transport import Token, is_http

if TYPE_CHECKING:
    from .consumer import Consumer, Event

T = TypeVar("T")

DEADLINE_SECONDS: Final = 30.0
LEASE_SECONDS: Final = 30.0  # the server's default


class AsyncMilepost:
    """A server, or an engine's URL, to report to.

    ``url`` is by default MILEPOST_URL, or http://127.0.0.1:8470; ``token`` MILEPOST_TOKEN. A function as ``token`` is
    asked for another one when the server refuses the last; it may be async and must not block. ``tenant`` counts only
    for an engine's URL, since a token names its own. ``deadline`` is how long, in seconds, a start, an end and a
    notification are repeated until they are acknowledged. ``lease`` (seconds, MILEPOST_LEASE_SECONDS or 30) is the
    server's: three signs of life are sent in each.

    One object serves any number of jobs. It connects when it is first used, and again after a fork or in another event
    loop. Raises ``Invalid`` for a URL that cannot be one.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: Token | None = None,
        tenant: str = "default",
        deadline: float = DEADLINE_SECONDS,
        lease: float | None = None,
    ) -> None:
        self._report_through(Line(url, token, tenant=tenant, deadline=deadline), lease)

    def _report_through(self, line: Line, lease: float | None) -> None:
        self._line = line
        self._lease = lease or float(os.environ.get("MILEPOST_LEASE_SECONDS") or LEASE_SECONDS)
        self._reporters: weakref.WeakSet[AsyncReporter] = weakref.WeakSet()

    @property
    def url(self) -> str:
        """Where it reports to."""
        return self._line.url

    # --- jobs ---------------------------------------------------------------------------------------------------

    def job(self, id: str | None = None, *, title: str, **fields: Unpack[JobFields]) -> AsyncReporter:
        """A job, to be entered with ``async with``. Fields as in ``POST /api/jobs``.

        Entering starts it: anew, as the next attempt where a job of this id has ended, or, where it is still live
        (queued by somebody else, or left by a worker that died), from where it stands. Entering raises what the server
        refuses it with, or ``Unavailable`` after the deadline. With ``attempt``, ``Conflict`` where it would begin or
        meet another one: a request that is delivered twice is then worked off once.
        """
        reporter = AsyncReporter(self._line, start_fields(id, title, fields), lease=self._lease)
        self._reporters.add(reporter)
        return reporter

    async def start_job(self, id: str | None = None, *, title: str, **fields: Unpack[JobFields]) -> dict[str, Any]:
        """Create a job that a worker will take up later, under its id, with ``job``. It stays ``queued`` until then.

        Returns the answer of ``POST /api/jobs``: ``job`` and, from a server, ``stream_url``.
        """
        return await self._line.deliver("start", start_fields(id, title, fields))

    async def cancel(self, job_id: str, reason: str | None = None) -> None:
        """Cancel a job, whoever works on it: its worker's next ``advance`` raises ``JobCancelled``."""
        await self._line.deliver("cancel", {} if reason is None else {"reason": reason}, job=job_id)

    async def track(
        self,
        iterable: Iterable[T] | AsyncIterable[T],
        *,
        title: str,
        id: str | None = None,
        **fields: Unpack[JobFields],
    ) -> AsyncGenerator[T, None]:
        """The items of ``iterable``, with a job that counts them; ``fields`` as for ``job``.

        The total is ``len(iterable)`` where it has one. A loop that is left before its end fails the job: to end it
        otherwise, use ``job``. (An async loop that is left ends its job when the iterator is closed.)
        """
        if fields.get("total") is None and isinstance(iterable, Sized):
            fields["total"] = len(iterable)
        done = 0
        async with self.job(id, title=title, **fields) as job:
            async for item in _each(iterable):
                yield item
                done += 1
                await job.advance(current=done)

    # --- notifications ------------------------------------------------------------------------------------------

    async def notify(self, user: str | None = None, *, title: str, **fields: Unpack[NoteFields]) -> list[Notification]:
        """Tell one user, several, or everyone in the tenant; returns what was stored, one for each user or one for all.

        Repeated until it is acknowledged; raises ``Unavailable`` after the deadline, and at once what the server
        refuses it with.
        """
        answer = await self._line.deliver("notify", note_fields(user, title, fields))
        stored = answer["notifications"] if "notifications" in answer else [answer["notification"]]
        return [Notification.load(dumps(raw), raw["seq"], raw["rev"]) for raw in stored]

    # --- in a transaction of the application's ------------------------------------------------------------------

    def in_transaction(self, connection: Any) -> AsyncTransaction:
        """The same verbs, as part of the transaction that a connection is in: rolled back, nobody hears of them.

        Needs the URL of a PostgreSQL database, and a connection to the same one: psycopg's ``AsyncConnection``,
        SQLAlchemy's ``AsyncConnection`` or ``AsyncSession``, or one of their kinds without ``await``.
        """
        return AsyncTransaction(self._line, connection)

    # --- listening ----------------------------------------------------------------------------------------------

    async def follow(self, job_id: str, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """The events of one job until it has ended; see ``Consumer.follow``. Needs a server, not an engine."""
        async with self._consumer() as consumer, aclosing(consumer.follow(job_id, after=after)) as events:
            async for event in events:
                yield event

    async def stream(self, *, jobs: Sequence[str] = (), after: str | None = None) -> AsyncGenerator[Event, None]:
        """All that is addressed to the token's user, for ever; see ``Consumer.stream``. Needs a server."""
        async with self._consumer() as consumer, aclosing(consumer.stream(jobs=jobs, after=after)) as events:
            async for event in events:
                yield event

    def _consumer(self) -> Consumer:
        if not is_http(self.url):
            raise Invalid("url: only a server has streams, not an engine", field="url")
        from .consumer import Consumer

        return Consumer(self.url, token=self._line.token)

    # --- the end ------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close connections. Jobs that are still open fail: nobody will report on them any more. Idempotent."""
        left = [reporter for reporter in self._reporters if reporter.is_open]
        await asyncio.gather(*(reporter.leave(_Closed("the process ended")) for reporter in left))
        await self._line.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Closed(BaseException):
    """Why a job failed whose client was closed. No ``Exception``, so its last words are short."""


async def _each(iterable: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(iterable, AsyncIterable):
        async for item in iterable:
            yield item
    else:
        for item in iterable:
            yield item
