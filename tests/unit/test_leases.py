from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from milepost import inbox, jobs
from milepost.commands import Advance, Complete, Notify, StartJob
from milepost.engine import Engine, Write
from milepost.engines import open_engine
from milepost.errors import Conflict, Unavailable
from milepost.jobs import Policy
from milepost.leases import BROKEN_SECONDS, PAGE, Leases
from milepost.ledger import Ledger
from milepost.model import Identity, Job
from milepost.testing import FakeClock

NOON = 1_750_000_000.0
POLICY = Policy(lease=30.0, grace=300.0)
WORKER = Identity("worker", scopes=frozenset({"produce", "consume"}))


@dataclass
class World:
    """One store, one ledger on it, and the leases that watch over it."""

    wall: FakeClock
    steady: FakeClock  # the monotonic clock, which nobody sets
    engine: Engine
    ledger: Ledger
    leases: Leases

    async def pass_time(self, seconds: float, *, looking: bool = True, beats: str | None = None) -> None:
        """Let time go by in small steps, looking as often as the leases ask for."""
        end = self.steady.now + seconds
        next_look, next_beat = self.steady.now, self.steady.now
        while self.steady.now < end:
            step = min(0.25, end - self.steady.now)
            self.wall.advance(step)
            self.steady.advance(step)
            if beats is not None and self.steady.now >= next_beat:
                await self.ledger.advance(WORKER, beats, Advance())
                next_beat = self.steady.now + 10
            if looking and self.steady.now >= next_look:
                next_look = self.steady.now + await self.leases.look()

    async def restart(self) -> None:
        """Another process takes over the same store."""
        await self.ledger.close()
        self.ledger = Ledger(self.engine, policy=POLICY, now=self.wall)
        self.leases = Leases(self.ledger, self.engine, POLICY, self.wall, self.steady)

    async def job(self, job_id: str = "j") -> Job:
        """The job as stored."""
        document = (await self.engine.get("default", [f"job:{job_id}"]))[0]
        assert document is not None
        return jobs.load(document)

    async def begin(self, job_id: str = "j", **fields: object) -> None:
        """A job that runs, and was heard of just now."""
        await self.ledger.start_job(WORKER, StartJob.model_validate({"id": job_id, "title": "T", **fields}))
        await self.ledger.advance(WORKER, job_id, Advance(current=1))

    async def state_after(self, seconds: float, job_id: str = "j") -> str:
        """The job's state when that much time has gone by."""
        await self.pass_time(seconds)
        return (await self.job(job_id)).state


@pytest.fixture(params=["sqlite", "redis", "postgres"])
async def world(request: pytest.FixtureRequest, new_store: Callable[[str], str]) -> AsyncIterator[World]:
    """A fresh store of each engine at noon."""
    wall, steady = FakeClock(NOON), FakeClock(5.0)
    engine = open_engine(new_store(request.param))
    ledger = Ledger(engine, policy=POLICY, now=wall)
    world = World(wall, steady, engine, ledger, Leases(ledger, engine, POLICY, wall, steady))
    yield world
    await world.ledger.close()
    await engine.close()


async def test_a_silent_job_is_stalled_within_a_second_of_its_lease(world: World) -> None:
    """4.5: nothing happens before the lease is over, and the job is stalled at most 1 s after it."""
    await world.pass_time(60)
    await world.begin()
    assert await world.state_after(29.75) == "running"
    assert await world.state_after(1.25) == "stalled"
    assert world.leases.tally.stalled == 1


async def test_a_stalled_job_fails_within_a_second_of_its_grace(world: World) -> None:
    """4.5: lease and grace after the last sign of life the job fails with GENERATOR_TIMEOUT, for good."""
    await world.pass_time(60)
    await world.begin()
    assert await world.state_after(329.75) == "stalled"
    assert await world.state_after(1.25) == "failed"
    job = await world.job()
    assert job.error is not None
    assert job.error.code == "GENERATOR_TIMEOUT"
    with pytest.raises(Conflict) as zombie:
        await world.ledger.advance(WORKER, "j", Advance(current=2))
    assert zombie.value.code == "job_ended"


