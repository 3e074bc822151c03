from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost import jobs
from milepost.commands import MAX_COUNTERS, Advance, Cancel, Complete, Fail, StartJob
from milepost.engine import Document
from milepost.errors import Conflict, Invalid, JobCancelled
from milepost.jobs import MAX_MOVES, MAX_STEPS, Policy, Progress
from milepost.model import Job, JobState

NOON = 1_750_000_000.0
POLICY = Policy()

Verb = Callable[[Job], Job]


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


def ended(state: JobState, **fields: Any) -> Job:
    """A job that has come to this end."""
    job = said(begun(**fields), current=1)
    match state:
        case "completed":
            return jobs.complete(job, Complete(), now=NOON + 9)
        case "failed":
            return jobs.fail(job, Fail(code="X"), now=NOON + 9)
        case _:
            return jobs.cancel(job, Cancel(), now=NOON + 9)


def stored(job: Job, revision: int = 7) -> Job:
    """The job as another process loads it."""
    write = jobs.document(job, POLICY, replaces=None)
    assert write.body is not None
    return jobs.load(
        Document(write.key, write.kind, revision, 1, write.audiences, write.body, write.private, write.labels)
    )


ENDS: dict[str, Verb] = {
    "completed": lambda job: jobs.complete(job, Complete(result=1), now=NOON + 20),
    "failed": lambda job: jobs.fail(job, Fail(code="Y"), now=NOON + 20),
    "cancelled": lambda job: jobs.cancel(job, Cancel(reason="r"), now=NOON + 20),
}

COUNTS = st.integers(0, 60)
ADVANCES = st.builds(
    lambda how, amount, rest: Advance(**({how: amount} if how else {}), **rest),
    st.sampled_from(["current", "by", None]),
    COUNTS,
    st.fixed_dictionaries(
        {},
        optional={
            "total": COUNTS,
            "message": st.sampled_from(["", "a", "b", "c"]),
            "counters": st.dictionaries(st.sampled_from("xyz"), COUNTS, max_size=2),
            "item": st.none() | st.fixed_dictionaries({"name": st.sampled_from("pq")}),
        },
    ),
)


def test_a_new_job_is_queued_and_belongs_to_its_creator() -> None:
    """Nothing is done, the owner is by default whoever begins it, and no clock runs."""
    job = begun(total=32)
    assert (job.state, job.attempt, job.current, job.total, job.percent) == ("queued", 1, 0, 32, 0.0)
    assert (job.owner, job.creator, job.created_at, job.started_at) == ("worker", "worker", NOON, None)
    assert begun(owner="u7").owner == "u7"
    assert jobs.due_at(job, POLICY) is None


@pytest.mark.parametrize("alive", [begun(), said(begun(), current=3), replace(said(begun()), state="stalled")])
def test_a_live_job_begun_again_is_left_alone(alive: Job) -> None:
    """``POST /jobs`` with the id of a live job answers that very job, whatever else it says."""
    command = StartJob(title="Other", total=99, owner="other")
    assert jobs.start(alive, command, job_id="j", creator="c", policy=POLICY, now=NOON + 5) == (alive, False)
    same, created = jobs.start(
        alive, StartJob(title="T", attempt=1), job_id="j", creator="c", policy=POLICY, now=NOON + 5
    )
    assert same is alive
    assert not created


@pytest.mark.parametrize("state", ENDS)
def test_an_ended_job_begun_again_is_a_new_attempt(state: JobState) -> None:
    """Attempt + 1, queued, from 0; error, result, output, messages and tallies are those of the old attempt only."""
    old = replace(
        ended(state, total=9, owner="u7", watchers=["u8"], kind="import", deadline_seconds=7, notify=True),
        result={"x": 1}, output_url="/x", message="old", steps=((NOON, "old"),), counters={"n": 1}, item={"a": 1},
        rev=40,
    )  # fmt: skip
    new, created = jobs.start(old, StartJob(title="Again"), job_id="j", creator="other", policy=POLICY, now=NOON + 99)
    fresh = begun(owner="u7", watchers=["u8"], kind="import", deadline_seconds=7, notify=True)
    assert created
    assert new == replace(
        fresh, title="Again", attempt=2, updated_at=NOON + 99, attempt_at=NOON + 99, seen_at=NOON + 99, rev=40
    )


