from __future__ import annotations

import time
from pathlib import Path

import pytest

from milepost.coalescer import WINDOW
from milepost.commands import Advance, StartJob
from milepost.engines import open_engine
from milepost.errors import Conflict
from milepost.ledger import Ledger
from milepost.model import Identity

WORKER = Identity("worker", scopes=frozenset({"produce"}))


async def test_a_refused_update_takes_nothing_along(tmp_path: Path) -> None:
    """An update of an older attempt that meets acknowledged progress waiting is refused alone; what waits is kept."""
    engine = open_engine(f"sqlite:///{tmp_path}/c.db")
    ledger = Ledger(engine)
    await ledger.start_job(WORKER, StartJob(id="j", title="T"))
    await ledger.advance(WORKER, "j", Advance(current=1))
    assert (await ledger.advance(WORKER, "j", Advance(current=7))).current == 7
    # the loop is held up until the window is over, so the next update comes before the window's own commit
    held_until = time.monotonic() + WINDOW + 0.01
    while time.monotonic() < held_until:
        pass
    with pytest.raises(Conflict):
        await ledger.advance(WORKER, "j", Advance(current=9, attempt=2))
    await ledger.close()
    fresh = Ledger(engine)
    assert (await fresh.advance(WORKER, "j", Advance())).current == 7
    await engine.close()
