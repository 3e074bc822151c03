"""What time alone does to a job: leases, graces, deadlines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost import jobs
from milepost.commands import Advance, Fail, StartJob
from milepost.engine import Document
from milepost.jobs import KindPolicy, Policy
from milepost.model import Job, JobState

NOON = 1_750_000_000.0
POLICY = Policy()


def begun(**fields: Any) -> Job:
    """A queued job."""
    job, created = jobs.start(
        None, StartJob(title="T", **fields), job_id="j", creator="worker", policy=POLICY, now=NOON
    )
    assert created
    return job


def said(job: Job, now: float = NOON, /, **fields: Any) -> Job:
    """The job after one Advance."""
    return jobs.advance(job, jobs.progress(Advance(**fields), now), now=now)


def stored(job: Job, revision: int = 7) -> Job:
    """The job as another process loads it."""
    write = jobs.document(job, POLICY, replaces=None)
    assert write.body is not None
    return jobs.load(
        Document(write.key, write.kind, revision, 1, write.audiences, write.body, write.private, write.labels)
    )


def test_silence_stalls_and_then_fails_a_running_job() -> None:
    """Lease after the last update: stalled. Grace after that: GENERATOR_TIMEOUT. Not a moment before."""
    job = said(begun(), NOON + 100, current=1)
    assert jobs.due_at(job, POLICY) == NOON + 130
    assert jobs.overdue(job, POLICY, now=NOON + 129.9) is None
    stalled = jobs.overdue(job, POLICY, now=NOON + 130)
    assert stalled is not None
    assert (stalled.state, jobs.due_at(stalled, POLICY)) == ("stalled", NOON + 430)
    assert jobs.overdue(stalled, POLICY, now=NOON + 429.9) is None
    failed = jobs.overdue(stalled, POLICY, now=NOON + 430)
    assert failed is not None
    assert failed.error is not None
    assert (failed.state, failed.error.code) == ("failed", "GENERATOR_TIMEOUT")


def test_an_update_within_the_grace_brings_the_job_back() -> None:
    """Stalled → running with a new lease."""
    stalled = jobs.overdue(said(begun(), current=1), POLICY, now=NOON + 31)
    assert stalled is not None
    back = said(stalled, NOON + 200, by=1)
    assert (back.state, jobs.due_at(back, POLICY)) == ("running", NOON + 230)


def test_the_grace_is_whole_when_the_stall_was_found_late() -> None:
    """Nobody was there to hear the worker for ten minutes: the grace begins when the stall is found."""
    stalled = jobs.overdue(said(begun(), current=1), POLICY, now=NOON + 630)
    assert stalled is not None
    assert jobs.due_at(stalled, POLICY) == NOON + 930


@pytest.mark.parametrize(
    ("fields", "kinds", "deadline"),
    [
        ({"deadline_seconds": 20}, {}, 20),
        ({"kind": "import"}, None, 300),
        ({"kind": "import", "deadline_seconds": 20}, None, 20),
        ({"kind": "slow"}, {"slow": KindPolicy(deadline_seconds=7200)}, 7200),
        ({"kind": "import"}, {}, None),
        ({"kind": "document"}, None, None),
    ],
)
def test_a_deadline_counts_from_the_beginning(fields: dict[str, Any], kinds: Any, deadline: float | None) -> None:
    """Queued or running, the job fails with GENERATOR_TIMEOUT; its own deadline goes before the kind's."""
    policy = Policy(lease=1e9) if kinds is None else Policy(lease=1e9, kinds=kinds)
    for job in (begun(**fields), replace(said(begun(**fields, total=1), NOON + 5, by=0), state="running")):
        if deadline is None:
            assert jobs.overdue(job, policy, now=NOON + 1e6) is None
            continue
        assert jobs.due_at(job, policy) == NOON + deadline
        assert jobs.overdue(job, policy, now=NOON + deadline - 0.1) is None
        failed = jobs.overdue(job, policy, now=NOON + deadline)
        assert failed is not None
        assert failed.error is not None
        assert failed.error.code == "GENERATOR_TIMEOUT"