def test_a_new_attempt_takes_what_it_states() -> None:
    """Kind, owner, watchers, deadlines and notify of the new attempt are the stated ones, where stated."""
    old = ended("failed", owner="u7", watchers=["u8"], kind="import", deadline_seconds=7, notify=True)
    command = StartJob(
        title="T", owner="u1", watchers=(), kind="document", deadline_seconds=None, notify=False, total=5, attempt=2
    )
    new, _ = jobs.start(old, command, job_id="j", creator="c", policy=POLICY, now=NOON + 99)
    assert (new.owner, new.watchers, new.kind, new.deadline_seconds, new.notify) == ("u1", (), "document", None, False)
    assert (new.total, new.creator) == (5, "worker")


@pytest.mark.parametrize(
    ("existing", "attempt", "code"),
    [
        (None, 2, "conflict"),
        (said(begun()), 2, "conflict"),
        (replace(said(begun()), attempt=3), 2, "stale_attempt"),
        (ended("failed"), 1, "stale_attempt"),
        (ended("failed"), 3, "conflict"),
    ],
)
def test_a_stated_attempt_must_be_the_one_that_begins(existing: Job | None, attempt: int, code: str) -> None:
    """Two supervisors that both want attempt 2 cannot both get it: the fence is in the request."""
    with pytest.raises(Conflict) as refused:
        jobs.start(existing, StartJob(title="T", attempt=attempt), job_id="j", creator="c", policy=POLICY, now=NOON)
    assert refused.value.code == code


def test_the_first_update_starts_the_job() -> None:
    """Queued → running, with the time; later updates keep that time."""
    job = said(begun(total=32), NOON + 3, current=5, message="Generating SROGS 1/3")
    assert (job.state, job.current, job.percent, job.started_at, job.updated_at) == (
        "running",
        5,
        15.6,
        NOON + 3,
        NOON + 3,
    )
    assert said(job, NOON + 4, by=1).started_at == NOON + 3


@pytest.mark.parametrize(
    ("before", "update", "after"),
    [
        ((5, None), {"current": 3}, (5, None)),
        ((5, None), {"current": 8}, (8, None)),
        ((5, None), {"by": 2}, (7, None)),
        ((5, 32), {"current": 40}, (32, 32)),
        ((5, 32), {"by": 40}, (32, 32)),
        ((5, 32), {"total": 64}, (5, 64)),
        ((5, 32), {"total": 3}, (5, 5)),
        ((5, 32), {"total": None}, (5, 32)),
        ((5, 32), {"total": 64, "current": 50}, (50, 64)),
        ((5, None), {"total": 4, "by": 1}, (5, 5)),
        ((0, None), {"total": 0}, (0, 0)),
    ],
)
def test_how_current_and_total_move(
    before: tuple[float, float | None], update: dict[str, Any], after: tuple[float, float | None]
) -> None:
    """Current never falls and never passes the total; a total never goes below what is done, nor away."""
    job = said(replace(begun(), current=before[0], total=before[1]), **update)
    assert (job.current, job.total) == after


@given(st.lists(ADVANCES, max_size=12))
def test_current_never_falls_and_percent_ends_at_the_total(advances: list[Advance]) -> None:
    """Whatever a worker says within an attempt."""
    job = begun()
    for advance in advances:
        later = jobs.advance(job, jobs.progress(advance, NOON), now=NOON)
        assert later.current >= job.current
        assert later.total is not None or job.total is None
        assert later.total is None or later.current <= later.total
        assert (later.percent == 100) == (later.total is not None and later.current == later.total)
        job = later


@given(st.lists(ADVANCES, max_size=4), ADVANCES, ADVANCES)
def test_merged_progress_is_the_same_progress(before: list[Advance], first: Advance, then: Advance) -> None:
    """The merge law: what is gathered before a commit leaves the job exactly as if each part had been committed."""
    job = begun()
    for number, advance in enumerate(before):
        job = jobs.advance(job, jobs.progress(advance, NOON + number), now=NOON + number)
    a, b = jobs.progress(first, NOON + 10), jobs.progress(then, NOON + 11)
    one_by_one = jobs.advance(jobs.advance(job, a, now=NOON + 12), b, now=NOON + 12)
    assert jobs.advance(job, jobs.merge(a, b), now=NOON + 12) == one_by_one


@given(st.lists(ADVANCES, min_size=2, max_size=8), st.integers(1, 7), COUNTS)
def test_it_does_not_matter_how_progress_is_gathered(advances: list[Advance], cut: int, current: int) -> None:
    """``merge`` is associative where it counts: any grouping of any number of updates gives the same job."""
    parts = [jobs.progress(advance, NOON + number) for number, advance in enumerate(advances)]
    job = said(begun(), current=current)

    def gathered(some: list[Progress]) -> Progress:
        whole = Progress()
        for part in some:
            whole = jobs.merge(whole, part)
        return whole

    left, right = gathered(parts[:cut]), gathered(parts[cut:])
    assert jobs.advance(job, jobs.merge(left, right), now=NOON + 9) == jobs.advance(job, gathered(parts), now=NOON + 9)


