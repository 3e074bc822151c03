"""Limits that hold across processes: the counting against a plain model. On real engines: ``test_nodes``."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from milepost.engines import open_engine
from milepost.errors import RateLimited, Unavailable
from milepost.model import Identity
from milepost.server.limits import Admission, Lease, Tally
from milepost.server.shares import AUDIENCE, LEASE_SECONDS, RENEW_SECONDS, Exchange, Shares
from milepost.server.tickets import SYSTEM_TENANT
from milepost.settings import Settings
from milepost.testing import wait_until
from tests.engines.reference import Tenant

PER_USER: Final = 4
PER_TENANT: Final = 6
RATE: Final = 4
HOUR: Final = 3600.0
ADDRESS: Final = "192.0.2.1"
# of one tenant the streams are bounded, of the other the connects
USERS = [Identity("ann", "streams"), Identity("ben", "streams"), Identity("ann", "connects")]

users = st.sampled_from(USERS)
which = st.integers(0, 9)


@dataclass
class Process:
    """One process with a clock of its own, and what it has read of the store."""

    name: str
    offset: float
    clock: Callable[[], float]
    door: Admission
    shares: Shares
    read_up_to: int | None = None
    leases: list[tuple[Identity, Lease]] = field(default_factory=list)


class Counting(RuleBasedStateMachine):
    """Processes at one store that connect, end streams, are killed, stop and start; then all that live agree.

    The model is all the connects and streams there are, counted in one place.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0
        self.store = Tenant()
        self.random = random.Random(1)
        self.processes: list[Process] = []
        self.names = iter(range(10_000))
        self.settings = Settings.load(
            connect_rate=RATE,
            tenants={
                "streams": {"connect_rate": 0, "max_streams_per_user": PER_USER, "max_streams_per_tenant": PER_TENANT}
            },
        )

    def start_one(self, before: Process | None = None) -> None:
        """A process whose clock began at some other time, or one that takes the place of another on its host."""
        offset = before.offset if before else self.random.uniform(0, HOUR)

        def clock() -> float:
            return self.time + offset

        door = Admission(self.settings, now=clock)
        name = before.name if before else f"p{next(self.names)}"
        self.processes.append(Process(name, offset, clock, door, Shares(door, name)))

    def exchange(self, process: Process) -> None:
        """What an ``Exchange`` does."""
        now = process.clock()
        page = self.store.changes([AUDIENCE], process.read_up_to, now=self.time, limit=999, recent=0, keys=None)
        process.shares.take(page.documents, now, everything=process.read_up_to is None or page.reset is not None)
        process.read_up_to = page.revision
        process.shares.expire(now)
        while process.shares.consider(now, 3):
            pass
        self.store.commit(process.shares.writes(now, self.time), self.time)

    def settle(self) -> None:
        """Two exchanges of each tell all that there is to know; a third where a process is new."""
        for _ in range(4):
            for process in self.random.sample(self.processes, len(self.processes)):
                self.exchange(process)

    def let_leases_end(self) -> None:
        """Whoever has not heard of the dead yet counts them from now on, for a lease's time."""
        self.settle()
        self.wait(LEASE_SECONDS + 1)

    @initialize(count=st.integers(2, 4))
    def begin(self, count: int) -> None:
        """Some processes."""
        for _ in range(count):
            self.start_one()

    @rule()
    def start(self) -> None:
        """One more, or none where there are many. It takes a lease's time to tell who of those it finds is dead."""
        if len(self.processes) < 5:
            self.start_one()
            self.let_leases_end()

    @rule(at=which, who=users, times=st.integers(1, 3))
    def connect(self, at: int, who: Identity, times: int) -> None:
        """Somebody connects somewhere, or is refused."""
        process = self.processes[at % len(self.processes)]
        with contextlib.suppress(RateLimited):
            for _ in range(times):
                process.leases.append((who, process.door.connect(who, None)))

    @rule(at=which, times=st.integers(1, 3))
    def attempt(self, at: int, times: int) -> None:
        """Attempts come from an address."""
        with contextlib.suppress(RateLimited):
            for _ in range(times):
                self.processes[at % len(self.processes)].door.attempt(ADDRESS)

    @rule(at=which, number=which)
    def end(self, at: int, number: int) -> None:
        """A stream ends."""
        process = self.processes[at % len(self.processes)]
        if process.leases:
            process.leases.pop(number % len(process.leases))[1].release()

    @rule(at=which)
    def exchange_one(self, at: int) -> None:
        """One process exchanges, the others do not get to it."""
        self.exchange(self.processes[at % len(self.processes)])

    @rule(at=which)
    def lose_a_commit(self, at: int) -> None:
        """A commit fails: it is stored or it is not, and nobody knows."""
        process = self.processes[at % len(self.processes)]
        process.shares.consider(process.clock(), 999)
        writes = process.shares.writes(process.clock(), self.time)
        if self.random.random() < 0.5:
            self.store.commit(writes, self.time)
        process.shares.failed(writes)

    @rule(at=which, again=st.booleans())
    def kill(self, at: int, again: bool) -> None:
        """A process is killed; another one takes its place under its name, or its lease ends."""
        if len(self.processes) == 1:
            return
        dead = self.processes.pop(at % len(self.processes))
        if again:
            self.start_one(dead)
        self.let_leases_end()

    @rule(at=which)
    def stop(self, at: int) -> None:
        """A process ends as it should."""
        if len(self.processes) > 1:
            gone = self.processes.pop(at % len(self.processes))
            self.store.commit(gone.shares.farewell(), self.time)

    @rule(seconds=st.sampled_from((1.0, 29.0, 70.0, 400.0)))
    def wait(self, seconds: float) -> None:
        """Time passes, and all that live exchange in it."""
        until = self.time + seconds
        while self.time < until:
            self.time = min(until, self.time + 2.0)
            for process in self.processes:
                self.exchange(process)

    @rule(hours=st.sampled_from((0, 1)))
    def prune(self, hours: int) -> None:
        """Somebody prunes; their clock may be an hour ahead."""
        self.store.prune(self.time + hours * HOUR)

    @rule()
    def empty(self) -> None:
        """The store loses everything, and all read it anew."""
        self.store.documents.clear()
        for process in self.processes:
            process.read_up_to = None

    @rule()
    def agree(self) -> None:
        """Everywhere somebody is refused exactly if all together hold, or have tried, as much as they may."""
        self.settle()
        doors = [process.door for process in self.processes]
        of_tenant = sum(door.tenants.streams.get("streams", 0) for door in doors)
        for who in USERS[:2]:
            of_user = sum(door.streams_of(who) for door in doors)
            self.refused_everywhere(who, of_user >= PER_USER or of_tenant >= PER_TENANT)
        pace = self.pace(lambda door: door.users, (USERS[2].tenant, USERS[2].user))
        self.refused_everywhere(USERS[2], pace + 1 > RATE, pace)
        pace = self.pace(lambda door: door.addresses, ADDRESS)
        self.refused_everywhere(None, pace + 1 > RATE, pace)

    def pace(self, tally: Callable[[Admission], Tally], key: object) -> float:
        """Connects of the last minute, wherever they were."""
        return sum(tally(p.door).connects.minutes(key, p.clock()).weight(p.clock()) for p in self.processes)

    def refused_everywhere(self, who: Identity | None, refused: bool, pace: float = 0.0) -> None:
        """Check it. It changes nothing where it is so; where it is not, others do not know of the connect yet."""
        if abs(pace + 1 - RATE) < 1e-6:
            return  # a rounding error decides
        for process in self.processes:
            try:
                if who is None:
                    process.door.attempt(ADDRESS)
                else:
                    process.door.connect(who, None).release()
            except RateLimited:
                assert refused, (who, pace)
            else:
                assert not refused, (who, pace)
                if pace:
                    return

    def teardown(self) -> None:
        """In the end nothing is counted that is not there."""
        if not self.processes:
            return
        self.let_leases_end()
        for process in self.processes:
            for _, lease in process.leases:
                lease.release()
        self.settle()
        for process in self.processes:
            for tally in (process.door.users, process.door.tenants, process.door.addresses):
                assert not any(elsewhere.streams for elsewhere in tally.elsewhere.values())