async def test_beats_keep_a_job_running_and_write_nothing(world: World) -> None:
    """A job whose worker only beats stays running through many leases and keeps its revision; then silence counts from
    the last beat.
    """
    await world.begin()
    before = await world.job()
    await world.pass_time(200, beats="j")
    assert (await world.job()).rev == before.rev
    last_beat = world.steady.now
    while (await world.job()).state == "running":
        await world.pass_time(0.25)
    assert 20 <= world.steady.now - last_beat <= 31
    assert await world.state_after(301) == "failed"


async def test_an_update_brings_a_stalled_job_back(world: World) -> None:
    """A worker that is heard of again within the grace goes on as if nothing had been."""
    await world.pass_time(60)
    await world.begin()
    assert await world.state_after(100) == "stalled"
    await world.ledger.advance(WORKER, "j", Advance(current=7))
    job = await world.job()
    assert (job.state, job.current) == ("running", 7)
    assert await world.state_after(29) == "running"


async def test_a_queued_job_waits_for_ever_unless_it_has_a_deadline(world: World) -> None:
    """Only a deadline ends a job that no worker has touched."""
    await world.ledger.start_job(WORKER, StartJob(id="patient", title="T"))
    await world.ledger.start_job(WORKER, StartJob(id="import", kind="import", title="T"))
    await world.pass_time(299)
    assert (await world.job("import")).state == "queued"
    await world.pass_time(2)
    assert (await world.job("import")).state == "failed"
    assert await world.state_after(1000, "patient") == "queued"


async def test_a_total_that_never_comes_fails_the_job(world: World) -> None:
    """A document whose total is unknown 60 s after it began to run fails with UNKNOWN_TOTAL_TIMEOUT, beats or not."""
    await world.begin(kind="document")
    await world.pass_time(59, beats="j")
    assert (await world.job()).state == "running"
    await world.pass_time(2)
    job = await world.job()
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "UNKNOWN_TOTAL_TIMEOUT")


async def test_a_deadline_of_a_job_begun_after_the_start_is_kept_at_once(world: World) -> None:
    """The first lease after a start is no excuse for jobs that this process has heard of: a deadline of 2 s is 2 s."""
    await world.pass_time(1)
    await world.begin(deadline_seconds=2)
    assert await world.state_after(1.5) == "running"
    assert await world.state_after(1.5) == "failed"


async def test_the_end_of_a_dead_job_is_told_to_its_owner(world: World) -> None:
    """A job with ``notify`` that dies leaves its owner a notification, in the same commit."""
    await world.pass_time(60)
    await world.begin(owner="u7", notify=True)
    await world.pass_time(332)
    page = await world.engine.find("default", ["user:u7"], kind="notification")
    assert [inbox.load(document).level for document in page.documents] == ["error"]


async def test_after_a_start_every_running_job_gets_one_fresh_lease(world: World) -> None:
    """F20: the hub was down for longer than lease and grace; a living worker loses nothing, a dead one's job stalls
    after one lease and fails after the whole grace.
    """
    await world.begin("alive")
    await world.begin("dead")
    await world.pass_time(600, looking=False)
    await world.restart()
    await world.pass_time(20)
    assert {(await world.job(name)).state for name in ("alive", "dead")} == {"running"}
    await world.ledger.advance(WORKER, "alive", Advance(current=2))
    assert await world.state_after(9, "dead") == "running"
    assert await world.state_after(2, "dead") == "stalled"
    assert (await world.job("alive")).state == "running"
    assert await world.state_after(298, "dead") == "stalled"
    assert await world.state_after(2, "dead") == "failed"


