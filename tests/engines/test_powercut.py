"""What the SQLite engine has acknowledged survives a power cut at any moment, and the check would notice if not."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from milepost.engine import Write
from milepost.engines.sqlite import file as sqlite_file
from tests.engines.powercut import NAME, Disk, Engine, Event, careless, cuts, lost

SEED = 20_260


async def run(folder: Path, engine_type: type[Engine]) -> list[Event]:
    """Commits one by one and many at once, of new and old documents, with checkpoints in between: what the disk saw."""
    disk = Disk()
    chance = random.Random(SEED)
    engine = engine_type(str(folder / NAME), disk)

    async def commit(number: int) -> None:
        body = chance.randbytes(chance.choice((10, 300, 6000)))
        key = f"k{chance.randrange(40)}"
        writes = [Write(key, "note", body, (f"user:{chance.randrange(5)}",), labels=(f"l{number % 3}",))]
        for document in await engine.commit("t", writes):
            disk.acknowledged(document)

    try:
        for number in range(60):
            await asyncio.gather(*(commit(number) for _ in range(number % 4 + 1)))
    finally:
        log = list(disk.log)
        await engine.close()
        disk.close()
    return log


def losses(log: list[Event], folder: Path, torn: random.Random | None) -> int:
    """How many cuts lost something."""
    return sum(bool(lost(cut, folder / f"cut-{n}")) for n, cut in enumerate(cuts(log, torn=torn)) if cut.acknowledged)


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints often enough that cuts fall into them."""
    monkeypatch.setattr(sqlite_file, "CHECKPOINT_PAGES", 60)


@pytest.mark.parametrize("torn", [False, True], ids=["only what was synced", "and any part of the rest"])
async def test_nothing_acknowledged_is_lost(tmp_path: Path, torn: bool) -> None:
    """[durable] After a power cut at any sync boundary every acknowledged commit is there and the file is sound."""
    log = await run(tmp_path, Engine)
    syncs = {event.file for event in log if event.what == "sync"}
    assert syncs >= {NAME, f"{NAME}-wal"}, "the run has to include checkpoints"
    chance = random.Random(SEED) if torn else None
    assert await asyncio.to_thread(losses, log, tmp_path, chance) == 0


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
async def test_the_check_catches_a_build_that_does_not_sync(tmp_path: Path, synchronous: str) -> None:
    """[durable] The same check finds lost commits in a build with ``synchronous`` below FULL."""
    log = await run(tmp_path, careless(synchronous))
    *_, last = cuts(log)
    assert await asyncio.to_thread(lost, last, tmp_path / "cut")
