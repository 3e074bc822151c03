"""The engine's protocol. This page is the specification; ``milepost.testing.EngineContract`` holds every promise.

An engine keeps *documents*. It gives each commit the tenant's next revisions, and it hints that it grew. It knows
nothing of jobs or inboxes: keys, kinds, audiences and labels are opaque words to it, bodies opaque bytes.

Promises (the bracketed ids occur in the contract suite and in docs/engines.md):

[atomic]     A commit is all or nothing. Each of its writes gets one revision, in order, next after the tenant's head.
[dense]      Revisions of a tenant are 1, 2, 3 … without a hole, and become visible in order, to every reader.
[durable]    A commit that returned survives the death of the process and, where the engine says so, of the machine.
[replaces]   ``Write.replaces`` n: the document must be at revision n; 0: it must be absent or gone. Otherwise the whole
             commit raises ``Conflict`` and changes nothing. None: whatever is there.
[order]      A document's ``order`` is the revision of its creation and stays with later writes of its key, unless a
             write states another one. A key that was gone and is written again is created anew.
[changes]    ``changes`` returns the newest revision of each document after a cursor, oldest first, and never skips one
             below the cursor it reports. Documents, cursor and head come from one snapshot of the store.
[audience]   A reader gets a document if one of its audiences is one of the reader's; ``audiences=None`` reads all.
[left]       A write that takes a document out of an audience leaves a *gone* document there, under the key
             ``<key>!<audience>`` and with a lower revision than the write's own.
[cover]      A document with the key ``<key>@<audience>`` covers the document ``<key>`` for readers of that audience: in
             ``find`` and in snapshots they get the cover only. ``changes`` after a cursor returns both. A gone document
             covers nothing, and for who reads all nothing is covered.
[snapshot]   ``changes`` without a cursor (or with a reset) is ONE page that ends at the head: what is open
             (``open_until > now``) and the newest ``recent`` others that carry the label ``recent``. No gone documents.
[reset]      A cursor of another epoch, ahead of the head, or below the floor is answered by a snapshot and
             ``Page.reset`` = ``epoch`` | ``ahead`` | ``expired``. ``ahead`` draws a new epoch (at most one a minute):
             the history was rewritten.
[prune]      ``prune`` turns expired documents into gone ones in place (a new revision, same audiences), and drops gone
             ones after ``GONE_SECONDS``, raising the tenant's floor to the highest revision dropped.
[count]      ``count`` answers all its questions and its cursor from one snapshot.
[touch]      ``touch`` moves ``due_at`` of a document that is still at the stated revision. It makes no revision.
[hint]       After a commit every open ``hints`` yields its tenant, or None for "look at everything". Hints may be late,
             doubled or lost; reads may not.
[tenant]     Nothing of one tenant is ever seen through another.

Not promised: order across tenants; that every revision of a document can be read (only the newest is kept).
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

from milepost.model import Cursor

GONE_SECONDS: Final = 24 * 3600.0
MAX_AUDIENCES: Final = 32
RECENT: Final = "recent"

ResetReason = Literal["epoch", "ahead", "expired"]


class Reach(enum.Enum):
    """How far a hint travels."""

    PROCESS = "process"
    HOST = "host"
    NETWORK = "network"


class Document(NamedTuple):
    """One stored document, at its newest revision. (A tuple, because thousands are made in a second.)

    ``key`` is unique in the tenant; ``body`` is opaque to the engine and empty when ``gone``; ``open_until``,
    ``expires_at`` and ``due_at`` are UNIX seconds.
    """

    key: str
    kind: str
    revision: int
    order: int
    audiences: tuple[str, ...]
    body: bytes
    private: bytes = b""
    labels: tuple[str, ...] = ()
    open_until: float = 0.0
    expires_at: float | None = None
    due_at: float | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """What a commit makes of one document. For ``replaces`` see [replaces].

    ``body=None`` makes it gone in place: it keeps the audiences that it had, and loses all else but its kind and order.
    """

    key: str
    kind: str
    body: bytes | None
    audiences: tuple[str, ...] = ()
    private: bytes = b""
    labels: tuple[str, ...] = ()
    order: int | None = None
    open_until: float = 0.0
    expires_at: float | None = None
    due_at: float | None = None
    replaces: int | None = None


class Page(NamedTuple):
    """Documents and the cursor that covers them, from one snapshot. ``more``: ask again after ``cursor``."""

    documents: list[Document]
    cursor: Cursor
    more: bool = False
    reset: ResetReason | None = None


class Question(NamedTuple):
    """How many documents of ``audience`` carry ``label`` and have an order above that of the document ``above``.

    ``above`` is a key; a document that does not exist, or is gone, counts as order 0. Gone documents do not count.
    """

    audience: str
    label: str
    above: str


class Counts(NamedTuple):
    """Answers in the order of the questions, and the cursor of the snapshot that they were counted in."""

    values: list[int]
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Due:
    """A document whose ``due_at`` has passed, and its tenant."""

    tenant: str
    document: Document


@runtime_checkable
class Engine(Protocol):
    """Documents with revisions, and a hint that one was written. The module's docstring is the specification.

    Every method raises ``Unavailable`` (code ``engine_away``) where the store does not answer; the outcome of a
    commit is then unknown, and nothing else is.
    """

    @property
    def reach(self) -> Reach:
        """How far this engine's hints travel."""
        ...

    async def get(self, tenant: str, keys: Sequence[str]) -> list[Document | None]:
        """The documents under these keys, in their order; None where there is none or it is gone."""
        ...

    async def commit(self, tenant: str, writes: Sequence[Write]) -> list[Document]:
        """Store all writes or none, and return them as stored. Raises ``Conflict``; see [atomic], [replaces]."""
        ...

    async def touch(self, tenant: str, key: str, *, revision: int, due_at: float) -> bool:
        """Move ``due_at``; False where the document is no longer at ``revision``. See [touch]."""
        ...

    async def changes(
        self,
        tenant: str,
        audiences: Sequence[str] | None,
        after: Cursor | None,
        *,
        now: float,
        limit: int = 256,
        recent: int = 20,
        keys: Sequence[str] | None = None,
    ) -> Page:
        """What these audiences may see and have not seen. See [changes], [snapshot], [reset].

        With ``keys``, only these documents (and, after a cursor, the gone ones that they left behind in ``audiences``).
        A snapshot of keys holds all of them, open or not.
        """
        ...

    async def find(
        self,
        tenant: str,
        audiences: Sequence[str] | None,
        *,
        kind: str,
        labels: Sequence[str] = (),
        before: int | None = None,
        after: int | None = None,
        oldest: bool = False,
        limit: int = 50,
    ) -> Page:
        """Documents of a kind that carry all ``labels``, by order: the newest ``limit`` first, or the ``oldest`` first.

        ``before`` and ``after`` bound the order, exclusively. ``Page.cursor`` is the head of the snapshot. Gone and
        covered documents are left out.
        """
        ...

    async def count(self, tenant: str, questions: Sequence[Question]) -> Counts:
        """All answers from one snapshot. See [count]."""
        ...

    async def heads(self, tenants: Sequence[str]) -> list[Cursor]:
        """Each tenant's epoch and head; a tenant without documents has a head of 0 and an epoch of its own."""
        ...

    async def due(self, *, now: float, limit: int = 256) -> list[Due]:
        """Documents of any tenant with ``due_at`` ≤ ``now``, soonest first."""
        ...

    async def renew_epoch(self) -> None:
        """Give every tenant a new epoch, so that every reader starts from a snapshot: after a restore by hand."""
        ...

    def hints(self) -> AbstractAsyncContextManager[AsyncIterator[str | None]]:
        """While open, yields the tenants that grew; None means "look at everything". See [hint]."""
        ...

    async def prune(self, *, now: float, limit: int = 1000) -> int:
        """Expire and drop up to ``limit`` documents; how many it was. See [prune]."""
        ...

    async def ping(self) -> None:
        """Return if the store answers and would accept a commit."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of the store. Idempotent."""
        ...
