"""The unread count of a snapshot: the same whether it is read off the page or asked of the engine."""

from __future__ import annotations

import random
from typing import Any

import pytest

from milepost import unread
from milepost.model import Identity
from milepost.queries import Queries
from tests.unit.world import ME, SEAL, World


@pytest.mark.parametrize("notifications", [0, 1, unread.SHOWN - 1, unread.SHOWN, unread.SHOWN + 5])
async def test_the_count_of_a_snapshot_is_the_engines(world: World, notifications: int) -> None:
    """Own ones and broadcasts; read, archived, all marked as read, and newer ones since: each reader's own number."""
    engine: Any = world.engine
    other = Identity("other")
    queries = Queries(engine, world.ledger, SEAL)
    choose = random.Random(notifications)
    for number in range(notifications):
        await world.notify(choose.choice(["me", "me", None]), f"n{number}")
        if choose.random() < 0.1:
            await world.ledger.mark_all_read(ME)
        newest = await queries.notifications(ME, after=None, before=None, status=None, limit=3)
        for note in newest.notifications:
            if choose.random() < 0.2:
                await choose.choice([world.ledger.mark_read, world.ledger.archive])(ME, note.id)
    for identity in (ME, other):
        page = await engine.changes("default", identity.audiences, None, now=world.wall(), recent=unread.SHOWN)
        counted = await unread.of_page(engine, SEAL, "default", identity.user, page, whole=True)
        assert counted == (await unread.of_users(engine, SEAL, "default", [identity.user]))[identity.user]
