"""Milepost inside an existing FastAPI application: its sign-in, its process, its address.

    live = mount(app, user=current_user)

Pages then have ``/milepost/milepost.js``, endpoints and background tasks have ``live.job(…)`` and ``live.notify(…)``,
or the same with ``await`` below ``live.aio``.

Promised: who ``user`` does not know sees nothing; ``user`` is asked on every connection, poll and read mark, not on
every event; the application stops as quickly as without Milepost, open streams or not; what the application's lifespan
does at its start and at its end can use ``live``. Not promised: that ``user`` is asked again while a stream is open
(one lives ten minutes at most, and an ``Identity`` may have an end of its own).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any, Final
from uuid import UUID

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from milepost.client.direct import DirectTransport
from milepost.client.line import Line
from milepost.client.producer import DEADLINE_SECONDS, AsyncMilepost
from milepost.client.sync import Milepost
from milepost.client.transport import Transport
from milepost.engine import Engine, Reach
from milepost.errors import Invalid, Unavailable
from milepost.model import Identity, is_id
from milepost.server import create_app
from milepost.server.app import Application
from milepost.server.run import INTERRUPTED_DRAIN, STREAMS_ENDED_PER_SECOND
from milepost.settings import Settings

__all__ = ["Live", "mount"]

# In the scope of a request to Milepost: the request as the application around it knows it, and what its sign-in said.
_OUTSIDE: Final = "milepost.outside"
_WHO: Final = "milepost.who"

_log = logging.getLogger("milepost.integrations.fastapi")

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def mount(
    app: FastAPI,
    *,
    user: Callable[..., Any],
    tenant: str = "default",
    path: str = "/milepost",
    settings: Settings | None = None,
) -> Live:
    """Serve Milepost below ``path`` of an application, to whom the application's own sign-in knows.

    ``user``: the dependency by which the application's endpoints know who asks, with whatever it depends on itself.
    It returns a user's id (text, int or UUID), an object or mapping with an ``id``, an ``Identity`` (which may have
    another tenant, scopes, an end), or None; or raises ``HTTPException``. ``tenant``: where all of them belong, and
    what the returned producer reports. ``settings``: by default from the environment and ``milepost.toml``; without a
    secret no tokens are accepted, only the sign-in.

    Its routes go before the application's own, so that one that catches all does not catch these.

    Raises ``Invalid`` for settings with which ``milepost serve`` would not start either.
    """
    settings = settings or Settings.load()
    needs_key = bool(settings.secret or settings.jwt_public_key or settings.jwks_url)
    problems = [problem for problem in settings.problems() if needs_key or not problem.startswith("SECRET:")]
    if problems:
        raise Invalid("; ".join(problems))
    if not path.startswith("/") or path.endswith("/"):
        raise Invalid("path: must begin with / and not end with it", field="path")
    house = _House(settings, _SignIn(app, user, tenant), tenant)
    app.mount(path, house, name="milepost")
    app.router.routes.insert(0, app.router.routes.pop())
    app.router.lifespan_context = house.around(app.router.lifespan_context)
    return house.live


class Live(Milepost):
    """The producer of an application that Milepost is mounted in: ``Milepost`` without address or token.

    Its calls wait for the store, a few milliseconds: in ``async`` code use ``aio``, which is the same with ``await``.
    """

    aio: AsyncMilepost

    def __init__(self, line: Callable[[], Line], lease: float) -> None:
        self._wrap(_Inside(line(), lease))
        self.aio = _Inside(line(), lease)


class _Inside(AsyncMilepost):
    def __init__(self, line: Line, lease: float) -> None:
        self._report_through(line, lease)


class _House:
    """What is mounted: an ASGI application, made anew for each life of the application around it."""

    def __init__(self, settings: Settings, sign_in: _SignIn, tenant: str) -> None:
        self._settings = settings
        self._sign_in = sign_in
        self._application: Application | None = None
        self._watched: dict[int, tuple[Any, Any]] = {}  # signal → what was there before, what is there now
        self.live = Live(lambda: _HouseLine(self, settings, tenant), settings.lease_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One conversation."""
        if self._application is None:  # a server that knows no lifespan
            self._begin()
        assert self._application is not None
        await self._application({**scope, _OUTSIDE: scope}, receive, send)

    def around(self, inner: Lifespan) -> Lifespan:
        """The application's lifespan, inside of this one: so it may report at its start and at its end."""

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncGenerator[Any]:
            application = self._begin()
            try:
                await application.services.start()
            except Unavailable as error:  # the application has more to do; whoever asks for Milepost is told 503
                _log.error("the store cannot be opened: %s", error)
            try:
                async with inner(app) as state:
                    yield state
            finally:
                await self._end(application)

        return lifespan

    def engine(self) -> Engine | None:
        """The store that is open in this process, where whoever reports gains by sharing it.

        On SQLite that is one writer instead of two, and hints that come at once. The other engines' hints come from
        their server anyway, and their connections belong to one event loop.
        """
        services = self._application.services if self._application else None
        shared = services is not None and services.started and services.engine.reach is Reach.HOST
        return services.engine if services is not None and shared else None

    def _begin(self) -> Application:
        self._application = create_app(self._settings, authenticate=self._sign_in)
        self._watch_signals()
        return self._application

    async def _end(self, application: Application) -> None:
        self._application = None  # who reports from now on opens the store for itself
        await self.live.aio.close()
        await asyncio.to_thread(self.live.close)
        await application.services.stop()
        self._leave_signals()

    # uvicorn ends the lifespan only when all answers have been given, and a stream is an answer without an end. So the
    # streams are ended when the signal comes; what was there to hear it hears it too.

    def _watch_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():  # only there may it be asked for
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if number in self._watched or not callable(before):
                continue

            def stop(number: int, frame: FrameType | None, before: Callable[..., Any] = before) -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._drain, number)
                before(number, frame)

            self._watched[number] = before, stop
            signal.signal(number, stop)

    def _leave_signals(self) -> None:
        for number, (before, stop) in self._watched.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, before)
        self._watched.clear()

    def _drain(self, number: int) -> None:
        if self._application is None or not self._application.services.started:
            return
        services = self._application.services
        seconds = min(self._settings.drain_seconds, services.hub.stats.streams / STREAMS_ENDED_PER_SECOND)
        if number == signal.SIGINT:
            seconds = min(seconds, INTERRUPTED_DRAIN)
        self._draining = asyncio.ensure_future(services.drain(seconds))  # held, or it could be collected


