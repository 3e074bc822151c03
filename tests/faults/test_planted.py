"""Bugs that are planted, to see that the checker of the fault tests finds each: it has to name the right promise.

Each is a mistake that one could well make. Whatever such a bug needs to show itself, a slow commit, an answer that is
lost, a moment between two steps, is brought about here, so that nothing depends on luck or on the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from milepost import hub as hub_module
from milepost.engines.postgres.session import SQL
from milepost.engines.postgres.writer import Writer
from milepost.engines.redis import client, link
from milepost.engines.redis.hints import Hints
from milepost.engines.redis.scripts import TEXTS
from milepost.errors import Unavailable
from milepost.hub import Hub
from milepost.subscriber import Subscriber
from milepost.testing import wait_until
from milepost.testing.documents import start
from tests.engines.postgres_server import PostgresServer
from tests.engines.redis_server import RedisServer, running_redis
from tests.engines.traffic import Traffic, opened, until_it_works
from tests.faults.proxy import Proxy, proxy_to

PATIENCE = 3.0  # the readers' time: what is lost for good does not come later

# A sequence with room for all that one commit writes, and commits of one of the producers that take their time.
SLOW_FIRST_PRODUCER = """
    CREATE SEQUENCE milepost.bare INCREMENT BY 16;
    INSERT INTO milepost.tenant (name) VALUES ('t');
    CREATE FUNCTION milepost.dawdle() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
    CREATE TRIGGER dawdle AFTER INSERT ON milepost.document FOR EACH ROW WHEN (new.key LIKE '0-%')
        EXECUTE FUNCTION milepost.dawdle();
"""

Edit = Callable[[str, str], None]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for this test alone."""
    with running_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[Proxy]:
    """The network in front of it."""
    with proxy_to(redis.port) as proxy:
        yield proxy


@pytest.fixture
def edit_scripts(monkeypatch: pytest.MonkeyPatch) -> Edit:
    """Replaces a passage in all scripts of the Redis engine."""

    def edit(passage: str, other: str) -> None:
        texts = {name: text.replace(passage.encode(), other.encode()) for name, text in TEXTS.items()}
        assert texts != TEXTS
        hashes = {name: hashlib.sha1(text, usedforsecurity=False).hexdigest().encode() for name, text in texts.items()}
        monkeypatch.setattr(link, "TEXTS", texts)
        for module in (link, client):
            monkeypatch.setattr(module, "HASHES", hashes)

    return edit


def through(proxy: Proxy) -> str:
    """The Redis behind a proxy."""
    return f"redis://127.0.0.1:{proxy.port}"


def blamed(traffic: Traffic) -> set[str]:
    """The promises that the checker found broken."""
    return {fault.partition(":")[0] for fault in traffic.faults}


@pytest.mark.parametrize("engine", ["sqlite", "redis", "postgres"])
async def test_without_a_bug(new_store: Callable[[str], str], engine: str) -> None:
    """Two producers and their readers on a store that nothing happens to: the checker has nothing to say."""
    async with opened(*[new_store(engine)] * 3) as engines:
        traffic = Traffic(engines[:2], engines[2])
        async with traffic.running():
            await traffic.got_through(60)
        traffic.check()
        assert not traffic.in_doubt