Counting.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCounting = Counting.TestCase


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_however_a_user_is_spread(processes: int) -> None:
    """One stream below the limit, or at it, in every way to spread them: all let in, or all refuse."""
    for spread in itertools.product(range(PER_USER + 1), repeat=processes):
        if sum(spread) not in (PER_USER - 1, PER_USER):
            continue
        machine = Counting()
        for _ in range(processes):
            machine.start_one()
        for at, times in enumerate(spread):
            machine.connect(at, USERS[0], times)
        machine.agree()


class Door:
    """An admission, its exchange on a real engine, and a clock that the test moves."""

    def __init__(self, path: Path, name: str) -> None:
        self.seconds = 1000.0
        self.engine = open_engine(f"sqlite:///{path}/hub.db")
        self.admission = Admission(
            Settings.load(max_streams_per_user=2, connect_rate=0), now=lambda: self.seconds + len(name) * HOUR
        )
        self.exchange = Exchange(self.admission, self.engine, name)

    def admits(self, who: Identity) -> bool:
        """Whether a stream would be let in."""
        try:
            self.admission.connect(who, None).release()
        except RateLimited:
            return False
        return True

    async def close(self) -> None:
        """End it as a server does."""
        await self.exchange.stop()
        await self.engine.close()


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[tuple[Door, Door]]:
    """Two of them on one store, and a user with two streams at the first."""
    one, other = Door(tmp_path, "one"), Door(tmp_path, "other")
    for _ in range(2):
        one.admission.connect(USERS[0], None)
    yield one, other
    await one.close()
    await other.close()


