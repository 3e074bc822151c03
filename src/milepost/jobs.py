"""The job's state machine. Pure: a job, what somebody says about it and the time make a job; no clock, socket, await.

    queued ─▶ running ⇄ stalled        any of them ─▶ completed | failed | cancelled ─▶ (a new attempt) queued

What holds, and is tested:

- An end is final: a later update raises ``Conflict`` (``job_ended``), the same end again returns the same object. Only
  ``start`` leaves it, with the next attempt.
- ``current`` never falls within an attempt and never passes ``total``; what would do so is bounded, not refused.
- A known total stays known. It may change, but not below ``current``.
- The lease runs from the first update on and is renewed by each; a queued job never stalls.
- ``advance(job, merge(a, b))`` equals ``advance(advance(job, a), b)``, so progress can be gathered before a commit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Literal

from milepost.commands import MAX_CODE, MAX_COUNTERS, MAX_MESSAGE, MAX_NUMBER, Advance, Cancel, Complete, Fail, StartJob
from milepost.engine import Document, Write
from milepost.errors import Conflict, Invalid, MilepostError, from_code
from milepost.model import Failure, Job, JobState, Pace
from milepost.pace import estimate, observe

MAX_STEPS: Final = 50
MAX_MOVES: Final = 32
ENDED_OPEN_SECONDS: Final = 900.0

# No two that follow each other are the same, so at most every second one is empty: this many hold MAX_STEPS texts and
# the one before them, which is all that a later ``advance`` can need.
_MAX_MESSAGES: Final = 2 * MAX_STEPS + 3


@dataclass(frozen=True, slots=True)
class KindPolicy:
    """Deadlines of the jobs of one kind, in seconds; see ``Policy``."""

    deadline_seconds: float | None = None
    total_deadline_seconds: float | None = None


DEFAULT_KINDS: Final[Mapping[str, KindPolicy]] = MappingProxyType(
    {"import": KindPolicy(deadline_seconds=300.0), "document": KindPolicy(total_deadline_seconds=60.0)}
)


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a job may be silent, unfinished or without a total, and is kept afterwards. All in seconds.

    After ``lease`` without a sign of life a job is stalled, after ``grace`` more it fails. ``kinds`` holds deadlines
    for jobs that state none: ``deadline_seconds`` from the start of the attempt to its end, ``total_deadline_seconds``
    from the start of running until the total is known. ``retention`` counts from the job's end.
    """

    lease: float = 30.0
    grace: float = 300.0
    retention: float = 7 * 86400.0
    kinds: Mapping[str, KindPolicy] = field(default_factory=lambda: DEFAULT_KINDS)


# --- beginning -------------------------------------------------------------------------------------------------------


def start(
    existing: Job | None, command: StartJob, *, job_id: str, creator: str, policy: Policy, now: float
) -> tuple[Job, bool]:
    """The job that ``command`` begins, and whether it (or a new attempt of it) is new.

    A live job is returned as it is. Of an ended one the next attempt begins; it keeps what ``command`` does not state
    (kind, owner, watchers, deadlines, notify), its creator and ``created_at``, and starts without total. A stated
    ``attempt`` must be the one that this begins, or the one that is under way.
    """
    del policy  # deadlines are applied when they are due, so that a change of the settings reaches running jobs
    if existing is not None and not existing.ended:
        if command.attempt is not None:
            _check_attempt(existing, command.attempt)
        return existing, False
    attempt = 1 if existing is None else existing.attempt + 1
    if command.attempt is not None and command.attempt != attempt:
        if command.attempt < attempt:
            raise _stale(job_id, attempt - 1)
        raise Conflict(f"The next attempt of job {job_id} is {attempt}.", attempt=attempt)
    stated = command.model_fields_set
    before = existing or Job(
        id=job_id,
        kind=command.kind,
        title=command.title,
        owner=command.owner or creator,
        created_at=now,
        updated_at=now,
        creator=creator,
    )
    kept = {name: getattr(command, name) for name in _KEPT_BY_ATTEMPTS if name in stated}
    if kept.get("owner", "") is None:
        del kept["owner"]
    job = Job(
        id=job_id,
        title=command.title,
        created_at=before.created_at,
        updated_at=now,
        attempt=attempt,
        total=command.total,
        rev=before.rev,
        creator=before.creator,
        seen_at=now,
        attempt_at=now,
        **{name: kept.get(name, getattr(before, name)) for name in _KEPT_BY_ATTEMPTS},
    )
    return job, True