def test_more_messages_than_steps_are_merged_as_if_one_by_one() -> None:
    """500 messages in one window leave the last 50 steps, as they would one by one, repeated ones counted once."""
    one_by_one, whole = begun(), Progress()
    texts = ["" if number % 3 == 0 else f"m{number // 2}" for number in range(500)] + ["again"] * 200
    for number, text in enumerate(texts):
        part = jobs.progress(Advance(message=text), NOON + number)
        one_by_one = jobs.advance(one_by_one, part, now=NOON + 500)
        whole = jobs.merge(whole, part)
    assert jobs.advance(begun(), whole, now=NOON + 500).steps == one_by_one.steps
    assert len(one_by_one.steps) == MAX_STEPS
    assert len(whole.messages) <= 2 * MAX_STEPS + 3


def test_progress_that_waits_long_stays_small() -> None:
    """A total that changes with each of 1,000 updates: at most MAX_MOVES are kept, and the sums stay right."""
    whole = Progress()
    for number in range(1000):
        whole = jobs.merge(whole, jobs.progress(Advance(by=1, total=1000 + number), NOON))
    assert len(whole.moves) == MAX_MOVES
    job = jobs.advance(begun(), whole, now=NOON)
    assert (job.current, job.total) == (1000, 1999)


def test_merged_progress_of_two_attempts_is_refused() -> None:
    """What a fenced-off worker says is never mixed with what the present one says."""
    present, none = Progress(attempt=2, updates=1), Progress(updates=1)
    assert jobs.merge(present, none).attempt == 2
    assert jobs.merge(none, present).attempt == 2
    with pytest.raises(Conflict) as stale:
        jobs.merge(present, Progress(attempt=1))
    assert stale.value.code == "stale_attempt"
    with pytest.raises(Conflict) as ahead:
        jobs.merge(present, Progress(attempt=3))
    assert ahead.value.code == "conflict"


def test_counters_are_absolute_and_merged_by_name() -> None:
    """A named tally is set; the others stay."""
    job = said(said(begun(), counters={"enriched": 3, "error": 1}), counters={"error": 2})
    assert job.counters == {"enriched": 3, "error": 2}


def test_a_job_has_a_bounded_number_of_counters() -> None:
    """The 65th name is refused, in one update, over several, and in merged ones; the known names still move."""
    full = said(begun(), counters={f"c{n}": n for n in range(MAX_COUNTERS)})
    with pytest.raises(Invalid) as refused:
        said(full, counters={"one-more": 1})
    assert refused.value.details["field"] == "counters"
    assert said(full, counters={"c0": 9}).counters["c0"] == 9
    half = jobs.progress(Advance(counters={f"c{n}": n for n in range(40)}), NOON)
    with pytest.raises(Invalid):
        jobs.merge(half, jobs.progress(Advance(counters={f"d{n}": n for n in range(40)}), NOON))


def test_the_item_is_set_kept_and_cleared() -> None:
    """An object sets it, absent keeps it, null clears it."""
    job = said(begun(), item={"name": "LM317"})
    assert said(job, by=1).item == {"name": "LM317"}
    assert said(job, item=None).item is None


def test_steps_are_the_messages_that_were_new() -> None:
    """A step is a changed message with its time; the same again and the empty one are none; the last 50 stay."""
    job = begun()
    for number in range(60):
        job = said(job, NOON + number, message=f"step {number}")
        job = said(job, NOON + number + 0.5, message=f"step {number}")
    assert [text for _, text in job.steps] == [f"step {number}" for number in range(10, 60)]
    assert job.steps[-1] == (NOON + 59, "step 59")
    cleared = said(job, message="")
    assert (cleared.message, cleared.steps) == ("", job.steps)


def test_eta_and_rate_come_and_go_with_the_state() -> None:
    """Known while running, no ETA while stalled, neither after the end nor in a new attempt."""
    job = begun(total=100)
    for number in range(11):
        job = said(job, NOON + number, current=number)
    assert (job.eta_seconds, job.rate) == (90.0, 1.0)
    stalled = jobs.overdue(job, POLICY, now=NOON + 41)
    assert stalled is not None
    assert (stalled.state, stalled.eta_seconds) == ("stalled", None)
    done = jobs.complete(job, Complete(), now=NOON + 12)
    assert (done.eta_seconds, done.rate) == (None, None)


