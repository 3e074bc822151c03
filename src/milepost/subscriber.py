"""Who listens: one subscriber per stream, one waiter per long poll, and the sets that the hub finds them in.

The sink is the seam to the connection. Under any ASGI server it is a small buffer that a task empties
(``server.streams``); a transport that was handed over to the hub is another sink with the same two methods.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Protocol

from milepost.dialects import Dialect, Reader
from milepost.engine import Document, Page
from milepost.model import Cursor, Identity
from milepost.unread import Unread


class Sink(Protocol):
    """Where a subscriber's bytes go. With ``chunked`` they are to be in HTTP's chunks (``wire.chunk``)."""

    chunked: bool

    def write(self, data: bytes) -> bool:
        """Take the bytes, all of them. False: it is full now, and ``Hub.drained`` will be called when it is not."""
        ...

    def end(self) -> None:
        """Close after what was written."""
        ...


class State(enum.IntEnum):
    """Only a live subscriber is written to by the fan-out."""

    CATCHING_UP = 0
    LIVE = 1
    LAGGING = 2
    CLOSED = 3


class Listener(Protocol):
    """What the fan-out needs of whoever stands in a topic."""

    state: State

    def miss(self) -> None:
        """Something was committed that concerns it while it was not live."""
        ...


class Subscriber:
    """One stream. Made by the server, driven by the hub; nobody else changes it."""

    __slots__ = (
        "announced",
        "cursor",
        "dialect",
        "ends_at",
        "everything",
        "first",
        "identity",
        "job",
        "last_write",
        "missed",
        "only",
        "opened_at",
        "requested",
        "reset",
        "sink",
        "state",
    )

    def __init__(
        self,
        identity: Identity,
        dialect: Dialect,
        *,
        after: Cursor | None = None,
        requested: str | None = None,
        only: frozenset[str] | None = None,
        job: str | None = None,
        everything: bool = False,
    ) -> None:
        """
        ``after``: resume from here. ``requested``: the cursor as it was sent, for which ``after`` is None where it was
        none of ours.
        ``only``: document keys to narrow to. ``job``: the key of the one job whose end ends the stream.
        ``everything``: may see all of the tenant (scope admin).
        """
        self.identity = identity
        self.dialect = dialect
        self.everything = everything
        self.only = only
        self.job = job
        self.requested = requested
        self.cursor = after
        self.reset = "malformed" if requested is not None and after is None else None
        self.state = State.CATCHING_UP
        self.missed = False
        self.announced = False  # ``live`` is sent once per connection
        self.first: tuple[Page, Unread | None] | None = None
        self.sink: Sink | None = None
        self.opened_at = 0.0
        self.ends_at = 0.0  # of its life, or of its credential
        self.last_write = 0.0

    @property
    def audiences(self) -> tuple[str, ...] | None:
        """Whose documents it may see; None: all of the tenant's. Made when asked for: most streams are idle."""
        return None if self.everything else self.identity.audiences

    @property
    def topics(self) -> tuple[str, ...]:
        """The sets it stands in: its audiences, or the documents that it is narrowed to."""
        if self.only is not None:
            return tuple(f"#{key}" for key in self.only)
        return self.audiences or ()

    def reader(self, of_user: Callable[[Identity], int]) -> Reader:
        """What a dialect may say of whose stream this is."""
        return Reader(self.identity.user, self.job and self.job[4:], of_user(self.identity))

    def miss(self) -> None:
        """See ``Listener.miss``; the flag makes the catch-up read once more."""
        self.missed = True

    def may_see(self, document: Document) -> bool:
        """By the document's present audiences and the reader's present identity.

        Whoever sees the whole tenant has no use for what a document left behind in a single audience.
        """
        audiences = self.audiences
        if audiences is None:
            return "!" not in document.key
        return any(audience in audiences for audience in document.audiences)


class Waiter:
    """One long poll, woken by the first thing that concerns it."""

    __slots__ = ("event", "state", "topics")

    def __init__(self, topics: tuple[str, ...]) -> None:
        self.topics = topics
        self.state = State.CATCHING_UP
        self.event = asyncio.Event()

    def miss(self) -> None:
        """See ``Listener.miss``."""
        self.event.set()


class Topics:
    """Who stands in which topic; iterating costs nothing while nobody comes or goes.

    Most topics are a user's and have one listener, a tab or two: who stands there alone stands there without a set,
    which would take as much memory as the subscriber.
    """

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, Listener | _Crowd] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._of

    def add(self, name: str, listener: Listener) -> None:
        """Put a listener in; twice is once."""
        there = self._of.setdefault(name, listener)
        if there is listener:
            return
        if not isinstance(there, _Crowd):
            self._of[name] = there = _Crowd(there)
        there.add(listener)

    def discard(self, name: str, listener: Listener) -> None:
        """Take a listener out."""
        there = self._of.get(name)
        if isinstance(there, _Crowd):
            there.discard(listener)
        if there is listener or (isinstance(there, _Crowd) and not there):
            del self._of[name]

    def members(self, name: str) -> tuple[Listener, ...]:
        """Everyone in it now; later comings and goings do not disturb who iterates over it."""
        there = self._of[name]
        return there.members() if isinstance(there, _Crowd) else (there,)


class _Crowd:
    """The listeners of a topic that has, or had, several."""

    __slots__ = ("_members", "_tuple")

    def __init__(self, first: Listener) -> None:
        self._members: dict[Listener, None] = {first: None}
        self._tuple: tuple[Listener, ...] | None = None

    def add(self, listener: Listener) -> None:
        self._members[listener] = None
        self._tuple = None

    def discard(self, listener: Listener) -> None:
        if self._members.pop(listener, self) is None:
            self._tuple = None

    def members(self) -> tuple[Listener, ...]:
        if self._tuple is None:
            self._tuple = tuple(self._members)
        return self._tuple

    def __bool__(self) -> bool:
        return bool(self._members)


class Tenant:
    """What the hub knows of one tenant while somebody listens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.topics = Topics()
        self.listeners: dict[Listener, None] = {}  # in the order in which they came
        self.position: Cursor | None = None
        self.ready = asyncio.Lock()
        self.grew = asyncio.Event()
        self.degraded = False
        self.task: asyncio.Task[None] | None = None