_KEPT_BY_ATTEMPTS: Final = ("kind", "owner", "watchers", "notify", "deadline_seconds", "total_deadline_seconds")

# --- progress --------------------------------------------------------------------------------------------------------


class Unset(Enum):
    """The one value that says "nothing was said" where None says something."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class Move:
    """How ``current`` and ``total`` change: first the total becomes ``total``, then ``by`` is added, then ``current``
    is at least ``floor``; never below what it was, never above the total.
    """

    by: float = 0
    floor: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What one or several ``Advance`` say. ``messages`` are (UNIX seconds, text); ``updates`` counts the Advances that
    said where the job is.
    """

    moves: tuple[Move, ...] = ()
    messages: tuple[tuple[float, str], ...] = ()
    counters: Mapping[str, float] = field(default_factory=dict)
    item: Mapping[str, Any] | Literal[Unset.UNSET] | None = UNSET
    attempt: int | None = None
    updates: int = 0


def progress(command: Advance, now: float) -> Progress:
    """``command`` as progress that was made at ``now``."""
    moves: tuple[Move, ...] = ()
    moved = command.current is not None or command.by is not None
    if moved or command.total is not None:
        moves = (Move(command.by or 0, command.current, command.total),)
    return Progress(
        moves=moves,
        messages=() if command.message is None else ((now, command.message),),
        counters=command.counters,
        item=command.item if "item" in command.model_fields_set else UNSET,
        attempt=command.attempt,
        updates=int(moved),
    )


def merge(first: Progress, then: Progress) -> Progress:
    """Both, in this order, as one.

    ``first`` is taken to be acceptable, and what is raised is what ``then`` would meet after it: ``Conflict`` where the
    two state different attempts, ``Invalid`` where together they name more than ``MAX_COUNTERS`` counters.

    Bounded: at most the last ``MAX_STEPS`` messages count; of more than ``MAX_MOVES`` different totals the older are
    forgotten, and with them that ``current`` was held back by them.
    """
    attempt = then.attempt if first.attempt is None else first.attempt
    if attempt is not None and then.attempt is not None and then.attempt != attempt:
        code = "stale_attempt" if then.attempt < attempt else "conflict"
        raise from_code(code, f"The job is at attempt {attempt}.", attempt=attempt)
    counters = first.counters
    if then.counters:
        counters = {**first.counters, **then.counters}
        _check_counters(counters)
    messages = first.messages
    for at, text in then.messages:
        if not messages or messages[-1][1] != text:
            messages = (*messages, (at, text))[-_MAX_MESSAGES:]
    return Progress(
        moves=_merge_moves(first.moves, then.moves),
        messages=messages,
        counters=counters,
        item=first.item if then.item is UNSET else then.item,
        attempt=attempt,
        updates=first.updates + then.updates,
    )


def _merge_moves(first: tuple[Move, ...], then: tuple[Move, ...]) -> tuple[Move, ...]:
    moves = list(first)
    for move in then:
        # While the total stays what it is, two moves make one. A new total bounds only what comes after it, so the
        # moves stand side by side.
        if moves and (move.total is None or move.total == moves[-1].total or len(moves) == MAX_MOVES):
            moves[-1] = _join(moves[-1], move)
        else:
            moves.append(move)
    return tuple(moves)


def _join(first: Move, then: Move) -> Move:
    floor = then.floor
    if first.floor is not None:
        floor = first.floor + then.by if floor is None else max(first.floor + then.by, floor)
    return Move(first.by + then.by, floor, first.total if then.total is None else then.total)


def advance(job: Job, progress: Progress, *, now: float) -> Job:
    """The job after ``progress``: running, its lease renewed.

    Raises ``Conflict``: ``job_ended`` (with ``state``; ``JobCancelled`` where it was cancelled), ``stale_attempt``;
    ``Invalid`` where the job would have more than ``MAX_COUNTERS`` counters.
    """
    _check_live(job, progress.attempt)
    current, total, pace = job.current, job.total, job.pace
    for move in progress.moves:
        if move.total is not None:
            if total is None and pace.samples and pace.samples[0][1] == current:
                # Until now it was found out what there is to do: that says nothing of how long doing it takes.
                pace = Pace(updates=pace.updates)
            total = max(move.total, current)
        current += move.by
        if move.floor is not None and move.floor > current:
            current = move.floor
        # a sum has no bound of its own, and beyond this neither JSON nor a browser holds it
        current = min(current, MAX_NUMBER if total is None else total)
    message, steps = job.message, job.steps
    if progress.messages:
        message, steps = _say(job, progress.messages)
    counters = job.counters
    if progress.counters:
        counters = {**counters, **progress.counters}
        _check_counters(counters)
    started_at = now if job.started_at is None else job.started_at
    pace = observe(pace, current, updates=progress.updates, now=now)
    eta, rate = estimate(pace, current, total)
    return replace(
        job,
        state="running",
        current=current,
        total=total,
        message=message,
        steps=steps,
        counters=counters,
        item=job.item if progress.item is UNSET else progress.item,
        started_at=started_at,
        updated_at=now,
        seen_at=now,
        pace=pace,
        eta_seconds=eta,
        rate=rate,
    )