async def test_bare_sequence(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL: revisions from a sequence, which become visible as commits end. Readers pass over a slow one."""
    database = postgres_server.new_database()
    url = postgres_server.url(database)
    async with opened(url, url, url) as engines:
        await engines[0].heads(["t"])
        postgres_server.execute(SLOW_FIRST_PRODUCER, database)
        bare = "nextval('milepost.bare') - 1"
        monkeypatch.setitem(SQL, "lock", SQL["lock"].replace("t.head", bare).replace("FOR UPDATE", ""))
        monkeypatch.setitem(SQL, "grow", SQL["grow"].replace("= n.head", "= greatest(t.head, n.head)"))
        traffic = Traffic(engines[:2], engines[2], patience=PATIENCE)
        async with traffic.running():
            await wait_until(lambda: traffic.acknowledged > 60, seconds=30)
        assert blamed(traffic) == {"missed"}


async def test_retried_commit_on_postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL: a commit whose answer was lost is simply sent again. It is stored twice."""
    database = postgres_server.new_database()
    store = Writer._store  # noqa: SLF001

    async def again(self: Writer, *todo: Any) -> None:
        try:
            await store(self, *todo)
        except Unavailable:
            await store(self, *todo)

    monkeypatch.setattr(Writer, "_store", again)
    with proxy_to(postgres_server.port) as proxy:
        far, near = postgres_server.url(database, port=proxy.port), postgres_server.url(database)
        async with opened(far, near) as engines:
            await engines[1].heads(["t"])
            traffic = Traffic(engines[:1], engines[1], patience=PATIENCE)
            async with traffic.running():
                await _lose_a_reply(traffic, proxy)
            assert blamed(traffic) == {"repeated"}


async def test_retried_commit_on_redis(redis: RedisServer, proxy: Proxy, edit_scripts: Edit) -> None:
    """Redis: the script does not know a group of commits again whose answer was lost. It is stored twice."""
    edit_scripts("if number == ARGV[6] then", "if false then")
    async with opened(through(proxy), redis.url) as engines:
        traffic = Traffic(engines[:1], engines[1], patience=PATIENCE)
        async with traffic.running():
            await _lose_a_reply(traffic, proxy)
        assert blamed(traffic) == {"repeated"}


async def _lose_a_reply(traffic: Traffic, proxy: Proxy) -> None:
    await traffic.got_through()
    lost = proxy.lose_reply(b"plain 0-")
    await wait_until(lost.is_set)
    await traffic.got_through()


async def test_publish_and_subscribe_only(redis: RedisServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that hands on what comes in while it is subscribed, and begins anew with each subscription."""

    async def listen(self: Hub) -> None:
        async with self.engine.hints() as hints:
            async for name in hints:
                for tenant in self._tenants.values():
                    if name is None:
                        (tenant.position,) = await self.engine.heads([tenant.name])
                    else:
                        tenant.grew.set()

    monkeypatch.setattr(Hub, "_listen", listen)
    monkeypatch.setattr(hub_module, "BACKSTOP_SECONDS", 1e6)  # the second net below the first
    await _deaf_for_a_while(redis, proxy)


async def test_no_read_after_a_reconnect(redis: RedisServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription that comes back without "look at everything". What was committed meanwhile stays unseen."""
    add = Hints._add  # noqa: SLF001
    monkeypatch.setattr(Hints, "_add", lambda self, tenant: None if tenant is None else add(self, tenant))
    monkeypatch.setattr(hub_module, "BACKSTOP_SECONDS", 1e6)  # the second net below the first
    await _deaf_for_a_while(redis, proxy)


async def _deaf_for_a_while(redis: RedisServer, proxy: Proxy) -> None:
    """The readers' network goes away, something is committed, it comes back, and then nothing is committed any more."""
    async with opened(redis.url, through(proxy)) as engines:
        traffic = Traffic(engines[:1], engines[1], patience=PATIENCE)
        async with traffic.running():
            await traffic.got_through()
            await traffic.people_stay()
            await traffic.pause()
            await asyncio.sleep(0.5)  # what was hinted is read by then: nobody is asking when the network goes
            proxy.refuse()
            traffic.go_on()
            await traffic.got_through(18)  # so many that some are for each user
            await traffic.production_ended()
            proxy.heal()
            await wait_until(lambda: redis.do("PUBSUB", "NUMSUB", "mp:hint")[1] == 2)
        assert blamed(traffic) == {"missed"}


async def test_epoch_without_replication_id(tmp_path: Path, edit_scripts: Edit) -> None:
    """Redis: the epoch is the tenant's own alone. A replica that lagged takes over, and readers believe in the past."""
    edit_scripts("redis.sha1hex(replid .. own)", "redis.sha1hex(own)")
    with ExitStack() as running:
        primary = running.enter_context(running_redis(tmp_path / "a"))
        replica = running.enter_context(running_redis(tmp_path / "b"))
        between = running.enter_context(proxy_to(primary.port))
        front, readers = (running.enter_context(proxy_to(primary.port)) for _ in range(2))
        replica.do("REPLICAOF", "127.0.0.1", str(between.port))
        await wait_until(lambda: replica.info("master_link_status") == "up")
        async with opened(through(front), through(readers)) as engines:
            traffic = Traffic(engines[:1], engines[1], forgets=True, patience=PATIENCE)
            async with traffic.running():
                await traffic.got_through()
                between.mute()
                lag_begins = traffic.reached
                await wait_until(lambda: traffic.reached > lag_begins + 20)
                readers.refuse()
                primary.kill()
                replica.do("REPLICAOF", "NO", "ONE")
                front.target = readers.target = replica.port
                front.cut()
                await until_it_works(lambda: engines[0].heads(["t"]))
                # Beyond the readers' cursors, which are some revisions further than what they were shown last: a cursor
                # that is ahead of the head would be found out.
                while (await start(engines[0])).revision <= traffic.reached + 20:
                    await traffic.got_through()
                readers.heal()
            assert traffic.resets == 0
            assert {"missed", "untrue"} <= blamed(traffic)


async def test_late_registration(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that makes a reader's first read and then puts it among the listeners. What came in between is lost."""

    async def late(self: Hub, subscriber: Subscriber) -> None:
        page = await self._read(subscriber)
        counted = await self._inbox_of(subscriber, page)
        await traffic.got_through(18)  # so many that some are for each user
        await self._enter(subscriber)
        subscriber.first = page, counted

    monkeypatch.setattr(Hub, "open", late)
    async with opened(redis.url, redis.url) as engines:
        traffic = Traffic(engines[:1], engines[1], patience=PATIENCE)
        async with traffic.running():
            await traffic.people_stay()
            await traffic.got_through()
        assert blamed(traffic) == {"missed"}