async def test_a_fresh_lease_is_granted_only_once(world: World) -> None:
    """What was due at the start is judged when its one fresh lease is over, stalled jobs and deadlines included."""
    await world.pass_time(60)
    await world.begin("silent")
    await world.begin("late", kind="import")
    await world.pass_time(31)
    await world.pass_time(1000, looking=False)
    await world.restart()
    await world.pass_time(29)
    assert {(await world.job(name)).state for name in ("silent", "late")} == {"stalled"}
    await world.pass_time(2)
    assert {(await world.job(name)).state for name in ("silent", "late")} == {"failed"}


async def test_a_process_that_was_stopped_does_not_blame_the_workers(world: World) -> None:
    """F24: after SIGSTOP and SIGCONT of this process a job whose lease ended meanwhile gets a fresh one."""
    await world.begin()
    await world.pass_time(20)
    await world.pass_time(40, looking=False)
    assert await world.state_after(29.75) == "running"
    assert world.leases.tally.granted == 1
    assert await world.state_after(2) == "stalled"


@pytest.mark.parametrize("jump", [3600.0, 2 * 86400.0, 16.0])
async def test_a_clock_set_forward_expires_no_lease(world: World, jump: float) -> None:
    """F18: after a jump a worker that beats on time keeps its job, and a silent one's stalls after one lease."""
    await world.begin("alive")
    await world.begin("silent")
    await world.pass_time(14)
    world.wall.advance(jump)
    await world.pass_time(20)
    assert {(await world.job(name)).state for name in ("alive", "silent")} == {"running"}
    await world.pass_time(100, beats="alive")
    assert (await world.job("alive")).state == "running"
    assert (await world.job("silent")).state == "stalled"


@pytest.mark.parametrize("jump", [-3600.0, -86400.0])
async def test_a_clock_set_back_keeps_no_dead_job_alive(world: World, jump: float) -> None:
    """F18: after a jump back a silent job stalls after one fresh lease and then fails, not a jump later."""
    await world.pass_time(60)
    await world.begin("stalled")
    await world.pass_time(32)
    await world.begin("alive")
    await world.begin("silent")
    await asyncio.gather(*(world.begin(f"more-{number}") for number in range(PAGE)))
    await world.pass_time(1)
    world.wall.advance(jump)
    await world.pass_time(29, beats="alive")
    assert (await world.job("silent")).state == "running"
    assert (await world.job("stalled")).state == "stalled"
    await world.pass_time(3, beats="alive")
    assert [(await world.job(name)).state for name in ("alive", "silent", "stalled")] == [
        "running",
        "stalled",
        "failed",
    ]
    assert (await world.job(f"more-{PAGE - 1}")).state == "stalled"
    await world.pass_time(301)
    assert (await world.job("silent")).state == "failed"


async def test_many_jobs_that_die_at_once_are_all_found_in_one_look(world: World) -> None:
    """More dead jobs than one page holds: the next look follows at once until none is left."""
    await world.pass_time(60)
    count = PAGE + 10
    await asyncio.gather(*(world.begin(f"j{number}") for number in range(count)))
    world.wall.advance(30)
    world.steady.advance(30)
    await world.leases.look()  # was away: grants
    world.wall.advance(15)
    world.steady.advance(15)
    waits = [await world.leases.look()]
    world.wall.advance(15)
    world.steady.advance(15)
    while (wait := await world.leases.look()) == 0:
        waits.append(wait)
    assert world.leases.tally.stalled == count


