"""Streams as server-sent events: a plain ASGI endpoint that authorises, reads, and only then answers.

A native EventSource stops for good on any status but 200, so one (its Accept is exactly ``text/event-stream``) that
shall come again gets 200, one event with ``retry:``, and the end; 204 is the one portable word for "stop". Everybody
else gets the true status.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from milepost import dialects
from milepost.dialects import Reader
from milepost.errors import Forbidden, Invalid, MilepostError, NotFound, Unauthenticated, Unavailable
from milepost.hub import Hub
from milepost.model import TERMINAL, Identity, is_id
from milepost.server.access import Asker, identify
from milepost.server.handoff import EXTENSION, HandoffProtocol
from milepost.server.limits import Lease
from milepost.server.services import Services, services_of
from milepost.subscriber import Subscriber

HIGH_WATER: Final = 64 * 1024  # bytes that wait for a task that is sending; at this a subscriber lags
MAX_JOBS: Final = 50
NATIVE: Final = "text/event-stream"  # a browser's EventSource accepts just this
NATIVE_RETRY_MS: Final = 2000
HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class AsgiSink:
    """A subscriber's sink under any ASGI server: a bounded buffer that one task empties."""

    chunked = False

    def __init__(self, drained: Callable[[], None]) -> None:
        self._waiting: list[bytes] = []
        self._size = 0
        self._drained = drained
        self._full = False
        self._wake = asyncio.Event()
        self.ended = False

    def write(self, data: bytes) -> bool:
        """See ``Sink.write``. A page of a snapshot may go beyond the mark; nothing is added after it."""
        self._waiting.append(data)
        self._size += len(data)
        self._wake.set()
        self._full = self._size >= HIGH_WATER
        return not self._full

    def end(self) -> None:
        """See ``Sink.end``."""
        self.ended = True
        self._wake.set()

    async def run(self, send: Send) -> None:
        """Send what comes until ``end``; a send that the client does not take holds back this stream alone."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            data, self._size = b"".join(self._waiting), 0
            self._waiting.clear()
            last = self.ended
            await send({"type": "http.response.body", "body": data, "more_body": not last})
            if last:
                return
            if self._full:
                self._full = False
                self._drained()


class Asked(NamedTuple):
    """What a request for a stream says: headers and query by name, the job in its path, where it is from."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    job_id: str | None
    address: str | None

    @classmethod
    def of(cls, request: Request) -> Asked:
        """The same of a framework's request."""
        address = request.client.host if request.client else None
        return cls(request.headers, request.query_params, request.path_params.get("job_id"), address)


class Admitted(NamedTuple):
    """A stream that may begin; whoever does not begin it, or when it is over, releases it."""

    subscriber: Subscriber
    lease: Lease

    def release(self, hub: Hub) -> None:
        """Forget it and give its place back. Idempotent."""
        hub.close(self.subscriber)
        self.lease.release()