def test_a_new_attempt_has_its_whole_deadline() -> None:
    """A job that is run again a day later is not late before it begins."""
    old = jobs.fail(begun(deadline_seconds=20), Fail(code="X"), now=NOON + 9)
    new, _ = jobs.start(old, StartJob(title="T"), job_id="j", creator="c", policy=POLICY, now=NOON + 86400)
    assert (new.created_at, jobs.due_at(new, POLICY)) == (NOON, NOON + 86420)


def test_the_deadline_of_the_total_counts_from_the_start_of_running() -> None:
    """None while queued; an unknown total fails the job with UNKNOWN_TOTAL_TIMEOUT, a known one lifts it."""
    job = begun(kind="document")
    assert jobs.due_at(job, POLICY) is None
    running = replace(said(job, NOON + 100, current=1), seen_at=NOON + 150)
    assert jobs.due_at(running, POLICY) == NOON + 160
    failed = jobs.overdue(running, POLICY, now=NOON + 160)
    assert failed is not None
    assert failed.error is not None
    assert failed.error.code == "UNKNOWN_TOTAL_TIMEOUT"
    assert jobs.due_at(said(running, NOON + 155, total=9), POLICY) == NOON + 185


def test_deadlines_survive_a_restart() -> None:
    """They are the job's own: loaded from the store by another process, the same moment is due."""
    job = said(begun(deadline_seconds=40, total_deadline_seconds=20), NOON + 5.25, current=1)
    write = jobs.document(job, POLICY, replaces=0)
    assert write.due_at == NOON + 25.25
    assert jobs.due_at(stored(job), POLICY) == pytest.approx(write.due_at, abs=0.001)


@given(
    st.sampled_from(["queued", "running", "stalled"]),
    st.floats(0, 400),
    st.floats(0, 400),
    st.none() | st.floats(1, 500),
    st.none() | st.floats(1, 500),
)
def test_what_is_due_happens_exactly_when_it_is_due(
    state: JobState, seen: float, updated: float, deadline: float | None, total_deadline: float | None
) -> None:
    """``due_at`` and ``overdue`` never disagree: nothing before that moment, something at it."""
    job = replace(
        begun(deadline_seconds=deadline, total_deadline_seconds=total_deadline),
        state=state, started_at=None if state == "queued" else NOON, seen_at=NOON + seen, updated_at=NOON + updated,
    )  # fmt: skip
    due = jobs.due_at(job, POLICY)
    if due is None:
        assert jobs.overdue(job, POLICY, now=NOON + 1e6) is None
    else:
        assert jobs.overdue(job, POLICY, now=due - 0.001) is None
        assert jobs.overdue(job, POLICY, now=due) is not None


def test_a_beat_is_known_by_the_due_time_alone() -> None:
    """``heard``: a due time that was moved tells of a later sign of life, for running and stalled jobs."""
    job = said(begun(), current=1)
    assert jobs.heard(job, POLICY, due_at=NOON + 70, now=NOON + 70).seen_at == NOON + 40
    stalled = replace(job, state="stalled")
    assert jobs.heard(stalled, POLICY, due_at=NOON + 400, now=NOON + 400).seen_at == NOON + 70
    assert jobs.heard(begun(), POLICY, due_at=NOON + 70, now=NOON + 70) == begun()
    assert jobs.heard(job, POLICY, due_at=None, now=NOON + 70) is job


@pytest.mark.parametrize("state", ["running", "stalled"])
def test_times_in_the_future_do_not_keep_a_dead_job(state: JobState) -> None:
    """The clock was set back an hour: what is due by its due time is overdue, whatever the job's own times say."""
    job = replace(said(begun(), NOON + 3600, current=1), state=state, updated_at=NOON + 3630)
    judged = jobs.heard(job, POLICY, due_at=NOON, now=NOON)
    settled = jobs.overdue(judged, POLICY, now=NOON)
    assert settled is not None
    assert settled.state == {"running": "stalled", "stalled": "failed"}[state]
