"""A job's progress between two commits: the first at once, then one for each window, the end takes the rest along.

Progress of one job is committed at most 20 times a second, and nobody waits for it: an ``advance`` inside the window is
answered at once, as the job will be, with the revision of the last commit. A crash loses at most one window of progress
of a job, never its start or its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from milepost import jobs
from milepost.commands import Advance
from milepost.engine import Document, Engine
from milepost.errors import Conflict, MilepostError, NotFound, Unavailable
from milepost.model import Job

WINDOW: Final = 0.05
KEPT: Final = 1.0  # a job is remembered so long after its window: whoever reports does so again, without a read of it
TRIES: Final = 30  # a commit that meets a conflict looks again this often
MAX_SLOTS: Final = 10_000  # jobs whose progress is held back at once; beyond that it is committed as it comes

Name = tuple[str, str]  # tenant, job id


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


@dataclass(slots=True)
class _Slot:
    """A job whose progress is held back: what was acknowledged is ``job``, then ``flying``, then ``waiting``.

    ``job`` is as last committed. ``flying`` is on its way into the store, by whoever has the ``lock``.
    """

    job: Job
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    open_until: float = 0.0
    kept: bool = False  # nothing is held back any more
    flying: jobs.Progress | None = None
    waiting: jobs.Progress | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether progress is held back now."""
        return time.monotonic() < self.open_until

    def give_back(self) -> None:
        """What was on its way did not arrive: it waits again, before what came since."""
        self.waiting, self.flying = _joined(self.flying, self.waiting), None


