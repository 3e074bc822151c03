"""A job's progress between two commits: the first at once, then one for each window, the end takes the rest along.

Progress of one job is committed at most 20 times a second, and nobody waits for it: an ``advance`` inside the window is
answered at once, as the job will be, with the revision of the last commit. A crash loses at most one window of progress
of a job, never its start or its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from milepost import jobs
from milepost.commands import Advance
from milepost.engine import Engine
from milepost.errors import Conflict, Invalid, MilepostError, NotFound
from milepost.model import Job

WINDOW: Final = 0.05
TRIES: Final = 30  # a commit that meets a conflict looks again this often
MAX_SLOTS: Final = 10_000  # jobs whose progress is held back at once; beyond that it is committed as it comes

Name = tuple[str, str]  # tenant, job id


@dataclass(slots=True)
class _Slot:
    job: Job
    opened: float
    waiting: jobs.Progress | None = None
    timer: asyncio.TimerHandle | None = None


async def find_job(engine: Engine, tenant: str, job_id: str) -> Job | None:
    """The job as committed."""
    document = (await engine.get(tenant, [f"job:{job_id}"]))[0]
    return None if document is None else jobs.load(document)


async def load_job(engine: Engine, tenant: str, job_id: str) -> Job:
    """The job as committed. Raises NotFound."""
    job = await find_job(engine, tenant, job_id)
    if job is None:
        raise NotFound("There is no such job.")
    return job


class Coalescer:
    """Holds progress back for at most ``WINDOW`` seconds. Use within one event loop."""

    def __init__(self, engine: Engine, policy: jobs.Policy, now: Callable[[], float]) -> None:
        self._engine = engine
        self._policy = policy
        self._now = now
        self._slots: dict[Name, _Slot] = {}
        self._flushes: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Commit what is still held back."""
        for name in list(self._slots):
            await self._flush(name)
            self.forget(*name)
        await asyncio.gather(*self._flushes, return_exceptions=True)

    async def advance(self, tenant: str, job_id: str, command: Advance, allow: Callable[[Job], None]) -> Job:
        """Take progress, or a sign of life; ``allow`` raises where this job may not be written."""
        name = (tenant, job_id)
        slot = self._slots.get(name)
        job = slot.job if slot is not None else await load_job(self._engine, tenant, job_id)
        allow(job)
        if command.is_beat and job.state == "running":
            return await self._beat(name, job, command)
        progress = jobs.progress(command, self._now())
        slot = self._slots.get(name)
        if slot is None and len(self._slots) >= MAX_SLOTS:
            return await self._commit(name, job, progress, None)
        opened = time.monotonic()
        if slot is not None and opened - slot.opened < WINDOW:
            merged = progress if slot.waiting is None else jobs.merge(slot.waiting, progress)
            folded = jobs.advance(slot.job, merged, now=self._now())  # refuses what is ended or stale
            slot.waiting = merged
            return folded
        if slot is None:
            jobs.advance(job, progress, now=self._now())  # refuse before anything is held for it
            slot = self._slots[name] = _Slot(job, opened)
        if slot.waiting is not None:
            progress = jobs.merge(slot.waiting, progress)
            jobs.advance(slot.job, progress, now=self._now())  # refuse before what is waiting is taken along
            slot.waiting = None
        self._open_window(name, slot)
        return await self._commit(name, slot.job, progress, slot)

    def waiting(self, tenant: str, job_id: str) -> jobs.Progress | None:
        """What is held back for a job now."""
        slot = self._slots.get((tenant, job_id))
        return None if slot is None else slot.waiting

    def forget(self, tenant: str, job_id: str) -> None:
        """The job was written by another verb, which took along what was waiting."""
        slot = self._slots.pop((tenant, job_id), None)
        if slot is not None and slot.timer is not None:
            slot.timer.cancel()

    def overlay(self, tenant: str, job: Job) -> Job:
        """The job with the progress that is held back for it in this process."""
        slot = self._slots.get((tenant, job.id))
        if slot is None or slot.waiting is None or job.ended or job.attempt != slot.job.attempt:
            return job
        return jobs.advance(job, slot.waiting, now=self._now())

    async def touch(self, tenant: str, job: Job) -> bool:
        """Move the job's due time to where its own fields say; False where it has been written since."""
        due_at = jobs.due_at(job, self._policy)
        return due_at is None or await self._engine.touch(tenant, job.key, revision=job.rev, due_at=due_at)

    async def _beat(self, name: Name, job: Job, command: Advance) -> Job:
        """Renew the lease without a revision: nobody has to hear of a sign of life."""
        if command.attempt is not None and command.attempt != job.attempt:
            raise Conflict(code="stale_attempt", attempt=job.attempt)
        seen = replace(job, seen_at=self._now())
        if await self.touch(name[0], seen):
            return seen
        fresh = await load_job(self._engine, *name)
        return await self._commit(name, fresh, jobs.progress(command, self._now()), self._slots.get(name))

    async def _commit(self, name: Name, job: Job, progress: jobs.Progress, slot: _Slot | None) -> Job:
        for _ in range(TRIES):
            changed = jobs.advance(job, progress, now=self._now())
            try:
                write = jobs.document(changed, self._policy, replaces=job.rev)
                stored = (await self._engine.commit(name[0], [write]))[0]
            except Conflict:
                job = await load_job(self._engine, *name)
                if slot is not None:
                    slot.job = job
                continue
            changed = replace(changed, rev=stored.revision)
            if slot is not None and stored.revision > slot.job.rev:
                slot.job = changed
            return changed
        raise Conflict

    def _open_window(self, name: Name, slot: _Slot) -> None:
        slot.opened = time.monotonic()
        if slot.timer is not None:
            slot.timer.cancel()
        slot.timer = asyncio.get_running_loop().call_later(WINDOW, self._window_over, name)

    def _window_over(self, name: Name) -> None:
        slot = self._slots.get(name)
        if slot is None:
            return
        if slot.waiting is None:
            del self._slots[name]
            return
        task = asyncio.get_running_loop().create_task(self._flush(name))
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def _flush(self, name: Name) -> None:
        """Commit what a window has gathered. What the rules refuse now is dropped: the job has ended meanwhile."""
        slot = self._slots.get(name)
        if slot is None or slot.waiting is None:
            return
        progress, slot.waiting = slot.waiting, None
        self._open_window(name, slot)
        try:
            await self._commit(name, slot.job, progress, slot)
        except (Conflict, NotFound, Invalid):
            return
        except MilepostError:
            # the engine is away: keep the newest state and try again when the next window closes
            self._keep(slot, progress)

    @staticmethod
    def _keep(slot: _Slot, earlier: jobs.Progress) -> None:
        slot.waiting = earlier if slot.waiting is None else jobs.merge(earlier, slot.waiting)