class Refusing:
    """An engine whose ``due`` can be made to fail, as when the store is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.away = False

    def __getattr__(self, name: str) -> object:
        if name == "due" and self.away:
            return self._away
        return getattr(self._engine, name)

    async def _away(self, **_: object) -> None:
        raise Unavailable(code="engine_away")


async def test_an_engine_that_was_away_is_no_silence_of_the_workers(world: World) -> None:
    """While the store cannot be asked no worker can be heard either; when it is back each job gets a fresh lease."""
    refusing = Refusing(world.engine)
    leases = Leases(world.ledger, refusing, POLICY, world.wall, world.steady)  # type: ignore[arg-type]
    world.leases = leases
    await world.begin()
    await world.pass_time(10)
    refusing.away = True
    with pytest.raises(Unavailable):
        await leases.look()
    await world.pass_time(60, looking=False)
    with pytest.raises(Unavailable):
        await leases.look()
    refusing.away = False
    assert await world.state_after(29) == "running"
    assert await world.state_after(3) == "stalled"


async def test_a_worker_that_reports_while_its_job_is_judged_wins(world: World) -> None:
    """The due job was read, then the worker's update was committed: nothing is taken from it."""
    await world.pass_time(60)
    await world.begin()
    await world.pass_time(29)
    world.wall.advance(2)
    [due] = await world.engine.due(now=world.wall.now)
    elsewhere = Ledger(world.engine, policy=POLICY, now=world.wall)
    await elsewhere.advance(WORKER, "j", Advance(current=2))
    await elsewhere.close()
    assert await world.ledger.settle_overdue(due) is None
    assert (await world.job()).state == "running"


async def test_a_broken_document_does_not_stand_before_the_others(world: World) -> None:
    """A due job that cannot be read is put off; the job behind it is judged in the same look."""
    await world.pass_time(60)
    await world.begin()
    job = await world.job()
    broken = replace(jobs.document(job, POLICY, replaces=0), key="job:broken", body=b"{", due_at=world.wall.now)
    await world.engine.commit("default", [broken])
    assert await world.state_after(31) == "stalled"
    [due] = await world.engine.due(now=math.inf, limit=1)
    assert due.document.key == "job:j"
    assert len(await world.engine.due(now=world.wall.now + BROKEN_SECONDS)) == 2


async def test_expired_documents_are_pruned_every_minute(world: World) -> None:
    """What has expired is gone within a minute, a full batch at once and the rest in the next look."""
    note = inbox.create(Notify(user="u7", title="T"), notification_id="n", user="u7", now=world.wall.now)
    writes = [
        replace(inbox.document(note, retention=10, replaces=None), key=f"notification:{number}")
        for number in range(1100)
    ]
    await world.engine.commit("default", writes)
    await world.leases.look()
    assert len((await world.engine.find("default", ["user:u7"], kind="notification")).documents) == 50
    await world.pass_time(61)
    assert (await world.engine.find("default", ["user:u7"], kind="notification")).documents == []
    assert world.leases.tally.pruned == 1100


async def test_a_look_asks_for_the_next_one_when_something_will_be_due(world: World) -> None:
    """Nothing near: half a second. Something due in 0.2 s: 0.2 s."""
    assert await world.leases.look() == 0.5
    await world.engine.commit("default", [Write("job:x", "job", b"{}", due_at=world.wall.now + 0.2)])
    assert await world.leases.look() == pytest.approx(0.2)


async def test_the_task_finds_a_dead_job_by_itself(tmp_path: Path) -> None:
    """Started for real, with a lease of 1.6 s: the job stalls and fails without anybody asking; stop ends the task."""
    policy = Policy(lease=1.6, grace=0.4)
    engine = open_engine(f"sqlite:///{tmp_path}/real.db")
    ledger = Ledger(engine, policy=policy)
    leases = Leases(ledger, engine, policy)
    await leases.start()
    await leases.start()
    await ledger.start_job(WORKER, StartJob(id="j", title="T"))
    await ledger.start_job(WORKER, StartJob(id="done", title="T"))
    await ledger.advance(WORKER, "j", Advance(current=1))
    await ledger.end(WORKER, "done", Complete())
    try:
        async with engine.hints() as hints:
            async for _ in hints:
                document = (await engine.get("default", ["job:j"]))[0]
                assert document is not None
                if jobs.load(document).ended:
                    break
    finally:
        await leases.stop()
        await leases.stop()
        await ledger.close()
        await engine.close()
    assert (leases.tally.stalled, leases.tally.failed) == (1, 1)