class StreamEndpoint:
    """``GET /api/stream``, and ``GET /api/jobs/{job_id}/stream`` where the path names a job.

    ``dialect``: the route's own, unless the request asks for another. ``notifications``: nothing else is told.
    """

    def __init__(self, dialect: str | None = None, *, notifications: bool = False) -> None:
        self._dialect = dialect
        self._notifications = notifications

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One stream, from its first byte to its last."""
        request = Request(scope, receive)
        services = services_of(request)
        admitted = await self.admit(services, Asked.of(request), identify(request, services, stream=True))
        if isinstance(admitted, Response):
            await admitted(scope, receive, send)
            return
        handed_over = False
        try:
            handed_over = await self._answer(request, services.hub, admitted, send)
        finally:
            if not handed_over:
                admitted.release(services.hub)

    async def admit(self, services: Services, asked: Asked, asking: Awaitable[Asker]) -> Admitted | Response:
        """Whether the stream may begin, with what it begins with read already; or what a native EventSource is told
        instead. Everybody else is told by what this raises.
        """
        native = asked.headers.get("accept") == NATIVE
        try:
            asker = await _asker(services, asked, asking)
        except Unavailable as error:  # of the keys, or of the tickets: whoever asks may well be allowed to
            if not native:
                raise
            return come_again(error, self._unsettled(asked), Reader(""))
        identity = asker.identity
        if not services.settings.streams_allowed(identity.tenant, identity.user):
            if not native:
                raise Forbidden(code="streaming_disabled")
            return Response(status_code=204)
        dialect = dialect_of(asked, services, identity, of_route=self._dialect)
        if dialect is not None and self._notifications:
            dialect = dialects.notifications_of(dialect)
        subscriber = _subscriber(asked, services, identity, asker.only, dialect or dialects.MILEPOST)
        try:
            admitted = await _open(services, asked, subscriber, kind_decides=dialect is None)
        except MilepostError as error:
            if not native:
                raise
            speaks, reader = dialect or self._unsettled(asked), subscriber.reader(services.admission.streams_of)
            return come_again(error, speaks, reader)
        if native and _is_over(subscriber, services):
            admitted.release(services.hub)
            return Response(status_code=204)
        return admitted

    def _unsettled(self, asked: Asked) -> dialects.Dialect:
        """What a refusal speaks before it is known who asks, or of which kind the job is."""
        name = asked.query.get("dialect") or self._dialect or ""
        return dialects.dialect(name) or (dialects.Dialect() if asked.job_id else dialects.MILEPOST)

    async def _answer(self, request: Request, hub: Hub, admitted: Admitted, send: Send) -> bool:
        """Answer with the stream; True where its connection is the hub's from now on, and its release too."""
        start = {"type": "http.response.start", "status": 200, "headers": HEADERS}
        if request.method == "HEAD":  # an answer without a body has no end that anybody could wait for
            await send(start)
            await send({"type": "http.response.body"})
            return False
        connection: HandoffProtocol | None = request.scope.get("extensions", {}).get(EXTENSION)
        if connection is None:
            await send(start)
        else:
            connection.hold_head()
            await send(start)
            if connection.hand_over(hub, admitted.subscriber, admitted.lease):
                return True
        await self._serve(hub, admitted.subscriber, request.receive, send)
        return False

    @staticmethod
    async def _serve(hub: Hub, subscriber: Subscriber, receive: Receive, send: Send) -> None:
        sink = AsgiSink(lambda: hub.drained(subscriber))
        hub.begin(subscriber, sink)
        sending = asyncio.ensure_future(sink.run(send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            # released before anything else is waited for: whoever left is no longer counted
            hub.close(subscriber)
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)


async def _asker(services: Services, asked: Asked, asking: Awaitable[Asker]) -> Asker:
    """Who asks for a stream; whoever guesses is counted too."""
    try:
        asker = await asking
    except Unauthenticated:
        services.admission.attempt(asked.address)
        raise
    if not asker.identity.may("consume") and not asker.identity.may("produce"):
        raise Forbidden("This needs the scope consume.")
    return asker


async def _open(services: Services, asked: Asked, subscriber: Subscriber, *, kind_decides: bool) -> Admitted:
    """Admit the stream and read what it begins with. Raises what refuses it; then nothing is held."""
    if services.draining:
        raise MilepostError(code="overloaded", retry_after=2)
    admitted = Admitted(subscriber, services.admission.connect(subscriber.identity, asked.address))
    try:
        await services.hub.open(subscriber)
        if subscriber.requested is not None:
            services.metrics.reconnected(asked.query.get("reason", ""))
        if kind_decides and subscriber.job is not None:
            subscriber.dialect = _kind_dialect(subscriber)
        elif subscriber.dialect.news_only and subscriber.only is None:
            _begin_at_head(subscriber, services)
    except BaseException:
        admitted.release(services.hub)
        raise
    return admitted


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def dialect_of(
    asked: Asked, services: Services, identity: Identity, *, of_route: str | None = None
) -> dialects.Dialect | None:
    """What was asked for, or the route's, or the tenant's; None: the job's kind decides, or it is the canonical one.

    Raises Invalid.
    """
    wanted = asked.query.get("dialect") or of_route
    name = wanted or services.settings.of_tenant(identity.tenant).dialect
    if name is None:
        return None
    found = dialects.dialect(name)
    if found is None:
        raise Invalid("There is no such dialect.", field="dialect")
    # a tenant whose pages know notifications alone may follow a job all the same
    return None if found.news_only and not wanted and asked.job_id else found


def _kind_dialect(subscriber: Subscriber) -> dialects.Dialect:
    assert subscriber.first is not None, "the stream was opened"
    kind = next(
        (label[5:] for d in subscriber.first[0].documents for label in d.labels if label.startswith("kind:")), ""
    )
    found = dialects.dialect(kind)
    return dialects.MILEPOST if found is None or found.news_only else found


def _begin_at_head(subscriber: Subscriber, services: Services) -> None:
    """Where there is no cursor to go on from, nothing is news yet; the head's stands for it in the first event."""
    assert subscriber.first is not None, "the stream was opened"
    page, _ = subscriber.first
    if subscriber.requested is None or subscriber.reset is not None or page.reset is not None:
        subscriber.first = page._replace(documents=[], reset=None), None
        subscriber.reset = None
        subscriber.cursor = page.cursor
    if not subscriber.first[0].documents and not page.more:
        subscriber.requested = services.seal.encode(subscriber.identity.tenant, page.cursor)


def _subscriber(
    asked: Asked, services: Services, identity: Identity, ticket_jobs: tuple[str, ...], dialect: dialects.Dialect
) -> Subscriber:
    job_id = asked.job_id
    only = frozenset(f"job:{job}" for job in job_list(asked.query.get("jobs"))) or None
    if job_id is not None:
        only = frozenset({f"job:{job_id}"})
    if ticket_jobs:
        narrowed = frozenset(f"job:{job}" for job in ticket_jobs)
        only = narrowed if only is None else only & narrowed
    requested = _last_event_id(asked)
    after = None if requested is None else services.seal.decode(identity.tenant, requested)
    return Subscriber(
        identity,
        dialect,
        after=after,
        requested=requested,
        only=only,
        job=None if job_id is None else f"job:{job_id}",
        everything=identity.may("admin") and only is not None,
    )


def job_list(text: str | None) -> list[str]:
    """The ids of ``?jobs=a,b``. Raises Invalid."""
    ids = text.split(",") if text else []
    if len(ids) > MAX_JOBS or not all(is_id(job) for job in ids):
        raise Invalid(f"jobs must be at most {MAX_JOBS} ids with commas between them.", field="jobs")
    return ids


def _last_event_id(asked: Asked) -> str | None:
    """The cursor to resume from; the header goes first, polyfills send only a query. "" is what a browser sends for
    "none".
    """
    query = asked.query
    sent = (
        asked.headers.get("last-event-id"),
        query.get("after"),
        query.get("lastEventId"),
        query.get("last_event_id"),
    )
    return next((text for text in sent if text), None)


def _is_over(subscriber: Subscriber, services: Services) -> bool:
    """Whether a job stream has nothing left to say: the cursor sent covers the end of the job's latest attempt."""
    requested = subscriber.requested
    if subscriber.job is None or subscriber.first is None or requested is None:
        return False
    page, _ = subscriber.first
    after = services.seal.decode(subscriber.identity.tenant, requested)
    if after is None or after.epoch != page.cursor.epoch:
        return False
    job = next(iter(page.documents))
    return orjson.loads(job.body)["state"] in TERMINAL and after.revision >= job.revision


def come_again(error: MilepostError, dialect: dialects.Dialect, reader: Reader) -> Response:
    """What a native EventSource is told in the place of an error that passes."""
    if isinstance(error, NotFound):
        reason, retry_ms = "overloaded", NATIVE_RETRY_MS
    else:
        reason = error.code if error.code == "rate_limited" else "overloaded"
        seconds = error.retry_after or NATIVE_RETRY_MS / 1000
        retry_ms = int(seconds * 1000 * random.uniform(1.0, 1.5))
    body = dialect.refusal(reader, reason, retry_ms, now=time.time())
    return Response(body, headers={name.decode(): value.decode() for name, value in HEADERS})
