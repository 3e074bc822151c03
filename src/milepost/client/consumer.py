"""Listening to a server's streams: one async iterator that resumes, whatever happens to its connections."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import orjson

from milepost.errors import Invalid, MilepostError, NotFound, RateLimited, Unauthenticated
from milepost.model import is_id

from .http import HttpTransport
from .line import backoff
from .sse import EventReader
from .transport import Token, is_passing

log = logging.getLogger("milepost.client")

JOB_STEPS: Final = (1.0, 2.0, 4.0, 8.0, 10.0)  # seconds between tries while one job is followed
STEPS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
STABLE_SECONDS: Final = 30.0  # a connection that lived this long makes the next failure the first again
UNBORN_SECONDS: Final = 60.0  # how long a job may not exist yet
HEARTBEAT_SECONDS: Final = 15.0  # until `connected` says otherwise

_JOB_ENDS: Final = {"completed", "failed", "cancelled"}
# What says the same in the dialects that have no `stream_end`, when the stream closes behind it.
_LAST_WORDS: Final = {"complete", "completed", "error", "failed", "enrichment.completed", "enrichment.failed"}
# Why a stream is opened again, in the words that the server counts under.
_REASONS: Final = {"timeout", "token_expired", "shutdown", "overloaded"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream: its name, its data, and the cursor to resume behind it (None where it has none)."""

    event: str
    cursor: str | None
    data: Mapping[str, Any]