@pytest.mark.parametrize("state", ["queued", "running", "stalled"])
def test_a_sign_of_life_renews_the_lease_and_says_nothing(state: JobState) -> None:
    """A beat makes a queued or stalled job run, and changes nothing else that anybody sees."""
    job = begun(total=5) if state == "queued" else replace(said(begun(total=5), current=1), state=state)
    beaten = jobs.beat(job, now=NOON + 7)
    assert (beaten.state, beaten.seen_at, beaten.current) == ("running", NOON + 7, job.current)
    assert jobs.due_at(beaten, POLICY) == NOON + 7 + POLICY.lease
    if state == "running":
        assert replace(beaten, seen_at=job.seen_at) == job


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("before", ["queued", "running", "stalled"])
def test_every_live_job_can_come_to_every_end(before: JobState, state: JobState) -> None:
    """From queued, running and stalled; the end has its time and stops all clocks."""
    job = replace(said(begun(total=4, deadline_seconds=9), current=1), state=before)
    end = ENDS[state](job)
    assert (end.state, end.finished_at, end.updated_at) == (state, NOON + 20, NOON + 20)
    assert end.ended
    assert jobs.due_at(end, POLICY) is None
    assert jobs.overdue(end, POLICY, now=NOON + 1e9) is None


@pytest.mark.parametrize("state", ENDS)
def test_the_same_end_again_is_no_error_and_no_change(state: JobState) -> None:
    """A repeated end returns the same object, so nothing is written, even if it says something else."""
    end = ended(state)
    assert ENDS[state](end) is end


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("verb", [*ENDS, "advance", "beat"])
def test_an_end_is_final(state: JobState, verb: str) -> None:
    """Any other end, update or sign of life is ``job_ended`` and tells which end it was."""
    if verb == state:
        return
    end = ended(state)
    verbs: dict[str, Verb] = {
        **ENDS,
        "advance": lambda job: said(job, current=9),
        "beat": lambda job: jobs.beat(job, now=NOON),
    }
    with pytest.raises(Conflict) as refused:
        verbs[verb](end)
    assert refused.value.code == "job_ended"
    assert refused.value.details["state"] == state
    assert isinstance(refused.value, JobCancelled) == (state == "cancelled")


@pytest.mark.parametrize("verb", ["completed", "failed", "advance", "beat"])
@pytest.mark.parametrize("existing", [replace(said(begun()), attempt=2), replace(ended("completed"), attempt=2)])
def test_a_worker_of_an_older_attempt_is_fenced_off(existing: Job, verb: str) -> None:
    """``stale_attempt``, whether the newer attempt still runs or has ended, even the same way."""
    verbs: dict[str, Verb] = {
        "completed": lambda job: jobs.complete(job, Complete(attempt=1), now=NOON),
        "failed": lambda job: jobs.fail(job, Fail(code="X", attempt=1), now=NOON),
        "advance": lambda job: said(job, current=9, attempt=1),
        "beat": lambda job: jobs.beat(job, now=NOON, attempt=1),
    }
    with pytest.raises(Conflict) as refused:
        verbs[verb](existing)
    assert (refused.value.code, refused.value.details["attempt"]) == ("stale_attempt", 2)


def test_an_attempt_that_never_began_is_a_conflict() -> None:
    """An update for attempt 2 of a job at attempt 1 is refused, not taken for attempt 1."""
    with pytest.raises(Conflict) as refused:
        said(said(begun()), attempt=2)
    assert refused.value.code == "conflict"


def test_completion_brings_a_known_total_to_100() -> None:
    """Current becomes the total; an unknown total stays unknown; result and output are kept for late readers."""
    done = jobs.complete(said(begun(total=32), current=30), Complete(result={"p": 1}, output_url="/x"), now=NOON + 1)
    assert (done.current, done.percent, done.result, done.output_url) == (32, 100.0, {"p": 1}, "/x")
    unknown = jobs.complete(said(begun(), current=30), Complete(), now=NOON + 1)
    assert (unknown.current, unknown.total, unknown.percent) == (30, None, None)
    assert jobs.complete(begun(), Complete(), now=NOON + 1).started_at == NOON + 1


def test_what_failure_and_cancellation_leave_behind() -> None:
    """A failure keeps its code, sentence and details, and how far the job came; a reason becomes the message."""
    job = said(begun(total=4), current=1, message="m")
    failed = jobs.fail(job, Fail(code="TEMPLATE_ERROR", message="no", details={"line": 7}), now=NOON + 1)
    assert failed.error is not None
    assert failed.error.to_json() == {"code": "TEMPLATE_ERROR", "message": "no", "details": {"line": 7}}
    assert (failed.current, failed.message) == (1, "m")
    assert jobs.cancel(job, Cancel(), now=NOON + 1).message == "m"
    cancelled = jobs.cancel(job, Cancel(reason="not needed"), now=NOON + 1)
    assert (cancelled.message, cancelled.steps[-1]) == ("not needed", (NOON + 1, "not needed"))