@pytest.mark.anyio
async def test_two_doors(doors: tuple[Door, Door]) -> None:
    """Their tasks tell each other by themselves, and who stops takes back what it told."""
    one, other = doors
    assert other.admits(USERS[0])
    await other.exchange.start()
    await one.exchange.start()
    await wait_until(lambda: not other.admits(USERS[0]))
    assert other.admits(USERS[1])
    await one.exchange.stop()
    await wait_until(lambda: other.admits(USERS[0]))


@pytest.mark.anyio
async def test_a_store_that_is_away(doors: tuple[Door, Door]) -> None:
    """What was told counts until its lease ends; then each door counts its own."""
    one, other = doors
    for _ in range(2):
        await other.exchange.exchange()
        await one.exchange.exchange()
    assert not other.admits(USERS[0])
    await other.engine.close()
    other.seconds += LEASE_SECONDS - 1
    with pytest.raises(Unavailable):
        await other.exchange.exchange()
    assert not other.admits(USERS[0])
    other.seconds += 2
    with pytest.raises(Unavailable):
        await other.exchange.exchange()
    assert other.admits(USERS[0])
    assert not one.admits(USERS[0])


@pytest.mark.anyio
async def test_nothing_is_written_of_a_process_on_its_own(tmp_path: Path) -> None:
    """Many users below their limits are no document; a process alone writes only that it lives."""
    door = Door(tmp_path, "alone")
    for n in range(1500):
        door.admission.connect(Identity(f"u{n}"), f"192.0.2.{n % 250}")
    await door.exchange.exchange()
    door.seconds += RENEW_SECONDS + 1
    await door.exchange.exchange()
    stored = await door.engine.changes(SYSTEM_TENANT, None, None, now=0.0)
    assert ([it.key for it in stored.documents], stored.cursor.revision) == (["share:alone/life"], 2)
    await door.exchange.stop()
    assert await door.engine.get(SYSTEM_TENANT, ["share:alone/life"]) == [None]
    await door.engine.close()
