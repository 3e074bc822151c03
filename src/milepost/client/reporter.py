"""One job as its worker sees it: what it says is gathered here and sent in the background.

``note`` is the only thing that the worker's own thread runs. It merges what is new into what is not sent yet, under a
lock, and wakes the sender at most once; so ten million ticks cost ten million dictionary writes, never a queue. What is
sent is absolute (``by`` is counted here), so that a repeated request never counts twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from milepost.errors import Conflict, Invalid, JobCancelled, MilepostError, NotFound

from .line import Line, backoff
from .transport import encode, is_passing

log = logging.getLogger("milepost.client")

INTERVAL: Final = 0.1  # seconds between two updates of a job
LAST_WORDS: Final = 5.0  # seconds for the end of a job whose process is being told to go
MAX_MESSAGE: Final = 5_000
MAX_NUMBER: Final = 2**53
ABSENT: Final[Any] = object()


class AsyncReporter:
    """One job and its worker: enter it to begin, advance it, leave it to end. Made by ``AsyncMilepost.job``.

    Leaving the block completes the job. An exception that leaves it fails the job with its code and goes on its way;
    so do Ctrl-C, ``SystemExit`` and a cancelled task, for whose last words there are 5 seconds. Only a process that is
    killed says nothing: then the lease runs out.

    In a process that was forked while the job was open, ``advance`` does nothing: the parent reports.
    """

    def __init__(self, line: Line, start: Mapping[str, Any], *, lease: float) -> None:
        self._line = line
        self._start = start
        self._beat_every = lease / 3
        self.id: str = start["id"]
        self.attempt = 0
        self.current: float = 0
        self.total: float | None = start.get("total")
        self.cancelled = False
        self._over = False  # the server takes nothing more of this attempt
        self._ended = False  # this worker has said how it ended
        self._pending: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._signalled = False
        self._in_flight = False
        self._failures = 0
        self._next = 0.0
        self._leaving: asyncio.Task[None] | None = None
        self._pid = 0
        self._thread = 0

    # --- the worker's side --------------------------------------------------------------------------------------

    async def advance(
        self,
        by: float = 1,
        *,
        current: float | None = None,
        total: float | None = None,
        message: str | None = None,
        counters: Mapping[str, float] | None = None,
        item: Mapping[str, Any] | None = ABSENT,
    ) -> None:
        """Say how far the work is: ``by`` more, or at ``current``. Sent in the background, at most 10 times a second.

        ``counters`` are absolute, merged by name; ``item`` is what is being worked on, None clears it. Raises
        ``JobCancelled`` once somebody cancelled the job, and nothing else: what the server refuses is logged.
        """
        self.note(by, current=current, total=total, message=message, counters=counters, item=item)
        if self._in_flight or (self._signalled and time.monotonic() >= self._next):
            await asyncio.sleep(0)  # a loop without another await would never let the sender run

    async def complete(self, *, result: Any = None, output_url: str | None = None) -> None:
        """The work is done: sent at once, until it is acknowledged. See ``fail`` for what is raised."""
        said = {"result": result, "output_url": output_url}
        await self._end("complete", {name: value for name, value in said.items() if value is not None})

    async def fail(self, code: str, message: str = "", details: Any = None) -> None:
        """The work is lost. ``code`` is of the taxonomy or your own (letters, digits and ``. _ : -``).

        Raises ``JobCancelled`` or ``Conflict`` where the job has ended otherwise or a newer attempt has begun, and
        ``Unavailable`` where nothing was acknowledged within the deadline: the outcome is then unknown.
        """
        said = {"code": code, "message": message, "details": details}
        await self._end("fail", {name: value for name, value in said.items() if value is not None})

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_ours:
            await self.leave(error)

    def note(
        self,
        by: float,
        *,
        current: float | None,
        total: float | None,
        message: str | None,
        counters: Mapping[str, float] | None,
        item: Mapping[str, Any] | None,
    ) -> None:
        """``advance``, from any thread and without waiting."""
        if self._over or self._ended or self._pid != os.getpid():
            if self.cancelled:
                raise JobCancelled(state="cancelled")
            return
        with self._lock:
            at = _number(current) if current is not None else self.current + (_number(by) or 0)
            pending = self._pending
            if at is not None and at >= self.current:
                self.current = pending["current"] = at
            if (known := _number(total)) is not None:
                self.total = pending["total"] = known
            if message is not None:
                pending["message"] = _clean(message)
            if isinstance(counters, Mapping):
                told = {name: number for name, value in counters.items() if (number := _number(value)) is not None}
                pending["counters"] = {**pending.get("counters", {}), **told}
            if item is not ABSENT:
                pending["item"] = dict(item) if isinstance(item, Mapping) else item
            wake, self._signalled = not self._signalled, True
        if wake:
            self._wake_up()

    def _wake_up(self) -> None:
        if threading.get_ident() == self._thread:
            self._wake.set()
        else:
            with contextlib.suppress(RuntimeError):  # the loop has closed: there is nobody left to tell
                self._loop.call_soon_threadsafe(self._wake.set)

    # --- the sender ---------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start the job (or its next attempt) and the sender. Raises as ``fail`` does."""
        if self._pid:
            raise RuntimeError(f"job {self.id} was begun here already; every attempt has a job() of its own")
        job = (await self._line.deliver("start", self._start))["job"]
        self.attempt, self.total = job["attempt"], job["total"]
        self.current = job["current"]
        self._loop = asyncio.get_running_loop()
        self._wake, self._ending = asyncio.Event(), asyncio.Event()
        self._pid, self._thread = os.getpid(), threading.get_ident()
        self._wake.set()  # entering the block is the first sign of life: queued → running
        self._sender = asyncio.create_task(self._send_all(), name=f"milepost:{self.id}")

    async def _send_all(self) -> None:
        while not self._over and not self._ending.is_set():
            await _wait(self._wake, self._beat_every)
            if self._ending.is_set():
                return
            self._wake.clear()
            began = time.monotonic()
            self._next = began + INTERVAL
            pause = await self._send(self._take())
            await _wait(self._ending, max(began + INTERVAL - time.monotonic(), pause))

    async def _send(self, fields: dict[str, Any]) -> float:
        """Send an update once; how long to be silent after it."""
        self._in_flight = True
        try:
            await self._line.transport().send("advance", {**fields, "attempt": self.attempt}, job=self.id)
        except MilepostError as error:
            return self._refused(error, fields)
        except Exception:
            # Whatever broke here must not break the work, nor end its beat.
            log.exception("job %s: an update could not be sent", self.id)
            return self._again(fields)
        finally:
            self._in_flight = False
        if self._failures:
            log.info("job %s: updates are accepted again", self.id)
        self._failures = 0
        return 0.0

    def _refused(self, error: MilepostError, fields: dict[str, Any]) -> float:
        if isinstance(error, JobCancelled):
            self.cancelled = self._over = True
        elif isinstance(error, Conflict | NotFound):
            self._over = True
            log.warning("job %s, attempt %s: no more updates are taken: %s", self.id, self.attempt, error)
        elif isinstance(error, Invalid):
            log.warning("job %s: an update was refused: %s", self.id, error)
            numbers = {name: value for name, value in fields.items() if name in {"current", "total"}}
            if numbers != fields:
                self._put_back(numbers)  # how far it is must not be lost with a message that nobody can store
        else:
            if self._failures == 0:
                log.warning("job %s: updates are held back: %s", self.id, error)
            return self._again(fields, error.retry_after)
        return 0.0

    def _again(self, fields: dict[str, Any], retry_after: float | None = None) -> float:
        self._failures += 1
        self._put_back(fields)
        return min(backoff(self._failures, at_least=retry_after), self._beat_every)

    def _take(self) -> dict[str, Any]:
        with self._lock:
            pending, self._pending, self._signalled = self._pending, {}, False
        return pending

    def _put_back(self, fields: dict[str, Any]) -> None:
        """Under what has come since: the newest state wins."""
        with self._lock:
            counters = {**fields.get("counters", {}), **self._pending.get("counters", {})}
            self._pending = {**fields, **self._pending}
            if counters:
                self._pending["counters"] = counters
            self._signalled = True
        self._wake.set()

    # --- the end ------------------------------------------------------------------------------------------------

    async def leave(self, error: BaseException | None) -> None:
        """End the job as its block was left, unless it has been told already how it ended."""
        if self._leaving is None:
            # In a task of its own: whoever cancels may cancel again while the last words are on their way.
            self._leaving = asyncio.ensure_future(self._leave(error))
        await asyncio.shield(self._leaving)

    async def _leave(self, error: BaseException | None) -> None:
        if self._ended:
            return
        if self.cancelled or isinstance(error, JobCancelled):
            await self._hush(0)
            return
        if error is None:
            try:
                await self.complete()
            except JobCancelled:
                # The block came to its end without looking; that it was cancelled is no error of its own.
                self.cancelled = True
            return
        await self._fail_with(error)

    async def _fail_with(self, error: BaseException) -> None:
        from milepost.jobs import error_of

        code, message = error_of(error)
        if isinstance(error, GeneratorExit):
            message = f"stopped at {self.current:g}" + ("" if self.total is None else f" of {self.total:g}")
        deadline = self._line.deadline if isinstance(error, Exception) else min(LAST_WORDS, self._line.deadline)
        try:
            await self._end("fail", {"code": code, "message": message}, deadline=deadline)
        except MilepostError as untold:
            # The error that ended the work is the one to be seen.
            log.warning("job %s: its failure could not be reported: %s", self.id, untold)

    async def _end(self, verb: Any, fields: Mapping[str, Any], *, deadline: float | None = None) -> None:
        if not self.is_ours:
            raise RuntimeError(f"job {self.id} was not begun in this process; enter it with `with`")
        body = {**fields, "attempt": self.attempt}
        encode(body)  # refuse what is not JSON before anything is ended
        until = time.monotonic() + (self._line.deadline if deadline is None else deadline)
        await self._hush(until - time.monotonic())
        rest = self._take()
        if rest and not self._over:
            await self._last_progress(rest, until)
        try:
            await self._line.deliver(verb, body, job=self.id, deadline=max(until - time.monotonic(), 1.0))
        except Invalid:
            self._resume()  # nothing was ended; leaving the block will say so
            raise
        except JobCancelled:
            self._ended = self.cancelled = True
            raise
        except MilepostError:
            # Refused for good, or unknown: another end on top of it could only contradict it.
            self._ended = True
            raise
        self._ended = True

    async def _last_progress(self, rest: dict[str, Any], until: float) -> None:
        try:
            body = {**rest, "attempt": self.attempt}
            await self._line.deliver("advance", body, job=self.id, deadline=until - time.monotonic())
        except MilepostError as error:
            # The end is what counts, and is refused for the same reason where there is one.
            if not is_passing(error):
                self._refused(error, {})
        except Exception:
            log.exception("job %s: its last update could not be sent", self.id)

    async def _hush(self, patience: float) -> None:
        """Stop the sender; what is in flight may arrive within ``patience`` seconds."""
        self._ending.set()
        self._wake.set()  # it may be waiting for something to say
        _, late = await asyncio.wait({self._sender}, timeout=max(patience, 0.01))
        for task in late:
            task.cancel()
            await asyncio.wait({task})

    def _resume(self) -> None:
        if not self._over:
            self._ending.clear()
            self._sender = asyncio.create_task(self._send_all(), name=f"milepost:{self.id}")

    @property
    def is_ours(self) -> bool:
        """Whether this process began the job: a child that was forked while it was open does not end it."""
        return self._pid == os.getpid()

    @property
    def is_open(self) -> bool:
        """Whether the job still takes what this worker says: not after its end, nor once a deadline has ended it."""
        return self.is_ours and not (self._ended or self._over)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event or so many seconds have passed, whichever is first."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _number(value: Any) -> float | None:
    """A number that the server takes; None for what is none. Those of NumPy, Decimal and Fraction become plain ones."""
    if value is None:
        return None
    try:
        number = value if type(value) in (int, float) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= MAX_NUMBER else None  # NaN is not


def _clean(message: object) -> str:
    """A message that can be stored: a file's name with broken bytes in it must not stop the work that reports it."""
    return str(message).replace("\0", "").encode(errors="replace").decode()[:MAX_MESSAGE]