class Consumer:
    """Streams of one server for one token. ``token`` as for ``AsyncMilepost``.

    ``patience`` is for how many seconds it may be without a connection before it raises ``Unavailable``; None: for
    ever, saying so in the log.
    """

    def __init__(self, url: str, *, token: Token | None = None, patience: float | None = None) -> None:
        self._http = HttpTransport(url, token=token)
        self._patience = patience

    async def follow(self, job_id: str, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """The events of one job: its state at once, each change, and an end after the job's.

        A job that does not exist yet is waited for, 60 seconds. Raises ``NotFound`` after that, and what ``stream``
        raises.
        """
        if not is_id(job_id):
            raise Invalid("id: must be 1 to 128 letters, digits, and . _ : -", field="id")
        async with aclosing(self.open(f"/jobs/{job_id}/stream", after=after, steps=JOB_STEPS)) as events:
            async for event in events:
                yield event

    async def stream(self, *, jobs: Sequence[str] = (), after: str | None = None) -> AsyncGenerator[Event, None]:
        """All that is addressed to the token's user, or only these jobs. It never ends by itself.

        After a lost connection it resumes behind the last event that it yielded: every document that changed since
        comes in its newest state, none is skipped. The state of a job may come again; its ``rev`` tells.

        Raises ``Unauthenticated`` where the token is refused and there is no other, ``Forbidden``, ``RateLimited``
        where newer streams of the user have taken its place, ``Invalid`` for what will never work.
        """
        params = {"jobs": ",".join(jobs)} if jobs else {}
        async with aclosing(self.open("/stream", params, after=after)) as events:
            async for event in events:
                yield event

    async def open(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        dialect: str = "milepost",
        after: str | None = None,
        steps: tuple[float, ...] = STEPS,
    ) -> AsyncGenerator[Event, None]:
        """The stream at a path below ``/api``, in any dialect. ``after`` is the cursor to resume from."""
        run = _Run(self._http, path, {**(params or {}), "dialect": dialect}, after, steps, self._patience)
        while True:
            async with aclosing(run.connection()) as events:
                async for event in events:
                    yield event
            if run.refused is not None:
                raise run.refused
            if run.over:
                return
            await run.pause()

    async def exists(self, job_id: str) -> bool:
        """Whether there is such a job to see, now. Raises what keeps it from being known."""
        try:
            await self._http.get(f"/jobs/{job_id}")
        except NotFound:
            return False
        return True

    async def check(self) -> None:
        """Raise what keeps this server from being listened to with this token, if anything does."""
        await self._http.get("/client-config")

    async def close(self) -> None:
        """Let go of the connections. Idempotent."""
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Run:
    """One stream through all its connections: where it is, and when it tries again."""

    def __init__(
        self,
        http: HttpTransport,
        path: str,
        params: Mapping[str, str],
        after: str | None,
        steps: tuple[float, ...],
        patience: float | None,
    ) -> None:
        self.over = False  # the stream has said all that it ever will
        self.refused: MilepostError | None = None
        self._http = http
        self._path = path
        self._params = dict(params)
        self._cursor = after or ""
        self._steps = steps
        self._patience = patience
        self._failures = 0
        self._told: float | None = None  # when to come back, in seconds, by the server
        self._reason = "network"
        self._last_event = ""
        self._silence = 2 * HEARTBEAT_SECONDS + 5
        self._began = self._alone_since = time.monotonic()

    async def connection(self) -> AsyncGenerator[Event, None]:
        """One connection's events. Raises nothing: ``over``, ``refused``, or else there is to be another one."""
        reader = EventReader(self._cursor)
        opened: float | None = None
        query = {**self._params, "reason": self._reason} if self._cursor else self._params
        headers = {"last-event-id": self._cursor} if self._cursor else {}
        self._reason = "network"
        try:
            async with self._http.stream(self._path, query, headers) as chunks:
                opened = time.monotonic()
                async for event in self._events(reader, chunks):
                    yield event
            self.over = self.over or self._last_event in _LAST_WORDS
        except TimeoutError:
            self._reason = "silent"
            log.warning("stream %s: nothing for %.0f seconds; connecting again", self._path, self._silence)
        except MilepostError as error:
            self._judge(error, opened)
        if opened is not None:
            self._alone_since = time.monotonic()
            if self._alone_since - opened >= STABLE_SECONDS:
                self._failures = 0
        if self._told is None and reader.retry_ms is not None:
            self._told = reader.retry_ms / 1000

    async def _events(self, reader: EventReader, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
        while True:
            async with asyncio.timeout(self._silence):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            for raw in reader.feed(chunk):
                data = _object(raw.data)
                self._learn(raw.event, data, raw.id)
                yield Event(raw.event, self._cursor or None, data)
                if raw.event == "stream_end":
                    return

    def _learn(self, event: str, data: Mapping[str, Any], id: str) -> None:
        """What an event says about the stream itself."""
        self._last_event = event
        if id:
            self._cursor = id
        match event:
            case "connected":
                if isinstance(seconds := data.get("heartbeat_seconds"), int | float):
                    self._silence = 2 * seconds + 5
            case "heartbeat" | "live":
                if isinstance(cursor := data.get("cursor"), str):
                    self._cursor = cursor
            case "reset":
                # Until the snapshot has come whole there is no place to resume from.
                self._cursor = ""
            case "stream_end":
                self._end(str(data.get("reason")), data.get("retry_ms"))
            case _:
                pass

    def _end(self, reason: str, retry_ms: object) -> None:
        if reason in _JOB_ENDS:
            self.over = True
        elif reason == "revoked":
            self.refused = Unauthenticated("access was withdrawn", code="token_invalid")
        elif reason == "replaced":
            self.refused = RateLimited("newer streams of this user have taken its place")
        else:
            self._reason = reason if reason in _REASONS else "other"
            self._told = retry_ms / 1000 if isinstance(retry_ms, int | float) else None
            self._failures = 0  # it said when to come back: nothing has failed

    def _judge(self, error: MilepostError, opened: float | None) -> None:
        """What a refused or broken connection means for the next one."""
        now = time.monotonic()
        if isinstance(error, NotFound) and self._path.startswith("/jobs/") and not self._cursor:
            unborn = UNBORN_SECONDS if self._patience is None else min(UNBORN_SECONDS, self._patience)
            if now - self._began > unborn:
                self.refused = error
            self._told = 1.0
            return
        alone = now - self._alone_since
        if not is_passing(error) or (opened is None and self._patience is not None and alone > self._patience):
            self.refused = error
        self._told = error.retry_after
        if self._failures == 0:
            log.warning("stream %s: %s; connecting again", self._path, error)

    async def pause(self) -> None:
        """Wait as the server said, else longer after each failure."""
        self._failures += 1
        told, self._told = self._told, None
        await asyncio.sleep(told if told is not None else backoff(self._failures, self._steps))


def _object(data: str) -> Mapping[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = data
    # Ours are always objects; what another server sends is shown as it is.
    return value if isinstance(value, dict) else {"data": value}