def beat(job: Job, *, now: float, attempt: int | None = None) -> Job:
    """The job after a sign of life: its lease renewed, running if it was queued or stalled. Raises like ``advance``."""
    _check_live(job, attempt)
    if job.state == "running":
        return replace(job, seen_at=now)
    return advance(job, Progress(), now=now)


def _say(job: Job, messages: tuple[tuple[float, str], ...]) -> tuple[str, tuple[tuple[float, str], ...]]:
    """Message and steps after ``messages``: a step is a message that is new and not empty."""
    message, fresh = job.message, []
    for at, text in messages:
        if text != message:
            message = text
            if text:
                fresh.append((at, text))
    return message, (*job.steps, *fresh)[-MAX_STEPS:]


# --- ends ------------------------------------------------------------------------------------------------------------


def complete(job: Job, command: Complete, *, now: float) -> Job:
    """The job, done, at 100 % where the total is known. Raises ``Conflict`` after another end."""
    if _ended_as(job, "completed", command.attempt):
        return job
    return replace(
        _end(job, "completed", now=now),
        current=job.current if job.total is None else job.total,
        started_at=now if job.started_at is None else job.started_at,
        result=command.result,
        output_url=command.output_url,
    )


def fail(job: Job, command: Fail, *, now: float) -> Job:
    """The job, lost. Raises ``Conflict`` after another end."""
    if _ended_as(job, "failed", command.attempt):
        return job
    return replace(_end(job, "failed", now=now), error=Failure(command.code, command.message, command.details))


def cancel(job: Job, command: Cancel, *, now: float) -> Job:
    """The job, no longer wanted; a reason becomes its message. Raises ``Conflict`` after another end."""
    if _ended_as(job, "cancelled", None):
        return job
    message, steps = _say(job, ((now, command.reason),) if command.reason else ())
    return replace(_end(job, "cancelled", now=now), message=message, steps=steps)


def _end(job: Job, state: JobState, *, now: float) -> Job:
    return replace(
        job, state=state, updated_at=now, finished_at=now, seen_at=now, eta_seconds=None, rate=None, pace=Pace()
    )


def _ended_as(job: Job, state: JobState, attempt: int | None) -> bool:
    """Whether this very end was there before."""
    if job.state == state and attempt in (None, job.attempt):
        return True
    _check_live(job, attempt)
    return False


def _check_live(job: Job, attempt: int | None) -> None:
    if attempt is not None:
        _check_attempt(job, attempt)
    if job.ended:
        raise from_code("job_ended", f"Job {job.id} has {_ENDS[job.state]}.", state=job.state, attempt=job.attempt)


_ENDS: Final[Mapping[str, str]] = {
    "completed": "completed",
    "failed": "failed",
    "cancelled": "been cancelled",
}


def _check_attempt(job: Job, attempt: int) -> None:
    if attempt < job.attempt:
        raise _stale(job.id, job.attempt)
    if attempt > job.attempt:
        raise Conflict(f"Job {job.id} is only at attempt {job.attempt}.", state=job.state, attempt=job.attempt)


def _stale(job_id: str, attempt: int) -> MilepostError:
    return from_code("stale_attempt", f"Job {job_id} is already at attempt {attempt}.", attempt=attempt)


def _check_counters(counters: Mapping[str, float]) -> None:
    if len(counters) > MAX_COUNTERS:
        raise Invalid(f"counters: a job has at most {MAX_COUNTERS} of them", field="counters")


# --- what time alone does --------------------------------------------------------------------------------------------


def due_at(job: Job, policy: Policy) -> float | None:
    """When something must happen to the job unless it is heard of before; None: never. UNIX seconds."""
    moments = [
        moment
        for moment in (_silent_at(job, policy), _deadline(job, policy), _total_deadline(job, policy))
        if moment is not None
    ]
    return min(moments, default=None)