@given(st.lists(st.sampled_from([*ENDS, "advance", "beat", "overdue", "start"]), max_size=12))
def test_no_sequence_of_verbs_leaves_an_end_but_a_new_attempt(verbs: list[str]) -> None:
    """Absorbing: once ended, only ``start`` changes the job, and the attempt counts exactly those."""
    job = begun(total=3)
    for number, verb in enumerate(verbs):
        now, before = NOON + 1000 * number, job
        try:
            match verb:
                case "start":
                    job, _ = jobs.start(job, StartJob(title="T"), job_id="j", creator="c", policy=POLICY, now=now)
                case "advance":
                    job = said(job, now, by=1)
                case "beat":
                    job = jobs.beat(job, now=now)
                case "overdue":
                    job = jobs.overdue(job, POLICY, now=now) or job
                case _:
                    job = ENDS[verb](job)
        except Conflict:
            assert before.ended
        assert job.attempt == before.attempt + (before.ended and verb == "start")
        if before.ended and verb != "start":
            assert job is before


@given(st.lists(ADVANCES, max_size=6), st.sampled_from([None, *ENDS]))
def test_a_job_is_loaded_as_it_was_stored(advances: list[Advance], end: str | None) -> None:
    """Everything survives the store; the revision is the document's."""
    job = begun(owner="u7", watchers=["u8"])
    for number, advance in enumerate(advances):
        job = jobs.advance(job, jobs.progress(advance, NOON + number), now=NOON + number)
    job = job if end is None else ENDS[end](job)
    assert stored(job, 7) == replace(job, rev=7)


def test_the_document_of_a_live_job() -> None:
    """In every snapshot, never expiring, for its audiences, labelled by state and kind."""
    write = jobs.document(said(begun(kind="import", owner="u7", watchers=["u8"])), POLICY, replaces=3)
    assert (write.key, write.kind, write.replaces) == ("job:j", "job", 3)
    assert write.audiences == ("user:u7", "user:u8", "job:j")
    assert write.labels == ("state:running", "kind:import")
    assert (write.open_until, write.expires_at, write.due_at) == (math.inf, None, NOON + 30)


@pytest.mark.parametrize("state", ENDS)
def test_the_document_of_an_ended_job(state: JobState) -> None:
    """In snapshots for 15 minutes more, expired after the retention, never due."""
    write = jobs.document(ended(state), POLICY, replaces=None)
    assert write.labels == (f"state:{state}", "kind:job")
    assert (write.open_until, write.expires_at, write.due_at) == (NOON + 909, NOON + 9 + 7 * 86400, None)


class Named(Exception):
    """An exception that brings its own code."""

    milepost_code = "TEMPLATE_ERROR"


class Misnamed(Exception):
    """An exception whose code is none."""

    milepost_code = "not a code"


class NamedTimeout(TimeoutError):
    """Its own code goes before the taxonomy's."""

    milepost_code = "SLOW"


@pytest.mark.parametrize(
    ("exception", "code", "message"),
    [
        (TimeoutError("took 9 s"), "GENERATOR_TIMEOUT", "took 9 s"),
        (TimeoutError(), "GENERATOR_TIMEOUT", "TimeoutError"),
        (FileNotFoundError(2, "No such file", "/x"), "STORAGE_WRITE_FAIL", "[Errno 2] No such file: '/x'"),
        (ConnectionResetError("gone"), "STORAGE_WRITE_FAIL", "gone"),
        (Named("line 1\nline 2"), "TEMPLATE_ERROR", "line 1"),
        (NamedTimeout("x"), "SLOW", "x"),
        (Misnamed("x"), "UNEXPECTED", "x"),
        (ValueError("\n\n  first\r\nsecond"), "UNEXPECTED", "first"),
        (KeyError("k"), "UNEXPECTED", "'k'"),
        (ValueError("a\0b\ud800"), "UNEXPECTED", "ab?"),
        (ValueError("x" * 9000), "UNEXPECTED", "x" * 5000),
    ],
)
def test_what_an_exception_means_for_the_job(exception: Exception, code: str, message: str) -> None:
    """Contract section 5: code by the kind of exception, message its first line, no traceback; always a valid Fail."""
    assert jobs.error_of(exception) == (code, message)
    assert Fail(code=code, message=message).code == code
