"""A process that forwards its writes keeps the engine contract, and outlives the one that it forwards to."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from milepost.engine import Engine
from milepost.engines import open_engine
from milepost.engines.sqlite import forwarding
from milepost.engines.sqlite.group import Group
from milepost.errors import Conflict, Unavailable
from milepost.testing import EngineContract
from milepost.testing.documents import SECONDS, start, write
from tests.engines.writing_process import WritingProcess


@pytest.fixture(scope="module")
def writing_process() -> Iterator[WritingProcess]:
    """A process that writes, for all tests here that do not harm it."""
    process = WritingProcess()
    yield process
    process.close()


@pytest.fixture
def own_process() -> Iterator[WritingProcess]:
    """A process that writes, for one test."""
    process = WritingProcess()
    yield process
    process.close()


@pytest.fixture
async def engine(own_process: WritingProcess) -> AsyncIterator[Engine]:
    """What forwards to it."""
    engine = open_engine(own_process.url, own_process.family)
    yield engine
    await engine.close()


class TestForwarding(EngineContract):
    """The whole contract, on a file that another process writes."""

    @pytest.fixture
    def url(self, writing_process: WritingProcess) -> str:
        """An empty file."""
        writing_process.empty()
        self.process = writing_process
        return writing_process.url

    def open(self, url: str) -> Engine:
        """Another process of the family."""
        return open_engine(url, self.process.family)


def test_every_task_can_be_forwarded() -> None:
    """What is done to a group from outside is all that the other end accepts."""
    verbs = {name for name in vars(Group) if not name.startswith("_")} - {"flush"}
    assert verbs == forwarding.VERBS


async def test_only_its_owner_may_connect(own_process: WritingProcess) -> None:
    """The socket and its folder are open to nobody else."""
    assert stat.S_IMODE((own_process.folder / "writer").stat().st_mode) == 0o600
    assert stat.S_IMODE(own_process.folder.stat().st_mode) == 0o700


async def test_what_waits_together_is_one_group(engine: Engine, own_process: WritingProcess) -> None:
    """Commits that two forwarding engines send at the same time share syncs: hundreds of them take few groups."""
    other = open_engine(own_process.url, own_process.family)
    reader = forwarding.ForwardingEngine(f"{own_process.folder}/milepost.db", own_process.folder / "writer")
    await reader.ping()
    await asyncio.gather(*(each.commit("t", [write(f"k{n}")]) for n in range(500) for each in (engine, other)))
    assert (await start(engine)).revision == 1000
    await reader.ping()  # told after all groups before it
    assert 0 < len(reader.writer.own) <= 200
    await other.close()
    await reader.close()


async def test_the_process_that_writes_dies_and_is_replaced(engine: Engine, own_process: WritingProcess) -> None:
    """What was sent fails as of unknown outcome, at once; what comes meanwhile waits for the next one and is stored."""
    await engine.commit("t", [write("before")])
    os.kill(own_process.process.pid, signal.SIGSTOP)
    under_way = asyncio.ensure_future(engine.commit("t", [write("under way", replaces=0)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    os.kill(own_process.process.pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="may or may not be stored") as raised:
        await asyncio.wait_for(under_way, SECONDS)
    assert raised.value.code == "engine_away"
    with own_process.process:
        pass
    meanwhile = asyncio.ensure_future(engine.commit("t", [write("meanwhile")]))
    await asyncio.to_thread(own_process.start)
    await asyncio.gather(meanwhile, return_exceptions=True)  # a slow machine may have taken too long to start it
    await engine.commit("t", [write("after")])
    assert [it is not None for it in await engine.get("t", ["before", "after"])] == [True, True]
    with pytest.raises(Conflict):
        await engine.commit("t", [write("before", replaces=0)])


async def test_away(engine: Engine, own_process: WritingProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody to write, reads go on, and a write is refused after a while: nothing was stored."""
    monkeypatch.setattr(forwarding, "AWAY_SECONDS", 0.1)
    await engine.commit("t", [write("a")])
    own_process.process.kill()
    with own_process.process:
        pass
    for attempt in (engine.commit("t", [write("b")]), engine.ping(), engine.prune(now=0.0)):
        with pytest.raises(Unavailable) as raised:
            await attempt
        assert raised.value.code == "engine_away"
    assert [it is not None for it in await engine.get("t", ["a", "b"])] == [True, False]


async def test_a_process_that_hangs_is_given_up(
    engine: Engine, own_process: WritingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer counts as away after ``ANSWER_SECONDS``; once it goes on, so does everything."""
    monkeypatch.setattr(forwarding, "ANSWER_SECONDS", 0.3)
    await engine.commit("t", [write("a")])
    os.kill(own_process.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(engine.commit("t", [write("b")]), SECONDS)
    finally:
        os.kill(own_process.process.pid, signal.SIGCONT)
    monkeypatch.undo()
    await engine.commit("t", [write("c")])


async def test_a_bound_on_what_waits(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than ``QUEUE_TASKS`` calls wait for their answers: one more is refused, the others are carried out."""
    await engine.ping()
    monkeypatch.setattr(forwarding, "QUEUE_TASKS", 5)
    results = await asyncio.gather(*(engine.commit("t", [write(f"k{n}")]) for n in range(6)), return_exceptions=True)
    refused = [each for each in results if isinstance(each, Unavailable)]
    assert [each.code for each in refused] == ["overloaded"]
    assert (await start(engine)).revision == 5


async def test_a_process_that_does_not_read_is_not_hinted_without_end(engine: Engine, tmp_path: Path) -> None:
    """Hints for one that stopped reading become a single one, for everything, when it reads again."""
    del tmp_path
    served = forwarding._Served(engine.writer, set())  # type: ignore[attr-defined]  # noqa: SLF001
    sent: list[bytes] = []
    served.transport = type("Sink", (), {"write": lambda _, data: sent.append(data)})()
    served.hear(1, ["t"])
    served.pause_writing()
    for group in range(2, 1000):
        served.hear(group, ["t"])
    assert len(sent) == 1
    served.resume_writing()
    served.hear(1000, ["t"])
    assert len(sent) == 3
