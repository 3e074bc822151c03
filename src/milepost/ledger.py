"""Every verb that writes, in domain words: start_job, advance, end, notify, mark_read …

A verb reads what it changes, lets the pure rules make the new document, and commits it on condition that nothing came
between; a conflict means that somebody else was faster, and it looks again. The same ledger runs in the hub, behind its
HTTP routes, and in a producer that writes straight into an engine.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from milepost import inbox, jobs
from milepost.coalescer import TRIES, Coalescer
from milepost.commands import Advance, Batch, BatchCommand, BatchNotify, BatchStart, Notify, StartJob
from milepost.draft import Draft, End, Terms, may_write, new_id
from milepost.engine import Document, Due, Engine, Write
from milepost.errors import Conflict, Forbidden, MilepostError, NotFound
from milepost.idempotency import Once
from milepost.model import Identity, Job, Notification

T = TypeVar("T")

_LEDGER = Identity("milepost", scopes=frozenset({"produce:any"}))


class _Raced(Exception):
    """Something was committed between the read and the commit; a conflict that the rules found is no race."""


class Started(NamedTuple):
    """A job, and whether this request began it (or a new attempt of it)."""

    job: Job
    created: bool


class Ledger:
    """The verbs over one engine. Use within one event loop.

    Every verb raises ``Unavailable`` (``engine_away``) where the engine does not answer, and ``Forbidden``
    (``scope_missing``) where the identity may not do it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        policy: jobs.Policy | None = None,
        now: Callable[[], float] = time.time,
        link_origins: Sequence[str] = (),
        notification_retention: float = 90 * 86400.0,
    ) -> None:
        self.engine = engine
        self.policy = policy or jobs.Policy()
        self.now = now
        self.progress = Coalescer(engine, self.policy, now)
        self._terms = Terms(engine, self.policy, link_origins, notification_retention)

    async def close(self) -> None:
        """Commit the progress that is still held back."""
        await self.progress.close()

    # --- jobs ---------------------------------------------------------------------------------------------------

    async def start_job(self, identity: Identity, command: StartJob, once: Once | None = None) -> Started:
        """Begin a job, or a new attempt of one that has ended; a live job is answered as it is.

        Raises Conflict ``conflict`` where the id is taken by a job that this identity may not write.
        """
        job_id = command.id or new_id()

        async def steps(draft: Draft) -> None:
            draft.note = await draft.start(command, job_id)

        documents, created = await self._carry_out(identity, steps, once, [job_id])
        return Started(_job(documents), created)

    async def advance(self, identity: Identity, job_id: str, command: Advance) -> Job:
        """Take progress, or a sign of life, and answer the job as it is with it. Never waits for other progress.

        Raises NotFound, Forbidden, Conflict (``job_ended``, ``stale_attempt``).
        """
        _require(identity, "produce")
        return await self.progress.advance(identity.tenant, job_id, command, lambda job: may_write(identity, job))

    async def end(self, identity: Identity, job_id: str, command: End, once: Once | None = None) -> Job:
        """Complete, fail or cancel a job; the same end again is no error, another one is ``job_ended``."""

        async def steps(draft: Draft) -> None:
            await draft.end(job_id, command)

        documents, _ = await self._carry_out(identity, steps, once, [job_id])
        return _job(documents)

    async def settle_overdue(self, due: Due) -> Job | None:
        """What must happen to a job that nobody reports on: it stalls, or it fails.

        None where nothing had to happen, or where the worker reported meanwhile.
        """
        now = self.now()
        job = jobs.heard(jobs.load(due.document), self.policy, due_at=due.document.due_at, now=now)
        settled = jobs.overdue(job, self.policy, now=now)
        if settled is None:
            await self.progress.touch(due.tenant, job)
            return None
        draft = Draft(self._terms, replace(_LEDGER, tenant=due.tenant), now)
        draft.settle(job, settled)
        writes, _ = draft.plan()
        async with self.progress.hold(due.tenant, [job.id]) as hold:
            if hold.progress:
                return None  # it was heard of a moment ago; what it said is committed first
            try:
                hold.settle(await self.engine.commit(due.tenant, writes))
            except Conflict:
                return None
        return settled

    # --- notifications ------------------------------------------------------------------------------------------

    async def notify(self, identity: Identity, command: Notify, once: Once | None = None) -> list[Document]:
        """Tell one user, several, or everyone; the notifications as stored. Raises Conflict where the id is taken."""

        async def steps(draft: Draft) -> None:
            await draft.notify(command)

        documents, _ = await self._carry_out(identity, steps, once)
        return documents

    async def mark_read(self, identity: Identity, notification_id: str) -> None:
        """Mark one notification read. Raises NotFound."""
        await self._mark(identity, notification_id, inbox.read)

    async def archive(self, identity: Identity, notification_id: str) -> None:
        """Archive one notification. Raises NotFound."""
        await self._mark(identity, notification_id, inbox.archive)

    async def mark_all_read(self, identity: Identity, up_to: str | None = None) -> None:
        """Mark all read that were created up to now, or up to that notification. One small commit for any number."""
        if up_to is None:
            mark = (await self.engine.heads([identity.tenant]))[0].revision
        else:
            mark = (await self.own_notification(identity, up_to)).order
        key = inbox.inbox_key(identity.user)

        async def attempt() -> None:
            document = (await self.engine.get(identity.tenant, [key]))[0]
            box = inbox.load_inbox(identity.user, document)
            if box.read_up_to < mark:
                moved = replace(box, read_up_to=mark)
                write = moved.document(replaces=document.revision if document else 0)
                await self._commit(identity.tenant, [write])

        await _until_settled(attempt)

    async def own_notification(self, identity: Identity, notification_id: str) -> Document:
        """A notification as this user has it: the own copy of a broadcast before the broadcast. Raises NotFound."""
        key, audience = f"notification:{notification_id}", f"user:{identity.user}"
        own, stored = await self.engine.get(identity.tenant, [f"{key}@{audience}", key])
        document = own or stored
        if document is None or not {audience, "everyone"}.intersection(document.audiences):
            raise NotFound("There is no such notification.")
        return document

    async def _mark(self, identity: Identity, notification_id: str, rule: Callable[..., Notification]) -> None:
        async def attempt() -> None:
            document = await self.own_notification(identity, notification_id)
            note = inbox.load(document)
            marked = rule(note, now=self.now())
            if marked is note:
                return
            retention, revision = self._terms.notification_retention, document.revision
            if note.user is None:
                first = "@" not in document.key
                write = inbox.copy(marked, user=identity.user, retention=retention, replaces=0 if first else revision)
            else:
                write = inbox.document(marked, retention=retention, replaces=revision)
            await self._commit(identity.tenant, [write])

        await _until_settled(attempt)

    # --- several at once ----------------------------------------------------------------------------------------

    async def batch(self, identity: Identity, batch: Batch, once: Once | None = None) -> list[list[Document]]:
        """Carry out commands in order, in one commit; for each the documents that it wrote, or left as they were.

        One bad command refuses all; its error names it by ``details["index"]``.
        """

        async def steps(draft: Draft) -> None:
            draft.note = []
            for index, command in enumerate(batch.commands):
                try:
                    draft.note.append(await draft.take(command))
                except MilepostError as error:
                    error.details["index"] = index
                    raise

        named = [_named(command) for command in batch.commands]
        job_ids = [job_id for job_id in named if job_id is not None]
        documents, answers = await self._carry_out(identity, steps, once, job_ids)
        by_key = {document.key: document for document in documents}
        return [[by_key[key] for key in keys] for keys in answers]

    async def _carry_out(
        self,
        identity: Identity,
        steps: Callable[[Draft], Awaitable[None]],
        once: Once | None,
        job_ids: Sequence[str] = (),
    ) -> tuple[list[Document], Any]:
        """Draft, commit, and draft again where something came between. Answers the documents and the draft's note.

        ``job_ids``: the jobs whose progress the steps take along.
        """
        _require(identity, "produce")
        tenant, user = identity.tenant, identity.user

        async def attempt() -> tuple[list[Document], Any]:
            if once is not None:
                record = (await self.engine.get(tenant, [once.document_key(user)]))[0]
                if record is not None:
                    outcome = once.replay(record)
                    # Why it is asked again may be that no replica confirmed it: a write behind it has to be confirmed,
                    # or what is acknowledged now would be lost with this server.
                    await self.engine.ping()
                    return outcome
            async with self.progress.hold(tenant, job_ids) as hold:
                draft = Draft(self._terms, identity, self.now(), hold.progress)
                await steps(draft)
                writes, same = draft.plan()
                if once is not None:
                    last = once.record(user, writes, same, note=draft.note, now=self.now())
                    stored = await self._commit(tenant, [*writes, last])
                elif writes:
                    stored = await self._commit(tenant, writes)
                else:
                    stored = []
                hold.settle(stored)
            return [*stored[: len(writes)], *same], draft.note

        return await _until_settled(attempt)

    async def _commit(self, tenant: str, writes: Sequence[Write]) -> list[Document]:
        try:
            return await self.engine.commit(tenant, writes)
        except Conflict as conflict:
            raise _Raced from conflict


async def _until_settled(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until nothing comes between, waiting a little longer each time."""
    for tried in range(TRIES):
        try:
            return await attempt()
        except _Raced:
            await asyncio.sleep(random.uniform(0, 0.002 * tried))
    raise Conflict


def _named(command: BatchCommand) -> str | None:
    """The job that a command of a batch names."""
    if isinstance(command, BatchNotify):
        return None
    return command.job_id if isinstance(command, BatchStart) else command.job


def _job(documents: Sequence[Document]) -> Job:
    return jobs.load(next(document for document in documents if document.kind == "job"))


def _require(identity: Identity, scope: str) -> None:
    if not identity.may(scope):
        raise Forbidden(f"This needs the scope {scope}.")
