"""What the tests of the hub share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from milepost.engines import open_engine
from tests.unit.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A hub that has started."""
    engine = open_engine(f"sqlite:///{tmp_path}/hub.db")
    made = World(engine)
    await made.hub.start()
    yield made
    await made.hub.stop()
    await made.ledger.close()
    await engine.close()
