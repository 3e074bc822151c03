"""Every verb that reads, in domain words: a job, jobs, notifications, the unread count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, get_args

from milepost import inbox, jobs
from milepost.coalescer import load_job
from milepost.engine import RECENT, Engine
from milepost.errors import Invalid, NotFound
from milepost.ledger import Ledger
from milepost.model import Cursor, Identity, Job, JobState, Notification, Status, is_id
from milepost.wire import CursorSeal

MAX_LIMIT: Final = 100
SCANS: Final = 20  # pages that are looked through for read ones before the answer is what was found


@dataclass(frozen=True, slots=True)
class Unread:
    """A user's unread count, true at the cursor ``as_of``."""

    count: int
    as_of: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Notifications, newest first. ``cursor`` is where ``after_id`` goes on; ``more``: newer (or older) ones remain."""

    notifications: list[Notification]
    cursor: str
    more: bool
    unread: Unread


class Queries:
    """The reads over one engine. They see the progress that the ledger of this process still holds back."""

    def __init__(self, engine: Engine, ledger: Ledger, seal: CursorSeal) -> None:
        self._engine = engine
        self._ledger = ledger
        self._seal = seal

    async def job(self, identity: Identity, job_id: str) -> Job:
        """A job that this identity may see. Raises NotFound."""
        job = await load_job(self._engine, identity.tenant, job_id)
        if not identity.may("admin") and not set(job.audiences) & set(identity.audiences):
            raise NotFound("There is no such job.")
        return self._ledger.progress.overlay(identity.tenant, job)

    async def jobs(
        self, identity: Identity, *, state: str | None, kind: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Job], str | None]:
        """The identity's jobs, newest first, and the cursor of the next page. Raises Invalid."""
        if state is not None and state not in get_args(JobState):
            raise Invalid(f"state must be one of {', '.join(get_args(JobState))}.", field="state")
        if kind is not None and not is_id(kind):
            raise Invalid("kind must be the name of a kind.", field="kind")
        before = None
        if cursor is not None:
            place = self._seal.decode(identity.tenant, cursor)
            if place is None:
                raise Invalid("cursor must be one that this server gave.", field="cursor")
            before = place.revision
        labels = [f"{name}:{value}" for name, value in (("state", state), ("kind", kind)) if value is not None]
        audiences = None if identity.may("admin") else identity.audiences
        page = await self._engine.find(
            identity.tenant, audiences, kind="job", labels=labels, before=before, limit=_clamp(limit)
        )
        found = [self._ledger.progress.overlay(identity.tenant, jobs.load(d)) for d in page.documents]
        if not page.more:
            return found, None
        return found, self._seal.encode(identity.tenant, Cursor(page.cursor.epoch, page.documents[-1].order))

    async def unread(self, identity: Identity) -> Unread:
        """The user's unread count, absolute."""
        counts = await self._engine.count(identity.tenant, inbox.unread_questions(identity.user))
        return Unread(inbox.unread(counts.values), self._seal.encode(identity.tenant, counts.cursor))

    async def notifications(
        self, identity: Identity, *, after: str | None, before: str | None, status: str | None, limit: int
    ) -> Listing:
        """The user's notifications, those that are not archived unless ``status`` asks for them.

        ``after`` (a cursor or an id): the OLDEST ``limit`` that were created later, so that a reader who goes on from
        ``cursor`` loses none. Otherwise the newest ``limit``, before the id ``before`` where stated.
        """
        if status is not None and status not in get_args(Status):
            raise Invalid(f"status must be one of {', '.join(get_args(Status))}.", field="status")
        tenant, limit = identity.tenant, _clamp(limit)
        since = None if after is None else await self._order_of(identity, after)
        upto = None if before is None else (await self._ledger.own_notification(identity, before)).order
        forward = since is not None
        mark = await self._read_up_to(identity)
        notes: list[Notification] = []
        # whether one is read depends on the mark too, which no label knows: look on until the page is full
        for _ in range(SCANS):
            page = await self._engine.find(
                tenant,
                (f"user:{identity.user}", "everyone"),
                kind="notification",
                labels=["status:archived"] if status == "archived" else [RECENT],
                before=upto,
                after=since,
                oldest=forward,
                limit=limit,
            )
            left = list(page.documents)
            while left and len(notes) < limit:
                note = inbox.load(left.pop(0)).seen_through(mark)
                since, upto = (note.seq, upto) if forward else (since, note.seq)
                if status is None or note.status == status:
                    notes.append(note)
            more = page.more or bool(left)
            if len(notes) == limit or not more:
                break
        place = Cursor(page.cursor.epoch, since) if forward and more and since is not None else page.cursor
        if forward:
            notes.reverse()
        return Listing(notes, self._seal.encode(tenant, place), more, await self.unread(identity))

    async def _read_up_to(self, identity: Identity) -> int:
        document = (await self._engine.get(identity.tenant, [inbox.inbox_key(identity.user)]))[0]
        return inbox.load_inbox(identity.user, document).read_up_to

    async def _order_of(self, identity: Identity, after: str) -> int | None:
        """The place that ``after_id`` names; None (begin with the newest) for one that is no longer known."""
        cursor = self._seal.decode(identity.tenant, after)
        if cursor is not None:
            head = (await self._engine.heads([identity.tenant]))[0]
            return cursor.revision if cursor.epoch == head.epoch and cursor.revision <= head.revision else None
        if not is_id(after):
            return None
        try:
            return (await self._ledger.own_notification(identity, after)).order
        except NotFound:
            return None


def _clamp(limit: int) -> int:
    return max(1, min(limit, MAX_LIMIT))
