"""The network between a store and those who share it falls silent, loses answers, drops connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from milepost.testing import wait_until
from tests.engines.traffic import PATIENCE, Traffic, dice, opened
from tests.faults.conftest import Far, far_store

SILENCES = (5.0, 30.0)
LANES = 3  # stores of each engine that suffer side by side, each at moments of its own


@pytest.fixture
def lanes(new_store: Callable[[str], str]) -> Iterator[list[Far]]:
    """Stores of both engines, each behind a network of its own."""
    with ExitStack() as running:
        yield [running.enter_context(far_store(new_store(engine))) for engine in ("redis", "postgres") * LANES]


@pytest.mark.timeout(240)
async def test_silences(lanes: list[Far]) -> None:
    """The network of one producer and all readers drops everything for 5 s, then for 30 s, while another one commits:
    calls end in time, all goes on by itself, nothing is lost, skipped or there twice."""  # noqa: D209
    chance = dice()

    async def suffer(far: Far, moments: random.Random) -> None:
        async with opened(far.url, far.direct, far.url) as engines:
            traffic = Traffic(engines[:2], engines[2], rest=0.2, seed=moments.randrange(2**32))
            async with traffic.running():
                for seconds in SILENCES:
                    await traffic.got_through()
                    await asyncio.sleep(moments.uniform(0, 0.5))
                    far.network.mute()
                    await asyncio.sleep(seconds)  # the fault itself
                    reached = traffic.reached
                    far.network.heal()
                    await traffic.got_through()
                    await wait_until(lambda reached=reached: traffic.reached > reached, seconds=PATIENCE)  # type: ignore[misc]
            assert traffic.in_doubt, f"the silence was noticed at {far.direct}"
            traffic.check()

    await asyncio.gather(*(suffer(far, random.Random(chance.randrange(2**32))) for far in lanes))


async def test_lost_replies(far: Far) -> None:
    """The answer to one request after another, whatever it was, is lost behind the store: what was asked for under one
    key is done once, and what was acknowledged is there."""  # noqa: D209
    chance = dice()
    async with opened(far.url, far.url) as engines:
        traffic = Traffic(engines[:1], engines[1], seed=chance.randrange(2**32))
        async with traffic.running():
            for _ in range(20):
                await asyncio.sleep(chance.uniform(0, 0.05))
                lost = far.network.lose_reply()
                await wait_until(lost.is_set)
                await traffic.got_through()
        traffic.check()


async def test_idle_connections_are_dropped(far: Far) -> None:
    """Connections that have been idle are cut at random, as a pooler in between does: nothing is lost or there twice,
    and nobody waits for longer than always."""  # noqa: D209
    chance = dice()
    cut = 0
    async with opened(far.url, far.url, far.url) as engines:
        traffic = Traffic(engines[:2], engines[2], rest=0.03, seed=chance.randrange(2**32))
        async with traffic.running():
            while cut < 40:
                await asyncio.sleep(chance.uniform(0, 0.1))
                cut += far.network.cut_idle(0.02, lambda: chance.random() < 0.5)
                await traffic.got_through()
        traffic.check()
