"""A hub over a real engine, with clocks and faults in a test's hand, and what it takes to write and read there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from milepost.commands import Batch, Notify, StartJob, check
from milepost.dialects import MILEPOST
from milepost.engine import Engine, Page
from milepost.errors import Unavailable
from milepost.hub import Hub
from milepost.ledger import Ledger
from milepost.model import Cursor, Identity
from milepost.subscriber import State, Subscriber
from milepost.testing import FakeClock, wait_until
from milepost.wire import CursorSeal
from tests.server.sse_client import Event
from tests.unit.readers import Reader

SEAL = CursorSeal(b"k" * 32)
ME = Identity("me", scopes=frozenset({"consume", "produce"}))
BEAT = 15.0


class Troubled:
    """An engine that is away when it is told to be, and that counts the reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.away = False
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def changes(self, tenant: str, audiences: Sequence[str] | None, after: Cursor | None, **more: Any) -> Page:
        """See ``Engine.changes``."""
        if self.away:
            raise Unavailable(code="engine_away")
        self.reads += 1
        return await self._engine.changes(tenant, audiences, after, **more)


class World:
    """A hub, its engine, a ledger to write with, and two clocks."""

    def __init__(self, engine: Engine) -> None:
        self.engine = Troubled(engine)
        self.wall, self.steady = FakeClock(), FakeClock(1000.0)
        self.ledger = Ledger(engine, now=self.wall)
        self.hub = Hub(
            self.engine,
            SEAL,
            heartbeat_seconds=BEAT,
            max_stream_seconds=600,
            now=self.wall,
            monotonic=self.steady,
        )

    def pass_time(self, seconds: float) -> None:
        """On both clocks."""
        self.wall.advance(seconds)
        self.steady.advance(seconds)

    async def open(self, identity: Identity = ME, reader: Reader | None = None, **more: Any) -> Reader:
        """A stream, from its first read on."""
        after = SEAL.decode(identity.tenant, more["requested"]) if "requested" in more else None
        made = Subscriber(identity, more.pop("dialect", MILEPOST), after=after, **more)
        await self.hub.open(made)
        reader = reader or Reader()
        reader.subscriber = made
        self.hub.begin(made, reader)
        return reader

    async def live(self, identity: Identity = ME, **more: Any) -> Reader:
        """A stream that has caught up."""
        reader = await self.open(identity, **more)
        await wait_until(lambda: reader.subscriber.state is State.LIVE)
        return reader

    async def job(self, id: str = "j", identity: Identity = ME, **more: Any) -> None:
        """Begin a job."""
        await self.ledger.start_job(identity, StartJob(id=id, title=id, **more))

    async def notify(self, user: str | None = "me", title: str = "x") -> None:
        """Tell a user, or everyone."""
        to: dict[str, Any] = {"everyone": True} if user is None else {"user": user}
        await self.ledger.notify(ME, Notify(title=title, **to))

    async def batch(self, *commands: dict[str, Any]) -> None:
        """Carry out commands in one commit."""
        await self.ledger.batch(ME, check(Batch, {"commands": list(commands)}))

    async def settled(self, reader: Reader, documents: int) -> None:
        """Wait until that many jobs and notifications have come."""
        await wait_until(lambda: len([n for n in reader.names if n in ("job", "notification")]) >= documents)


def of_job(job: str = "j") -> dict[str, Any]:
    """What makes a subscriber follow one job."""
    return {"only": frozenset({f"job:{job}"}), "job": f"job:{job}"}


def revisions(events: Sequence[Event]) -> list[int]:
    """Of the documents in them."""
    return [e.json[e.name]["rev"] for e in events if e.name in ("job", "notification")]