class _HouseLine(Line):
    """Leads into the store that the mounted server has open, or, while it has none, into one of its own."""

    def __init__(self, house: _House, settings: Settings, tenant: str) -> None:
        super().__init__(settings.engine, None, tenant=tenant, deadline=DEADLINE_SECONDS)
        self._house = house
        self._settings = settings

    def open(self) -> Transport:
        """See ``Line.open``."""
        return DirectTransport(self.url, tenant=self.tenant, engine=self._house.engine(), settings=self._settings)


class _SignIn:
    """The application's dependency, asked outside of its endpoints: see ``milepost.server.services.Authenticate``.

    FastAPI has no public way to resolve a dependency, and its private one has changed its arguments often. What is
    public is a route: so there is one, which nobody can reach, and each connection is led through it first. That is
    how FastAPI itself would ask: caching, threads for what blocks, ``yield``, overrides in tests, exception handlers.
    """

    def __init__(self, app: FastAPI, user: Callable[..., Any], tenant: str) -> None:
        if not is_id(tenant):
            raise Invalid("tenant: must be 1 to 128 letters, digits, and . _ : -", field="tenant")

        async def tell(request: Request, who: Any = Depends(user)) -> Response:  # noqa: B008 - `user` is a local
            request.scope[_WHO].append(who)
            return Response()

        self._route = APIRoute("/", tell, dependency_overrides_provider=app)
        self._tenant = tenant
        self._is_explained = False

    async def __call__(self, connection: HTTPConnection) -> Identity | None:
        """Whom the application knows. Raises ``Unavailable`` where it answers that something of its own is broken."""
        told: list[Any] = []
        status = 0

        async def nothing() -> Message:  # the body, if there is one, is Milepost's to read
            return {"type": "http.request", "body": b"", "more_body": False}

        async def note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)

        await self._route.app({**connection.scope[_OUTSIDE], _WHO: told}, nothing, note)
        if told:
            return self._identity(told[0])
        if status >= 500:
            raise Unavailable("The application cannot tell who asks.")
        if status == 422 and not self._is_explained:  # a dependency that is written wrongly looks like nobody
            self._is_explained = True
            _log.warning("mount(user=…): FastAPI answered 422 in its place; it needs a parameter that did not come")
        return None

    def _identity(self, who: Any) -> Identity | None:
        if who is None or isinstance(who, Identity):
            return who
        known = who
        if isinstance(who, Mapping):
            known = who.get("id")
        elif not isinstance(who, str | int | UUID):
            known = getattr(who, "id", None)
        user = str(known) if isinstance(known, str | int | UUID) and not isinstance(known, bool) else ""
        if not is_id(user):
            # its text is not logged with the error: it may be somebody's name
            wanted = "an id of 1 to 128 letters, digits, and . _ : - (an e-mail address is none)"
            _log.error("mount(user=…): got %s, which has no id that can be used here; wanted is %s", type(who), wanted)
            raise TypeError(wanted)
        return Identity(user, self._tenant)
