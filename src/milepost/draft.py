"""What one request will write: jobs and notifications as the rules make them, before anything is committed.

A single verb and a batch take the same steps; a batch only takes more of them before it commits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from milepost import inbox, jobs
from milepost.coalescer import find_job
from milepost.commands import (
    Advance,
    BatchBeat,
    BatchCommand,
    BatchNotify,
    BatchStart,
    Cancel,
    Complete,
    Fail,
    Notify,
    StartJob,
)
from milepost.engine import Document, Engine, Write
from milepost.errors import Conflict, Forbidden, MilepostError, NotFound
from milepost.links import check_link
from milepost.model import Identity, Job, Notification

End = Complete | Fail | Cancel


def new_id() -> str:
    """A fresh id: the millisecond, then 52 random bits. It is a name, not a secret.

    With the time in front an index of ids grows at its end, and not with every id on another page: a publish writes a
    third of the pages. The system's own random bytes would cost a call that lets go of the GIL, and waiting for it
    while the writer thread is busy takes longer than all else in a publish. ``random`` is seeded anew after a fork.
    """
    return f"{time.time_ns() // 1_000_000:011x}{random.getrandbits(52):013x}"


@dataclass(frozen=True, slots=True)
class Terms:
    """What every draft of a ledger is made under."""

    engine: Engine
    policy: jobs.Policy
    link_origins: Sequence[str]
    notification_retention: float


@dataclass(slots=True)
class _Change:
    before: Job | None
    after: Job


@dataclass(slots=True)
class Draft:
    """One request's changes, all of one moment. ``note`` is what its answer needs to know beyond the documents."""

    terms: Terms
    identity: Identity
    now: float
    held: Mapping[str, jobs.Progress] = field(default_factory=dict)  # progress to be taken along, by the jobs' ids
    note: Any = None
    _jobs: dict[str, _Change] = field(default_factory=dict)
    _notes: list[Notification] = field(default_factory=list)

    async def start(self, command: StartJob, job_id: str) -> bool:
        """Begin a job or a new attempt; False where it is alive. Raises Conflict where the id is somebody else's."""
        existing = await self._find(job_id)
        if existing is not None:
            try:
                may_write(self.identity, existing)
            except MilepostError:
                raise Conflict("This id is taken.") from None
            existing = self._with_held(job_id, existing)
        terms = self.terms
        job, created = jobs.start(
            existing, command, job_id=job_id, creator=self.identity.user, policy=terms.policy, now=self.now
        )
        self._put(job_id, existing, job)
        return created

    async def advance(self, job_id: str, command: Advance) -> None:
        """Take progress, and what was held back for the job with it."""
        job = await self._writable(job_id)
        self._put(job_id, job, jobs.advance(job, jobs.progress(command, self.now), now=self.now))

    async def beat(self, job_id: str, attempt: int | None) -> None:
        """Take a sign of life."""
        await self.advance(job_id, Advance(attempt=attempt))

    async def end(self, job_id: str, command: End) -> None:
        """Complete, fail or cancel; the same end again changes nothing."""
        if isinstance(command, Complete) and command.output_url is not None:
            check_link(command.output_url, self.terms.link_origins, field="output_url")
        job = await self._writable(job_id)
        match command:
            case Complete():
                self._put(job_id, job, jobs.complete(job, command, now=self.now))
            case Fail():
                self._put(job_id, job, jobs.fail(job, command, now=self.now))
            case Cancel():
                self._put(job_id, job, jobs.cancel(job, command, now=self.now))

    async def notify(self, command: Notify) -> list[str]:
        """Tell one user, several, or everyone; the notifications' keys. Raises Conflict where the id is taken."""
        if command.href is not None:
            check_link(command.href, self.terms.link_origins)
        users: Iterable[str | None] = dict.fromkeys(command.users) if command.users else (command.user,)
        notes = [
            inbox.create(command, notification_id=command.id or new_id(), user=user, now=self.now) for user in users
        ]
        if command.id is not None:
            stored = await self.terms.engine.get(self.identity.tenant, [note.key for note in notes])
            if any(stored) or any(note.key == other.key for note in notes for other in self._notes):
                raise Conflict("This id is taken.")
        self._notes.extend(notes)
        return [note.key for note in notes]

    async def take(self, command: BatchCommand) -> list[str]:
        """Any command of a batch; the keys of the documents that answer it."""
        match command:
            case BatchNotify():
                return await self.notify(command)
            case BatchStart():
                job_id = command.job_id or new_id()
                await self.start(command, job_id)
            case BatchBeat(job=job_id):
                await self.beat(job_id, command.attempt)
            case Advance(job=job_id):
                await self.advance(job_id, command)
            case _:
                job_id = command.job
                await self.end(job_id, command)
        return [f"job:{job_id}"]

    def settle(self, before: Job, after: Job) -> None:
        """Put down what the rules made of a job that nobody reports on."""
        self._put(before.id, before, after)

    def plan(self) -> tuple[list[Write], list[Document]]:
        """The writes, and the jobs that stay as they were: the answer is made of these in this order."""
        writes: list[Write] = []
        ends: list[Notification] = []
        same: list[Document] = []
        for change in self._jobs.values():
            before, after = change.before, change.after
            if after is before:
                body, private = after.dump()
                same.append(Document(after.key, "job", after.rev, 0, after.audiences, body, private))
                continue
            writes.append(jobs.document(after, self.terms.policy, replaces=0 if before is None else before.rev))
            if after.ended and after.notify and not (before is not None and before.ended and before == after):
                told = inbox.of_job(after)
                ends.append(inbox.create(told, notification_id=new_id(), user=after.owner, now=self.now))
        retention = self.terms.notification_retention
        writes.extend([inbox.document(note, retention=retention, replaces=0) for note in (*self._notes, *ends)])
        return writes, same

    async def _find(self, job_id: str) -> Job | None:
        if job_id in self._jobs:
            return self._jobs[job_id].after
        return await find_job(self.terms.engine, self.identity.tenant, job_id)

    async def _writable(self, job_id: str) -> Job:
        job = await self._find(job_id)
        if job is None:
            raise NotFound("There is no such job.")
        may_write(self.identity, job)
        return self._with_held(job_id, job)

    def _with_held(self, job_id: str, job: Job) -> Job:
        """The job with the progress that was held back for it."""
        held = None if job_id in self._jobs else self.held.get(job_id)
        if held is None or job.ended:
            return job
        try:
            folded = jobs.advance(job, held, now=self.now)
        except MilepostError:
            return job  # another process has begun a new attempt meanwhile: it is that of an older one
        self._put(job_id, job, folded)
        return folded

    def _put(self, job_id: str, before: Job | None, after: Job) -> None:
        change = self._jobs.get(job_id)
        if change is None:
            self._jobs[job_id] = _Change(before, after)
        else:
            change.after = after


def may_write(identity: Identity, job: Job) -> None:
    """``produce`` writes the jobs that it created, ``produce:any`` any. Nobody learns of a job that is not theirs."""
    if job.creator == identity.user or identity.may("produce:any"):
        return
    if set(job.audiences) & set(identity.audiences):
        raise Forbidden("This token writes only jobs that it created.")
    raise NotFound("There is no such job.")
