"""``Milepost``: the same without ``await``. A shell over ``AsyncMilepost``, whose loop runs in one thread.

The thread starts with the first call, not with the object: so a ``Milepost`` may be made when a module is imported and
used after the server has forked its workers. A forked child gets a thread and connections of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Mapping, Sequence, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from milepost.model import Notification

from .fields import JobFields, NoteFields
from .producer import DEADLINE_SECONDS, AsyncMilepost
from .reporter import ABSENT, AsyncReporter
from .transaction import Transaction
from .transport import Token

if TYPE_CHECKING:
    from .consumer import Event

T = TypeVar("T")

CLOSE_SECONDS = 10.0  # how long the end of the process may wait for last words


class LoopThread:
    """One event loop in one daemon thread, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        _threads.add(self)

    def run(self, work: Coroutine[Any, Any, T], *, timeout: float | None = None) -> T:
        """Run it in the loop and wait for its end; an interrupt (Ctrl-C) here cancels it there."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Run it in the loop without waiting."""
        asyncio.run_coroutine_threadsafe(work, self._running())

    @property
    def is_current(self) -> bool:
        """Whether this is the loop's own thread, where waiting for the loop would be waiting for ever."""
        return self._thread is threading.current_thread()

    @property
    def is_running(self) -> bool:
        """Whether it was ever needed in this process."""
        return self._thread is not None

    def stop(self) -> None:
        """End the thread. The next ``run`` starts another one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join(CLOSE_SECONDS)

    def forget(self) -> None:
        """In a forked child: the thread is not here, and the lock may be held by one that is not here either."""
        self._lock = threading.Lock()
        if self._loop is not None:
            # Collecting it would close the descriptors that its parent's selector is registered with.
            _inherited.append(self._loop)
        self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="milepost", daemon=True)
                self._thread.start()
            return self._loop


_threads: weakref.WeakSet[LoopThread] = weakref.WeakSet()
_inherited: list[asyncio.AbstractEventLoop] = []


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _after_fork() -> None:
    for thread in list(_threads):
        thread.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Reporter:
    """One job and its worker: see ``AsyncReporter``, whose shell it is. Made by ``Milepost.job``."""

    def __init__(self, milepost: Milepost, reporter: AsyncReporter, loop: LoopThread) -> None:
        self._milepost = milepost  # it must outlive its jobs
        self._reporter = reporter
        self._loop = loop

    @property
    def id(self) -> str:
        """The job's id."""
        return self._reporter.id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; 0 before the job was entered."""
        return self._reporter.attempt

    @property
    def current(self) -> float:
        """How far it is: what this worker said, or where the job stood when it was entered."""
        return self._reporter.current

    @property
    def total(self) -> float | None:
        """How far there is to go, None while unknown."""
        return self._reporter.total

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled the job; ``advance`` then raises ``JobCancelled``."""
        return self._reporter.cancelled

    @property
    def is_open(self) -> bool:
        """Whether the job still takes what this worker says: not after its end, nor once a deadline has ended it."""
        return self._reporter.is_open

    def advance(
        self,
        by: float = 1,
        *,
        current: float | None = None,
        total: float | None = None,
        message: str | None = None,
        counters: Mapping[str, float] | None = None,
        item: Mapping[str, Any] | None = ABSENT,
    ) -> None:
        """See ``AsyncReporter.advance``. Never waits; may be called from any thread."""
        self._reporter.note(by, current=current, total=total, message=message, counters=counters, item=item)

    def complete(self, *, result: Any = None, output_url: str | None = None) -> None:
        """See ``AsyncReporter.complete``. Waits for the acknowledgement."""
        self._loop.run(self._reporter.complete(result=result, output_url=output_url))

    def fail(self, code: str, message: str = "", details: Any = None) -> None:
        """See ``AsyncReporter.fail``. Waits for the acknowledgement."""
        self._loop.run(self._reporter.fail(code, message, details))

    def __enter__(self) -> Self:
        self._loop.run(self._reporter.begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._reporter.is_ours:
            return
        if self._loop.is_current:
            # The collector ran here and closed a generator that nobody finished.
            self._loop.begin(self._reporter.leave(error))
        else:
            self._loop.run(self._reporter.leave(error))


class Milepost:
    """A server, or an engine's URL, to report to: ``AsyncMilepost`` without ``await``, with the same arguments.

    Safe to use from several threads and after a fork. At the end of the process, jobs that are still open fail.
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
        self._wrap(AsyncMilepost(url, token=token, tenant=tenant, deadline=deadline, lease=lease))

    def _wrap(self, client: AsyncMilepost) -> None:
        self._async = client
        self._loop = LoopThread()
        # also runs at exit, while daemon threads still do
        self._finalizer = weakref.finalize(self, _shut_down, self._async, self._loop)

    @property
    def url(self) -> str:
        """Where it reports to."""
        return self._async.url

    def job(self, id: str | None = None, *, title: str, **fields: Unpack[JobFields]) -> Reporter:
        """See ``AsyncMilepost.job``; to be entered with ``with``."""
        return Reporter(self, self._async.job(id, title=title, **fields), self._loop)

    def start_job(self, id: str | None = None, *, title: str, **fields: Unpack[JobFields]) -> dict[str, Any]:
        """See ``AsyncMilepost.start_job``."""
        return self._loop.run(self._async.start_job(id, title=title, **fields))

    def cancel(self, job_id: str, reason: str | None = None) -> None:
        """See ``AsyncMilepost.cancel``."""
        self._loop.run(self._async.cancel(job_id, reason))

    def track(
        self, iterable: Iterable[T], *, title: str, id: str | None = None, **fields: Unpack[JobFields]
    ) -> Generator[T, None, None]:
        """The items of ``iterable``, with a job that counts them; ``fields`` as for ``job``.

        The total is ``len(iterable)`` where it has one. A loop that is left before its end fails the job: to end it
        otherwise, use ``job``.
        """
        if fields.get("total") is None and isinstance(iterable, Sized):
            fields["total"] = len(iterable)
        with self.job(id, title=title, **fields) as job:
            for done, item in enumerate(iterable, 1):
                yield item
                job.advance(current=done)

    def notify(self, user: str | None = None, *, title: str, **fields: Unpack[NoteFields]) -> list[Notification]:
        """See ``AsyncMilepost.notify``."""
        return self._loop.run(self._async.notify(user, title=title, **fields))

    def in_transaction(self, connection: Any) -> Transaction:
        """The same verbs, as part of the transaction that a connection is in: rolled back, nobody hears of them.

        Needs the URL of a PostgreSQL database, and a connection to the same one: psycopg's ``Connection``, or
        SQLAlchemy's ``Connection`` or ``Session``.
        """
        return Transaction(self._async.in_transaction(connection), self._loop)

    def follow(self, job_id: str, *, after: str | None = None) -> Generator[Event, None, None]:
        """See ``AsyncMilepost.follow``."""
        return self._iterate(self._async.follow(job_id, after=after))

    def stream(self, *, jobs: Sequence[str] = (), after: str | None = None) -> Generator[Event, None, None]:
        """See ``AsyncMilepost.stream``."""
        return self._iterate(self._async.stream(jobs=jobs, after=after))

    def _iterate(self, events: AsyncGenerator[Event, None]) -> Generator[Event, None, None]:
        async def following() -> Event | None:
            return await anext(events, None)

        try:
            while (event := self._loop.run(following())) is not None:
                yield event
        finally:
            if self._loop.is_current:
                self._loop.begin(events.aclose())
            else:
                self._loop.run(events.aclose())

    def close(self) -> None:
        """Close connections and end the thread. Jobs that are still open fail. It may be used again."""
        _shut_down(self._async, self._loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _shut_down(client: AsyncMilepost, loop: LoopThread) -> None:
    """Last words, then silence. In a forked child that never used it there is nothing to say."""
    if not loop.is_running:
        return
    if not loop.is_current:
        # whatever happens to them: the process is on its way out, and the lease knows what to do
        with contextlib.suppress(Exception):
            loop.run(client.close(), timeout=CLOSE_SECONDS)
    loop.stop()
