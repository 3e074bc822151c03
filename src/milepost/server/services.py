"""What a running server is made of: the engine and everything that stands on it, from one settings object."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import HTTPConnection

from milepost.auth import Verifier
from milepost.bridge import Bridge
from milepost.engine import Engine, Reach, Write
from milepost.engines import Family, WritesForOthers, open_engine
from milepost.errors import Conflict
from milepost.hub import Hub
from milepost.leases import Leases
from milepost.ledger import Ledger
from milepost.model import Identity
from milepost.queries import Queries
from milepost.server.limits import Admission
from milepost.server.metrics import Metrics
from milepost.server.reports import Reports
from milepost.server.shares import Exchange
from milepost.server.siblings import Siblings
from milepost.server.tickets import SYSTEM_TENANT, TicketOffice
from milepost.settings import Settings
from milepost.wire import CursorSeal

SEAL_KEY: Final = "seal"

Authenticate = Callable[[HTTPConnection], Identity | Awaitable[Identity | None] | None]


class Services:
    """Started once, on the event loop that serves; ``start`` and ``stop`` are idempotent."""

    hub: Hub
    ledger: Ledger
    queries: Queries
    seal: CursorSeal
    tickets: TicketOffice

    def __init__(self, settings: Settings, engine: Engine | None, authenticate: Authenticate | None) -> None:
        self.settings = settings
        self.sign_in = authenticate
        self._given = engine
        self.verifier = Verifier(settings) if settings.secret or settings.jwt_public_key or settings.jwks_url else None
        self.admission = Admission(settings)
        self.metrics = Metrics()
        self.reports = Reports(self.metrics)
        self.siblings: Siblings | None = None
        self.family: Family | None = None
        self.exchange: Exchange | None = None
        self.bridge: Bridge | None = None
        self.draining = False
        self._starting = asyncio.Lock()
        self.started = False

    async def start(self) -> None:
        """Open the engine and begin to listen. Raises Unavailable where the store cannot be opened."""
        if self.started:
            return
        async with self._starting:
            if self.started:
                return
            settings = self.settings
            engine = self._given or open_engine(settings.engine, self.family)
            if isinstance(engine, WritesForOthers):
                await engine.receive()
            self.engine = self.metrics.measured(engine)
            if engine.reach is Reach.NETWORK or (engine.reach is Reach.HOST and self.family is not None):
                self.exchange = Exchange(self.admission, engine, self._process())
                await self.exchange.start()
            self.tickets = TicketOffice(self.engine)
            self.seal = CursorSeal(await _seal_key(self.engine))
            self.ledger = Ledger(
                self.engine,
                policy=settings.policy(),
                link_origins=settings.allowed_link_origins,
                notification_retention=settings.notification_retention,
            )
            self.queries = Queries(self.engine, self.ledger, self.seal)
            self.hub = Hub(
                self.engine,
                self.seal,
                heartbeat_seconds=settings.heartbeat_seconds,
                max_stream_seconds=settings.max_stream_seconds,
            )
            self.hub.stats.of_user = self.admission.streams_of
            self.leases = Leases(self.ledger, self.engine, self.ledger.policy)
            await self.hub.start()
            await self.leases.start()
            if settings.bridge is not None:
                self.bridge = Bridge(settings.bridge, self.ledger)
                await self.bridge.start()
            self.metrics.watch(self.hub.stats, self.leases, self.bridge)
            self.started = True

    def _process(self) -> str:
        """A name that no other process has; one that takes another's place in a family has its name too."""
        return secrets.token_hex(8) if self.family is None else f"{self.family.folder.name}.{self.family.number}"

    async def numbers(self) -> bytes:
        """What is counted, for Prometheus: of all processes of this server where there are several."""
        return self.metrics.render() if self.siblings is None else await self.siblings.render()

    async def drain(self, seconds: float) -> None:
        """Take no more streams and end those that are open, spread over at most ``seconds``."""
        self.draining = True
        if self.started:
            await self.hub.drain(seconds)

    async def stop(self) -> None:
        """Commit what is held back and let go of everything; an engine that was passed in stays open."""
        if not self.started:
            return
        self.started = False
        self.draining = True
        if self.bridge is not None:
            await self.bridge.stop()
        await self.leases.stop()
        await self.hub.stop()
        await self.ledger.close()
        if self.exchange is not None:
            await self.exchange.stop()
        if self._given is None:
            await self.engine.close()


async def _seal_key(engine: Engine) -> bytes:
    """The key that seals cursors: made once, stored with the documents, the same for every process on them."""
    while True:
        stored = (await engine.get(SYSTEM_TENANT, [SEAL_KEY]))[0]
        if stored is not None:
            return stored.body
        try:
            await engine.commit(SYSTEM_TENANT, [Write(SEAL_KEY, "seal", secrets.token_bytes(32), replaces=0)])
        except Conflict:
            continue


def services_of(connection: HTTPConnection) -> Services:
    """The services of the application that a request came to."""
    services: Any = connection.app.state.services
    assert isinstance(services, Services)
    return services
