"""What the tests of the hub share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from milepost.engines import open_engine
from tests.unit.world import World


@pytest.fixture(params=["sqlite", "redis", "postgres"])
async def world(request: pytest.FixtureRequest, new_store: Callable[[str], str]) -> AsyncIterator[World]:
    """A hub that has started, on each engine."""
    engine = open_engine(new_store(request.param))
    made = World(engine)
    await made.hub.start()
    yield made
    await made.hub.stop()
    await made.ledger.close()
    await engine.close()