def overdue(job: Job, policy: Policy, *, now: float) -> Job | None:
    """The job after what was due by ``now``: stalled, or failed. None if nothing was."""
    deadline = _deadline(job, policy)
    if deadline is not None and deadline <= now:
        return _fail_late(job, "GENERATOR_TIMEOUT", "The job was not finished in time.", now=now)
    total_deadline = _total_deadline(job, policy)
    if total_deadline is not None and total_deadline <= now:
        return _fail_late(job, "UNKNOWN_TOTAL_TIMEOUT", "The total did not become known in time.", now=now)
    silent_at = _silent_at(job, policy)
    if silent_at is None or silent_at > now:
        return None
    if job.state == "stalled":
        return _fail_late(job, "GENERATOR_TIMEOUT", "The worker has given no sign of life.", now=now)
    return replace(job, state="stalled", updated_at=now, eta_seconds=None)


def heard(job: Job, policy: Policy, *, due_at: float | None, now: float) -> Job:
    """The job with the last sign of life that its stored due time knows of.

    A beat and a fresh lease move only that time, not the job. Where the clock was set back, the job's own times lie in
    the future, and the due time goes before them.
    """
    wait = {"running": policy.lease, "stalled": policy.lease + policy.grace}.get(job.state)
    if due_at is None or wait is None:
        return job
    told = due_at - wait
    if job.seen_at <= now:
        return replace(job, seen_at=max(job.seen_at, told))
    return replace(job, seen_at=told, updated_at=min(job.updated_at, told + policy.lease))


def _fail_late(job: Job, code: str, message: str, *, now: float) -> Job:
    return fail(job, Fail(code=code, message=message), now=now)


def _silent_at(job: Job, policy: Policy) -> float | None:
    """When silence makes a running job stalled and a stalled job fail."""
    if job.state == "running":
        return job.seen_at + policy.lease
    if job.state != "stalled":
        return None
    lease_end = job.seen_at + policy.lease
    # Found out more than a lease late: nobody was there to hear the worker, or its beats were not stored. Then the
    # grace begins with the finding.
    late = job.updated_at - lease_end > policy.lease
    return (job.updated_at if late else lease_end) + policy.grace


def _deadline(job: Job, policy: Policy) -> float | None:
    if job.ended:
        return None
    seconds = job.deadline_seconds
    if seconds is None and job.kind in policy.kinds:
        seconds = policy.kinds[job.kind].deadline_seconds
    return None if seconds is None else job.attempt_at + seconds


def _total_deadline(job: Job, policy: Policy) -> float | None:
    if job.ended or job.total is not None or job.started_at is None:
        return None
    seconds = job.total_deadline_seconds
    if seconds is None and job.kind in policy.kinds:
        seconds = policy.kinds[job.kind].total_deadline_seconds
    return None if seconds is None else job.started_at + seconds


# --- in and out ------------------------------------------------------------------------------------------------------


def document(job: Job, policy: Policy, *, replaces: int | None) -> Write:
    """The job as a write. It is in every snapshot while live and for ``ENDED_OPEN_SECONDS`` after its end."""
    body, private = job.dump()
    open_until, expires_at = math.inf, None
    if job.finished_at is not None:
        open_until, expires_at = job.finished_at + ENDED_OPEN_SECONDS, job.finished_at + policy.retention
    return Write(
        key=job.key,
        kind="job",
        body=body,
        private=private,
        audiences=job.audiences,
        labels=(f"state:{job.state}", f"kind:{job.kind}"),
        open_until=open_until,
        expires_at=expires_at,
        due_at=due_at(job, policy),
        replaces=replaces,
    )


def load(document: Document) -> Job:
    """The inverse of ``document``."""
    return Job.load(document.body, document.private, document.revision)


_CODE = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_CODE}}}")


def error_of(exception: BaseException) -> tuple[str, str]:
    """(code, message) of an exception that ended a job: see contract section 5. The message is its first line."""
    code = getattr(exception, "milepost_code", None)
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        if isinstance(exception, TimeoutError):  # before OSError, of which it is one
            code = "GENERATOR_TIMEOUT"
        else:
            code = "STORAGE_WRITE_FAIL" if isinstance(exception, OSError) else "UNEXPECTED"
    first = next(iter(str(exception).strip().splitlines()), "") or type(exception).__name__
    # What Fail would refuse must not hide the failure.
    return code, first.replace("\0", "").encode(errors="replace").decode()[:MAX_MESSAGE]
