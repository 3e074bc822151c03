"""Jobs that nobody reports on, and documents that are out of date: what time alone does, one task per process.

``look`` asks the engine what is due and has the ledger settle it: every ``INTERVAL`` seconds, and earlier where
something is known to be due earlier. Several processes may look at the same store: the commit decides who was
first, the other finds nothing to do.

Silence counts against a worker only if somebody was there to hear it. After this process has started, was stopped for
a while, had no engine, or found its clock set to another time, every job that was last heard of before gets one fresh
lease, and is judged when that has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from milepost import jobs
from milepost.engine import Due, Engine
from milepost.errors import MilepostError
from milepost.ledger import Ledger

INTERVAL: Final = 0.5  # seconds; the most that a stalled job is found late by
PRUNE_SECONDS: Final = 60.0
PAGE: Final = 256
PRUNE_LIMIT: Final = 1000
MAX_WAIT: Final = 10.0  # seconds between two tries while the engine is away
BROKEN_SECONDS: Final = 3600.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What was done since the start, for the metrics."""

    stalled: int = 0
    failed: int = 0
    granted: int = 0
    pruned: int = 0


class Leases:
    """Settles what is due. ``now`` is the wall clock, as the ledger's; ``monotonic`` only ever runs forward."""

    def __init__(
        self,
        ledger: Ledger,
        engine: Engine,
        policy: jobs.Policy,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally()
        self._ledger = ledger
        self._engine = engine
        self._policy = policy
        self._now = now
        self._monotonic = monotonic
        self._interval = min(INTERVAL, policy.lease / 8)
        # below a second an ordinary hiccup of the machine would pass for a pause.
        self._pause = max(policy.lease / 2, 1.0)
        self._looked: tuple[float, float] | None = None  # wall clock and monotonic, at the last look that succeeded
        self._listening_since = self._fresh_until = 0.0
        self._pruned_at = monotonic()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look, in a task of its own. Idempotent."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="milepost-leases")

    async def stop(self) -> None:
        """Stop looking; what is half done is finished by the next process that looks. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                wait = await self.look()
                failures = 0
            except MilepostError as error:
                failures += 1
                wait = min(MAX_WAIT, self._interval * 2**failures) * random.uniform(0.7, 1.0)
                _log.warning("cannot look for overdue jobs (%s); next try in %.1f s", error.code, wait)
            except Exception:  # noqa: BLE001
                # a bug must not end the watch over all jobs
                failures += 1
                wait = MAX_WAIT
                _log.exception("looking for overdue jobs failed")
            await asyncio.sleep(wait)

    async def look(self) -> float:
        """Settle what is due; how many seconds to wait before the next look. Raises ``Unavailable``."""
        now, monotonic = self._now(), self._monotonic()
        await self._notice_absence(now, monotonic)
        due = await self._engine.due(now=now + self._interval, limit=PAGE)
        self._looked = (now, monotonic)
        ready = [one for one in due if one.document.due_at is not None and one.document.due_at <= now]
        # together, so that the engine can put them into one commit
        outcomes = await asyncio.gather(*(self._judge(one, now) for one in ready), return_exceptions=True)
        for one, outcome in zip(ready, outcomes, strict=True):
            if isinstance(outcome, MilepostError):
                raise outcome
            if isinstance(outcome, BaseException):
                # put off, or it would stand before all others for ever.
                _log.error("document cannot be judged; next try in an hour", exc_info=outcome)
                await self._postpone(one, now + BROKEN_SECONDS)
        pruned_all = await self._prune(now, monotonic)
        if len(ready) == PAGE or not pruned_all:
            return 0.0
        soonest = min((one.document.due_at or now for one in due[len(ready) :]), default=now + self._interval)
        return max(0.0, soonest - now)

    async def _judge(self, due: Due, now: float) -> None:
        job = jobs.heard(jobs.load(due.document), self._policy, due_at=due.document.due_at, now=now)
        if now < self._fresh_until and job.seen_at < self._listening_since:
            self.tally.granted += await self._postpone(due, self._fresh_until)
            return
        settled = await self._ledger.settle_overdue(due)
        if settled is not None and settled.ended:
            self.tally.failed += 1
        elif settled is not None:
            self.tally.stalled += 1

    async def _postpone(self, due: Due, until: float) -> bool:
        document = due.document
        return await self._engine.touch(due.tenant, document.key, revision=document.revision, due_at=until)

    # --- who could not hear ------------------------------------------------------------------------------------

    async def _notice_absence(self, now: float, monotonic: float) -> None:
        """After an absence or another time on the clock, begin to listen anew."""
        jump = 0.0
        if self._looked is not None:
            gap = monotonic - self._looked[1]
            jump = now - self._looked[0] - gap
            if gap <= self._pause and abs(jump) <= self._pause:
                return
            _log.warning("absent for %.1f s, clock set by %+.1f s: jobs get a fresh lease", gap, jump)
        self._listening_since, self._fresh_until = now, now + self._policy.lease
        if jump < -self._pause:
            await self._bring_forward(now, now - jump)

    async def _bring_forward(self, now: float, before: float) -> None:
        """The clock was set back from about ``before``: what would be due only when it is there again, is due after
        one fresh lease.
        """
        horizon, limit = before + self._policy.lease + self._policy.grace, PAGE
        while len(due := await self._engine.due(now=horizon, limit=limit)) == limit:
            limit *= 4
        longest = {"running": self._policy.lease, "stalled": self._policy.lease + self._policy.grace}
        for one in due:
            at = one.document.due_at
            if at is not None and at > now + longest.get(jobs.load(one.document).state, math.inf):
                self.tally.granted += await self._postpone(one, self._fresh_until)

    async def _prune(self, now: float, monotonic: float) -> bool:
        """Now and then drop what is out of date; False while there is more of it."""
        if monotonic - self._pruned_at < PRUNE_SECONDS:
            return True
        pruned = await self._engine.prune(now=now, limit=PRUNE_LIMIT)
        self.tally.pruned += pruned
        if pruned >= PRUNE_LIMIT:
            return False
        self._pruned_at = monotonic
        return True
