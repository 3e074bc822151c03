"""Redis goes away, hangs, restarts, forgets, hands over: nothing is lost in silence, and everybody goes on alone."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from milepost.commands import Notify
from milepost.engine import Engine
from milepost.errors import Unavailable
from milepost.idempotency import Once
from milepost.ledger import Ledger
from milepost.model import Cursor, Identity
from milepost.testing import wait_until
from milepost.testing.documents import NOW, SECONDS, keys, read_on, revisions, start, write
from tests.engines.redis_server import RedisServer, running_cluster, running_redis
from tests.engines.traffic import BOUND, FOR_EVER, RECOVERED, Traffic, dice, opened, until_it_works, verbs
from tests.faults.proxy import Proxy, proxy_to

PERSISTENCE: dict[str, dict[str, Any]] = {
    "always": {"appendonly": "yes", "appendfsync": "always"},
    "everysec": {"appendonly": "yes", "appendfsync": "everysec"},
    "none": {},
}


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    """A server that stays, empty."""
    redis_server.do("FLUSHALL")
    return redis_server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    """A network between engine and server, which can fail."""
    with proxy_to(server.port) as proxy:
        yield proxy


def url(proxy: Proxy, more: str = "") -> str:
    """The server behind a proxy."""
    return f"redis://127.0.0.1:{proxy.port}{more}"


# --- restarts, and what they forget


@pytest.mark.parametrize("keeps", PERSISTENCE)
async def test_killed(tmp_path: Path, keeps: str) -> None:
    """Three kills at random points of the traffic: with a log nothing acknowledged is lost; without one every reader
    is told; everybody goes on within 5 s, and nothing is committed twice."""  # noqa: D209
    chance = dice()
    with running_redis(tmp_path, **PERSISTENCE[keeps]) as server:
        async with opened(server.url, server.url, server.url) as engines:
            traffic = Traffic(engines[:2], engines[2], forgets=keeps == "none", seed=chance.randrange(2**32))
            async with traffic.running():
                for n in range(1, 4):
                    await traffic.got_through()
                    await asyncio.sleep(chance.uniform(0, 0.2))
                    await asyncio.to_thread(server.kill)
                    await asyncio.sleep(chance.choice((0.0, 2.2)))  # shorter, or longer, than a verb tries
                    await asyncio.to_thread(server.start)
                    await traffic.was_reset(n)
                await traffic.got_through()
            traffic.check()


async def test_flushed(server: RedisServer) -> None:
    """FLUSHALL under traffic, three times: the reader is told each time, also where the new history has long passed
    the revision that it had seen."""  # noqa: D209
    chance = dice()
    async with opened(server.url, server.url) as (engine, reader):
        traffic = Traffic([engine], reader, forgets=True, seed=chance.randrange(2**32))
        async with traffic.running():
            for n in range(1, 4):
                await traffic.got_through()
                await asyncio.sleep(chance.uniform(0, 0.2))
                server.do("FLUSHALL")
                await traffic.was_reset(n)
        traffic.check()
        before = await start(engine)
        server.do("FLUSHALL")
        await engine.commit("t", [write(f"k{n}") for n in range(before.revision + 50)])
        assert (await reader.changes("t", None, before, now=NOW)).reset == "epoch"


async def test_flushed_registry(server: RedisServer) -> None:
    """What is due is found after the set of all tenants was lost, whoever commits and whoever asks."""
    async with opened(server.url, server.url) as (engine, other):
        await engine.commit("t", [write("a", due_at=NOW)])
        server.do("FLUSHALL")
        await engine.commit("t", [write("b", due_at=NOW)])
        assert [it.document.key for it in await other.due(now=NOW)] == ["b"]


async def test_promoted_with_lag(tmp_path: Path) -> None:
    """A replica that lagged is promoted: what it never had is lost, and whoever had seen it is told, though the new
    history goes beyond the old one; a replica that is none yet is not read."""  # noqa: D209
    with ExitStack() as running:
        primary = running.enter_context(running_redis(tmp_path / "a"))
        replica = running.enter_context(running_redis(tmp_path / "b"))
        between = running.enter_context(proxy_to(primary.port))
        front = running.enter_context(proxy_to(primary.port))
        replica.do("REPLICAOF", "127.0.0.1", str(between.port))
        await wait_until(lambda: replica.info("master_link_status") == "up")
        async with opened(url(front), url(front)) as (engine, reader):
            await engine.commit("t", [write("kept", open_until=FOR_EVER)])
            await wait_until(lambda: replica.info("master_repl_offset") == primary.info("master_repl_offset"))
            between.mute()
            await engine.commit("t", [write(f"lost-{n}", open_until=FOR_EVER) for n in range(3)])
            cursor = await start(reader)
            async with reader.hints() as hints:
                primary.kill()
                front.target = replica.port
                front.cut()
                with pytest.raises(Unavailable, match="replica"):
                    await reader.heads(["t"])
                replica.do("REPLICAOF", "NO", "ONE")
                await until_it_works(lambda: engine.commit("t", [write(f"new-{n}") for n in range(9)]))
                assert await asyncio.wait_for(anext(hints), RECOVERED) is None
            page = await reader.changes("t", None, cursor, now=NOW)
            assert (page.reset, keys(page), page.cursor.revision) == ("epoch", ["kept"], 10)


@pytest.mark.parametrize("durability", ["relaxed", "replicated"])
async def test_promotions(tmp_path: Path, durability: str) -> None:
    """Three times under traffic the primary is killed and its replica takes over. Where that one lagged everybody is
    told and ends with the truth; ``replicated`` loses nothing that was acknowledged."""  # noqa: D209
    chance = dice()
    lags = durability == "relaxed"
    settings = PERSISTENCE["none" if lags else "always"]
    with ExitStack() as running:
        primary = running.enter_context(running_redis(tmp_path / "0", **settings))
        front = running.enter_context(proxy_to(primary.port))

        async def attach(name: str) -> tuple[RedisServer, Proxy]:
            replica = running.enter_context(running_redis(tmp_path / name, **settings))
            between = running.enter_context(proxy_to(primary.port))
            replica.do("REPLICAOF", "127.0.0.1", str(between.port))
            await wait_until(lambda: replica.info("master_link_status") == "up")
            return replica, between

        replica, between = await attach("1")
        async with opened(*[url(front, f"?durability={durability}")] * 3) as engines:
            traffic = Traffic(engines[:2], engines[2], forgets=lags, seed=chance.randrange(2**32))
            async with traffic.running():
                for n in range(1, 4):
                    await traffic.got_through()
                    await asyncio.sleep(chance.uniform(0, 0.2))
                    if lags:
                        between.mute()
                        await traffic.got_through()
                    await asyncio.to_thread(primary.kill)
                    replica.do("REPLICAOF", "NO", "ONE")
                    front.target = replica.port
                    front.cut()
                    await traffic.was_reset(n)
                    primary = replica
                    replica, between = await attach(str(n + 1))
                await traffic.got_through()
            traffic.check()


async def test_nothing_unconfirmed_is_acknowledged_later(tmp_path: Path) -> None:
    """``replicated`` without a replica: a request is refused, and refused again under its idempotency key, although it
    was carried out; when a replica has it, it is answered as it was the first time."""  # noqa: D209
    with running_redis(tmp_path / "a", **PERSISTENCE["always"]) as one:
        async with opened(f"{one.url}?durability=replicated") as (engine,):
            ledger, me = Ledger(engine), Identity("me", tenant="t", scopes=frozenset({"produce"}))
            once = Once.of("key", "notify", b"")
            for _ in range(2):
                with pytest.raises(Unavailable, match="replica"):
                    await ledger.notify(me, Notify(user="me", title="x"), once)
            with running_redis(tmp_path / "b", **PERSISTENCE["always"]) as two:
                two.do("REPLICAOF", "127.0.0.1", str(one.port))
                await until_it_works(lambda: ledger.notify(me, Notify(user="me", title="x"), once))
            page = await engine.changes("t", ["user:me"], None, now=NOW)
            assert revisions(page.documents) == [1]
            await ledger.close()


async def test_demoted_in_the_middle(tmp_path: Path) -> None:
    """A primary that becomes a replica keeps its connections: nobody reads from it from then on, or writes."""
    with running_redis(tmp_path / "a") as one, running_redis(tmp_path / "b") as two:
        async with opened(one.url) as (engine,):
            await engine.commit("t", [write("a")])
            before = await start(engine)
            one.do("REPLICAOF", "127.0.0.1", str(two.port))
            for verb in (lambda: engine.get("t", ["a"]), lambda: engine.commit("t", [write("b")])):
                with pytest.raises(Unavailable):
                    await verb()
            one.do("REPLICAOF", "NO", "ONE")
            await until_it_works(lambda: engine.heads(["t"]))
            assert (await start(engine)).epoch != before.epoch


# --- the network


@pytest.mark.parametrize("how", ["hangs", "stops", "is away"])
async def test_every_verb_is_bounded(server: RedisServer, proxy: Proxy, how: str) -> None:
    """A server that hangs or is away: every verb says ``engine_away`` within 2 s, and works again within 5 s."""
    async with opened(url(proxy)) as (engine,):
        await engine.commit("t", [write("a")])
        asked = verbs(engine, (await start(engine)).epoch)
        breaking = {"hangs": proxy.mute, "stops": lambda: server.signal(signal.SIGSTOP), "is away": proxy.refuse}
        breaking[how]()
        try:
            began = time.monotonic()
            answers = await asyncio.gather(*(_timed(verb()) for verb in asked.values()))
            assert time.monotonic() - began < 2 * BOUND
            for name, (answer, took) in zip(asked, answers, strict=True):
                assert getattr(answer, "code", answer) == "engine_away", name
                assert took < BOUND, name
        finally:
            server.signal(signal.SIGCONT)
            proxy.heal()
        began = time.monotonic()
        for verb in asked.values():
            await until_it_works(verb)
        assert time.monotonic() - began < RECOVERED


async def test_hanging_server_commits_nothing_twice(server: RedisServer) -> None:
    """A server that stops for a while, again and again: what was sent meanwhile is stored once or not at all."""
    async with opened(server.url, server.url, server.url) as engines:
        traffic = Traffic(engines[:2], engines[2])
        async with traffic.running():
            for pause in (0.3, 1.2, 2.5):
                await traffic.got_through()
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(pause)  # the fault itself
                server.signal(signal.SIGCONT)
            await traffic.got_through()
        assert traffic.in_doubt
        traffic.check()
        assert traffic.resets == 0


async def test_reply_lost(server: RedisServer, proxy: Proxy) -> None:
    """The answer to a commit that was carried out is lost: the engine asks again, gets the first outcome, and it is
    there once."""  # noqa: D209
    async with opened(url(proxy), server.url) as (far, near):
        await far.commit("t", [write("warm")])
        for n in range(20):
            lost = proxy.lose_reply(b"body-%d;" % n)
            some = [far.commit("t", [write(f"lost-{n}-{i}", body=b"body-%d;" % n, replaces=0)]) for i in range(5)]
            stored = [it for each in await asyncio.gather(*some) for it in each]
            assert lost.is_set()
            assert revisions(stored) == list(range(2 + 5 * n, 7 + 5 * n))
        found, cursor = await read_on(near, Cursor((await start(near)).epoch, 0))
        assert cursor.revision == len(found) == 101


async def test_connections_cut(server: RedisServer, proxy: Proxy) -> None:
    """Every connection dropped again and again: neither reads nor commits notice, and nothing is there twice."""
    async with opened(url(proxy), url(proxy), server.url) as engines:
        traffic = Traffic(engines[:2], engines[2])
        async with traffic.running():
            for _ in range(10):
                await traffic.got_through()
                proxy.cut()
                assert len(await engines[0].heads(["t"])) == 1
        assert not traffic.in_doubt
        traffic.check()


async def test_connections_cut_under_uvloop(server: RedisServer, proxy: Proxy) -> None:
    """On the event loop of the server, which speaks of ended connections in its own way, nothing is noticed either."""

    async def run() -> None:
        async with opened(url(proxy)) as (engine,), engine.hints() as hints:
            for n in range(5):
                await engine.commit("t", [write("a"), write(f"k{n}")])
                assert await engine.get("t", ["b"]) == [None]
                proxy.cut()
                assert await asyncio.wait_for(anext(hints), RECOVERED) in ("t", None)
            proxy.refuse()
            with pytest.raises(Unavailable):
                await engine.commit("t", [write("b")])
            proxy.heal()
            await until_it_works(lambda: engine.commit("t", [write("b")]))

    await asyncio.to_thread(uvloop.run, run())
    assert server.do("HGET", "mp:{t}", "head") == b"11"


async def test_cut_and_heal(server: RedisServer, proxy: Proxy) -> None:
    """The network drops everything for 5 s: what nobody was hinted of is found within 5 s of its return."""
    async with opened(url(proxy), server.url) as (far, near):
        await near.commit("t", [write("before")])
        cursor = await start(far)
        async with far.hints() as hints:
            proxy.mute()
            await near.commit("t", [write("meanwhile")])
            await asyncio.sleep(5)  # the fault itself
            proxy.heal()
            healed = time.monotonic()
            assert await _hears_of(far, hints, cursor, "meanwhile")
            assert time.monotonic() - healed < RECOVERED


async def test_hints_come_back(server: RedisServer) -> None:
    """The server ends subscriptions, as it does with those that lag: the next hint says "look at everything"."""
    async with opened(server.url, server.url) as (here, there):
        cursor = await start(there)
        async with there.hints() as hints:
            for n in range(3):
                server.do("CLIENT", "KILL", "TYPE", "pubsub")
                await here.commit("t", [write(f"k{n}")])
                assert await _hears_of(there, hints, cursor, f"k{n}")


async def test_hints_late(server: RedisServer, proxy: Proxy) -> None:
    """Hints that lag behind the commits cost time and nothing else."""
    async with opened(url(proxy), server.url) as (far, near):
        cursor = await start(far)
        async with far.hints() as hints:
            proxy.delay(0.2)
            for n in range(20):
                await near.commit("t", [write(f"k{n}")])
            assert await _hears_of(far, hints, cursor, "k19")


async def test_cancelled_callers(proxy: Proxy) -> None:
    """A caller that gives up leaves no answer behind that the next one would take for its own."""
    async with opened(url(proxy)) as (engine,):
        await engine.commit("t", [write(f"k{n}", body=b"%d" % n) for n in range(50)])
        proxy.delay(0.002)
        for n in range(50):
            given_up = asyncio.create_task(engine.get("t", [f"k{n}"]))
            await asyncio.sleep(random.uniform(0, 0.004))
            given_up.cancel()
            (it,) = await engine.get("t", [f"k{49 - n}"])
            assert it is not None
            assert it.body == b"%d" % (49 - n)


# --- the cluster


async def test_cluster_failover(tmp_path: Path) -> None:
    """A primary of a cluster is killed and its replica takes over: its tenants' readers are told, the others' are
    not, and everybody goes on by themselves."""  # noqa: D209
    with running_cluster(tmp_path) as servers, running_redis(tmp_path / "r", cluster_enabled="yes") as replica:
        async with opened(servers[0].url) as (engine,):
            tenants = [f"t{n}" for n in range(12)]
            for tenant in tenants:
                await engine.commit(tenant, [write("a", due_at=NOW)])
            before = dict(zip(tenants, await engine.heads(tenants), strict=True))
            dying = next(server for server in servers[1:] if server.do("DBSIZE"))
            replica.do("CLUSTER", "MEET", "127.0.0.1", str(servers[0].port))
            name = dying.do("CLUSTER", "MYID").decode()
            await wait_until(lambda: name in str(replica.do("CLUSTER", "NODES")))
            replica.do("CLUSTER", "REPLICATE", name)
            await wait_until(lambda: replica.info("master_link_status") == "up")
            for server in (*servers, replica):  # until all have heard of it, and it of all slots
                await wait_until(lambda server=server: sum(map(len, server.do("CLUSTER", "SLOTS"))) == 10)  # type: ignore[misc]
            async with engine.hints() as hints:
                dying.kill()
                replica.do("CLUSTER", "FAILOVER", "TAKEOVER")
                await until_it_works(lambda: engine.heads(tenants))
                after = dict(zip(tenants, await engine.heads(tenants), strict=True))
                moved = [tenant for tenant in tenants if before[tenant].epoch != after[tenant].epoch]
                assert 0 < len(moved) < len(tenants)
                assert {head.revision for head in after.values()} == {1}
                await engine.commit(moved[0], [write("b")])
                heard = None
                while heard not in (moved[0], None):
                    heard = await asyncio.wait_for(anext(hints), SECONDS)
            assert (await engine.changes(moved[0], None, before[moved[0]], now=NOW)).reset == "epoch"
            assert len(await engine.due(now=NOW)) == len(tenants)


async def _timed(verb: Any) -> tuple[object, float]:
    began = time.monotonic()
    try:
        answer: object = await verb
    except Unavailable as error:
        answer = error
    return answer, time.monotonic() - began


async def _hears_of(engine: Engine, hints: Any, cursor: Cursor, key: str) -> bool:
    """Follow hints until a document was read."""
    while True:
        await asyncio.wait_for(anext(hints), SECONDS)
        try:
            found, cursor = await read_on(engine, cursor)
        except Unavailable:
            continue
        if key in keys(found):
            return True