class Hold:
    """Jobs that a verb is about to write, and the progress that it takes along: ``progress``, by the jobs' ids.

    While entered nothing else is committed for these jobs by this coalescer. What is not ``settle``d by its end goes
    back to where it was.
    """

    def __init__(self, held: Mapping[Name, _Slot], names: Sequence[Name], drop: Callable[[Name, _Slot], None]) -> None:
        self._held = held
        self._names = names
        self._drop = drop
        self._locked: list[_Slot] = []
        self._slots: dict[Name, _Slot] = {}
        self.progress: dict[str, jobs.Progress] = {}

    async def __aenter__(self) -> Self:
        try:
            for name in self._names:
                slot = self._held.get(name)
                if slot is not None:
                    await slot.lock.acquire()
                    self._locked.append(slot)
                    if self._held.get(name) is slot:
                        self._slots[name] = slot
        except asyncio.CancelledError:
            self._unlock()
            raise
        for (_, job_id), slot in self._slots.items():
            slot.flying, slot.waiting = slot.waiting, None
            if slot.flying is not None:
                self.progress[job_id] = slot.flying
        return self

    async def __aexit__(self, *_: object) -> None:
        for slot in self._slots.values():
            slot.give_back()
        self._unlock()

    def settle(self, stored: Iterable[Document]) -> None:
        """These were committed, the jobs among them with their progress."""
        if not self._slots:
            return
        by_key = {document.key: document for document in stored}
        for name, slot in list(self._slots.items()):
            document = by_key.get(f"job:{name[1]}")
            if document is None:
                continue
            del self._slots[name]
            slot.job, slot.flying = jobs.load(document), None
            if slot.job.ended:
                self._drop(name, slot)
            elif slot.job.state != "running":
                slot.open_until = 0.0  # what is heard next is news, and is told at once

    def _unlock(self) -> None:
        for slot in self._locked:
            slot.lock.release()


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
        for name, slot in list(self._slots.items()):
            await self._flush(name, slot)
            self._drop(name, slot)
        await asyncio.gather(*self._flushes, return_exceptions=True)

    async def advance(self, tenant: str, job_id: str, command: Advance, allow: Callable[[Job], None]) -> Job:
        """Take progress, or a sign of life; ``allow`` raises where this job may not be written."""
        name = (tenant, job_id)
        progress = jobs.progress(command, self._now())
        for _ in range(TRIES):
            slot = self._slots.get(name)
            job = slot.job if slot is not None else await load_job(self._engine, tenant, job_id)
            allow(job)
            slot = self._slots.get(name)
            if command.is_beat and job.state == "running" and (slot is None or not (slot.flying or slot.waiting)):
                seen = await self._beat(tenant, job, command)
                if seen is not None:
                    return seen
                if slot is None:
                    continue
            if slot is None:
                if len(self._slots) >= MAX_SLOTS:
                    return await self._commit(tenant, _Slot(job), progress)
                slot = self._slots[name] = _Slot(job)
            if slot.open:
                return self._hold_back(slot, progress)
            async with slot.lock:
                if self._slots.get(name) is slot and not slot.open:
                    return await self._commit_with(name, slot, progress)
        raise Conflict

    def hold(self, tenant: str, job_ids: Iterable[str]) -> Hold:
        """To be entered by who writes these jobs: their progress is taken along once and for all or not at all."""
        # in order, so that no two wait for each other
        return Hold(self._slots, [(tenant, job_id) for job_id in sorted(set(job_ids))], self._drop)

    def overlay(self, tenant: str, job: Job) -> Job:
        """The job with the progress that is held back for it in this process, so that what was acknowledged is seen."""
        slot = self._slots.get((tenant, job.id))
        if slot is None or job.ended or job.attempt != slot.job.attempt:
            return job
        if job.rev > slot.job.rev:  # what was flying has just arrived
            held = slot.waiting
        else:
            job, held = slot.job, _joined(slot.flying, slot.waiting)
        return job if held is None else jobs.advance(job, held, now=self._now())

    async def touch(self, tenant: str, job: Job) -> bool:
        """Move the job's due time to where its own fields say; False where it has been written since."""
        due_at = jobs.due_at(job, self._policy)
        return due_at is None or await self._engine.touch(tenant, job.key, revision=job.rev, due_at=due_at)

    async def _beat(self, tenant: str, job: Job, command: Advance) -> Job | None:
        """Renew the lease without a revision: nobody has to hear of a sign of life. None: it was written since."""
        if command.attempt is not None and command.attempt != job.attempt:
            raise Conflict(code="stale_attempt", attempt=job.attempt)
        seen = replace(job, seen_at=self._now())
        return seen if await self.touch(tenant, seen) else None

    def _hold_back(self, slot: _Slot, progress: jobs.Progress) -> Job:
        """The job as it will be. Raises where it has ended, or where the attempt is over."""
        waiting = _joined(slot.waiting, progress)
        held = _joined(slot.flying, waiting)
        assert held is not None, "there is this progress at least"
        folded = jobs.advance(slot.job, held, now=self._now())
        slot.waiting = waiting
        return folded

    async def _commit_with(self, name: Name, slot: _Slot, progress: jobs.Progress | None) -> Job:
        """Commit what is waiting, and ``progress`` with it; the caller has the lock."""
        earlier, together = slot.waiting, _joined(slot.waiting, progress)
        assert together is not None, "nobody commits nothing"
        changed = None
        if progress is not None:  # refuse before what is waiting is taken along
            try:
                changed = jobs.advance(slot.job, together, now=self._now())
            except MilepostError:
                if slot.timer is None:  # nothing was ever taken
                    self._drop(name, slot)
                raise
        slot.flying, slot.waiting = together, None
        self._open_window(name, slot)
        try:
            return await self._commit(name[0], slot, together, changed)
        except Unavailable:
            # what was acknowledged is kept and tried again when the next window closes
            slot.waiting = _joined(earlier, slot.waiting)
            raise
        finally:
            slot.flying = None

    async def _commit(self, tenant: str, slot: _Slot, progress: jobs.Progress, changed: Job | None = None) -> Job:
        """Commit the slot's job with ``progress``, which makes ``changed`` of it."""
        for _ in range(TRIES):
            if changed is None:
                changed = jobs.advance(slot.job, progress, now=self._now())
            try:
                write = jobs.document(changed, self._policy, replaces=slot.job.rev)
                stored = (await self._engine.commit(tenant, [write]))[0]
            except Conflict:
                slot.job, changed = await load_job(self._engine, tenant, slot.job.id), None
                continue
            slot.job = replace(changed, rev=stored.revision)
            return slot.job
        raise Conflict

    def _open_window(self, name: Name, slot: _Slot) -> None:
        slot.open_until = time.monotonic() + WINDOW
        slot.kept = False
        if slot.timer is not None:
            slot.timer.cancel()
        slot.timer = asyncio.get_running_loop().call_later(WINDOW, self._window_over, name, slot)

    def _window_over(self, name: Name, slot: _Slot) -> None:
        if slot.waiting is None and not slot.lock.locked():
            if slot.kept:
                self._drop(name, slot)
            else:
                slot.kept = True
                slot.timer = asyncio.get_running_loop().call_later(KEPT, self._window_over, name, slot)
            return
        task = asyncio.get_running_loop().create_task(self._flush(name, slot))
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def _flush(self, name: Name, slot: _Slot) -> None:
        """Commit what a window has gathered. What the rules refuse now is dropped: the job has ended meanwhile."""
        async with slot.lock:
            if self._slots.get(name) is not slot:
                return
            if slot.waiting is not None:
                with contextlib.suppress(MilepostError):
                    await self._commit_with(name, slot, None)
            elif not slot.open:
                self._drop(name, slot)

    def _drop(self, name: Name, slot: _Slot) -> None:
        if slot.timer is not None:
            slot.timer.cancel()
        if self._slots.get(name) is slot:
            del self._slots[name]


def _joined(first: jobs.Progress | None, then: jobs.Progress | None) -> jobs.Progress | None:
    if first is None or then is None:
        return then if first is None else first
    return jobs.merge(first, then)
