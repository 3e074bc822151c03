"""PostgreSQL goes away, hangs, restarts, forgets: what was acknowledged stays, and everybody goes on by themselves."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from milepost.commands import Notify
from milepost.engine import Engine
from milepost.engines.postgres import PostgresEngine
from milepost.engines.postgres.writer import Task, begin
from milepost.errors import Unavailable
from milepost.idempotency import Once
from milepost.ledger import Ledger
from milepost.model import Cursor, Identity
from milepost.testing import wait_until
from milepost.testing.documents import NOW, SECONDS, keys, read_on, revisions, start, write, writing
from tests.engines.postgres_server import PostgresServer, postgres
from tests.engines.traffic import BOUND, RECOVERED, Traffic, dice, opened, until_it_works, verbs
from tests.faults.proxy import Proxy, proxy_to


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server that these tests may stop and kill; each leaves it running."""
    with postgres() as server:
        yield server


@pytest.fixture
def standby_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="milepost-standby-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    """A network between the engine and the server, which can fail."""
    with proxy_to(postgres_server.port) as proxy:
        yield proxy


@pytest.mark.parametrize("how", ["kill -9", "immediate", "fast"])
async def test_restarts(mortal: PostgresServer, how: str) -> None:
    """Three restarts at random points of the traffic: nothing acknowledged is lost, all go on within 5 s."""
    chance = dice()
    url = mortal.url(mortal.new_database())
    async with opened(url, url, url) as engines:
        await engines[0].heads(["t"])
        traffic = Traffic(engines[:2], engines[2], seed=chance.randrange(2**32))
        async with traffic.running():
            for _ in range(3):
                await traffic.got_through()
                await asyncio.sleep(chance.uniform(0, 0.2))
                if how == "kill -9":
                    await asyncio.to_thread(mortal.kill)
                else:
                    await asyncio.to_thread(mortal.stop, how)
                await asyncio.to_thread(mortal.start)
            await traffic.got_through()
        assert traffic.in_doubt, "the restarts were noticed"
        traffic.check()


async def test_dropped_connections(postgres_server: PostgresServer, proxy: Proxy) -> None:
    """Every connection dropped again and again, as a pooler does: reads do not notice, commits are in doubt at most."""
    database = postgres_server.new_database()
    direct, through = postgres_server.url(database), postgres_server.url(database, port=proxy.port)
    async with opened(through, through, direct) as engines:
        traffic = Traffic(engines[:2], engines[2])
        async with traffic.running():
            for _ in range(10):
                await traffic.got_through()
                proxy.cut()
                assert len(await engines[0].heads(["t"])) == 1
            await traffic.got_through()
        traffic.check()


async def test_dropped_while_it_is_made(postgres_server: PostgresServer, proxy: Proxy) -> None:
    """A connection that is cut in its first moment is made again, and who asked does not notice."""
    async with opened(postgres_server.url(postgres_server.new_database(), port=proxy.port)) as (engine,):
        lost = proxy.lose_reply(b"application_name")
        assert len(await engine.heads(["t"])) == 1
        assert lost.is_set()


@pytest.mark.parametrize("how", ["hangs", "is away"])
async def test_every_verb_is_bounded(postgres_server: PostgresServer, proxy: Proxy, how: str) -> None:
    """A server that hangs or is away: every verb says ``engine_away`` within 2 s, and works again within 5 s."""
    async with opened(postgres_server.url(postgres_server.new_database(), port=proxy.port)) as (engine,):
        await engine.commit("t", [write("a")])
        asked = verbs(engine, (await start(engine)).epoch)
        if how == "hangs":
            proxy.mute()
        else:
            proxy.refuse()
        for name, verb in asked.items():
            began = time.monotonic()
            with pytest.raises(Unavailable) as raised:
                await verb()
            assert raised.value.code == "engine_away", name
            assert time.monotonic() - began < BOUND, name
        proxy.heal()
        began = time.monotonic()
        for verb in asked.values():
            await until_it_works(verb)
        assert time.monotonic() - began < RECOVERED


async def test_many_wait_for_a_server_that_hangs(postgres_server: PostgresServer, proxy: Proxy) -> None:
    """A hundred calls at once, more than there are sessions: none waits longer than one does."""
    async with opened(postgres_server.url(postgres_server.new_database(), port=proxy.port)) as (engine,):
        await engine.commit("t", [write("a")])
        proxy.mute()
        began = time.monotonic()
        calls = [engine.get("t", ["a"]) for _ in range(50)] + [engine.commit("t", [write(f"k{n}")]) for n in range(50)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - began < BOUND + 0.3
        assert {getattr(answer, "code", answer) for answer in answers} == {"engine_away"}
        proxy.heal()
        await until_it_works(lambda: engine.get("t", ["a"]))


async def test_cut_and_heal(postgres_server: PostgresServer, proxy: Proxy) -> None:
    """The network drops everything for 5 s: hints that nobody sent are made up for within 5 s of its return."""
    database = postgres_server.new_database()
    far, near = postgres_server.url(database, port=proxy.port), postgres_server.url(database)
    async with opened(far, near) as (there, here):
        cursor, held = await start(there), set[str]()
        async with there.hints() as hints:
            await here.commit("t", [write("before")])
            while "before" not in held:
                await asyncio.wait_for(anext(hints), SECONDS)
                found, cursor = await read_on(there, cursor)
                held |= set(keys(found))
            proxy.mute()
            await here.commit("t", [write("meanwhile")])
            await asyncio.sleep(5)  # the fault itself
            proxy.heal()
            healed = time.monotonic()
            while "meanwhile" not in held:
                await asyncio.wait_for(anext(hints), SECONDS)
                try:
                    found, cursor = await read_on(there, cursor)
                except Unavailable:
                    continue
                held |= set(keys(found))
            assert time.monotonic() - healed < RECOVERED


async def test_the_listening_backend_is_killed(postgres_server: PostgresServer) -> None:
    """The one backend that listens ends, three times: hints go on, and what came meanwhile is hinted too."""
    database = postgres_server.new_database()
    async with opened(postgres_server.url(database), postgres_server.url(database)) as (here, there):
        await here.commit("t", [write("k")])
        async with there.hints() as hints:
            cursor = await start(there)
            for n in range(3):
                assert await asyncio.wait_for(anext(hints), SECONDS) in ("t", None)
                await wait_until(lambda: _kill_listening_backend(postgres_server, database))
                await here.commit("t", [write(f"k{n}")])
                began, held = time.monotonic(), set[str]()
                while f"k{n}" not in held:
                    await asyncio.wait_for(anext(hints), SECONDS)
                    found, cursor = await read_on(there, cursor)
                    held |= set(keys(found))
                assert time.monotonic() - began < RECOVERED
                await here.commit("t", [write("more")])


async def test_the_listening_backend_is_killed_under_traffic(postgres_server: PostgresServer) -> None:
    """The backend that listens is ended at three random points, and nobody misses anything."""
    chance = dice()
    url = postgres_server.url(database := postgres_server.new_database())
    async with opened(url, url, url) as engines:
        await engines[0].heads(["t"])
        traffic = Traffic(engines[:2], engines[2], seed=chance.randrange(2**32))
        async with traffic.running():
            for _ in range(3):
                await traffic.got_through()
                await asyncio.sleep(chance.uniform(0, 0.5))
                await wait_until(lambda: _kill_listening_backend(postgres_server, database))
            await traffic.got_through()
        traffic.check()


def _kill_listening_backend(server: PostgresServer, database: str) -> bool:
    killed = server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        " AND (query LIKE '%outbox%' OR query LIKE 'LISTEN%') AND pid <> pg_backend_pid()"
    )
    return bool(killed)


async def test_reply_lost(postgres_server: PostgresServer, proxy: Proxy) -> None:
    """The answer to a COMMIT is lost: the caller hears that nobody knows, and it is there once, not again."""
    database = postgres_server.new_database()
    async with opened(postgres_server.url(database, port=proxy.port), postgres_server.url(database)) as (far, near):
        for n in range(5):
            await far.commit("t", [write("warm")])
            lost = proxy.lose_reply(b"body-%d" % n)  # which is sent together with the COMMIT
            with pytest.raises(Unavailable):
                await far.commit("t", [write(f"lost-{n}", body=b"body-%d" % n, replaces=0)])
            assert lost.is_set()
            await _until_there(near, f"lost-{n}")
        found, cursor = await read_on(near, Cursor((await start(near)).epoch, 0))
        assert sorted(keys(found)) == sorted(["warm", *(f"lost-{n}" for n in range(5))])
        assert cursor.revision == 10


async def test_order_of_two_processes(postgres_server: PostgresServer) -> None:
    """Two processes commit while a reader reads on all the time: it never passes a revision that appears later."""
    url, count = postgres_server.url(postgres_server.new_database()), 150
    async with opened(url) as (engine,):
        cursor, seen = await start(engine), list[str]()
        async with writing(url, "one", count) as one, writing(url, "two", count) as two:
            done = asyncio.gather(one.communicate(), two.communicate())
            while not done.done() or cursor != await start(engine):
                found, cursor = await read_on(engine, cursor, limit=5)
                seen += [key for key in keys(found) if key != "shared"]
                await asyncio.sleep(0)
            await done
        assert len(seen) == len(set(seen)) == 2 * count


async def test_a_slow_commit_holds_the_next_one(postgres_server: PostgresServer) -> None:
    """Who has drawn a revision and not yet committed is waited for: the next one does not become visible before it."""
    url = postgres_server.url(postgres_server.new_database())
    async with opened(url) as (engine,):
        await engine.commit("t", [write("a")])
        with psycopg.connect(url) as slow:
            slow.execute("UPDATE milepost.tenant SET head = head + 1 WHERE name = 't'")
            slow.execute("UPDATE milepost.document SET revision = 2")
            next_one = asyncio.create_task(engine.commit("t", [write("b")]))
            await asyncio.wait((next_one,), timeout=0.3)
            assert not next_one.done()
            assert (await start(engine)).revision == 1
        assert revisions(await next_one) == [3]


async def test_a_stopped_process_holds_nobody_up(postgres_server: PostgresServer) -> None:
    """A process that is stopped between its lock and its commit: the server ends its transaction within 2 s."""
    url = postgres_server.url(postgres_server.new_database())
    async with opened(url, url) as (stopped, engine):
        await engine.commit("t", [write("a")])
        assert isinstance(stopped, PostgresEngine)
        session = await stopped.server.connect()
        task = Task("t", asyncio.get_running_loop().create_future(), [write("b")])
        await begin(session, [task], None)  # and there it stops
        began = time.monotonic()
        await until_it_works(lambda: engine.commit("t", [write("b", replaces=0)]))
        assert time.monotonic() - began < RECOVERED
        session.close()


async def test_nothing_is_freed_under_the_driver(postgres_server: PostgresServer) -> None:
    """A session that is closed while a statement runs is freed when that has ended, and it ends at once."""
    url = postgres_server.url(database := postgres_server.new_database())
    async with opened(url) as (engine,):
        assert isinstance(engine, PostgresEngine)
        session = await engine.server.connect()
        work = asyncio.create_task(session.use(session.connection.execute("SELECT pg_sleep(60)")))
        running = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{database}' AND wait_event = 'PgSleep'"
        await wait_until(lambda: postgres_server.execute(running))
        session.close()
        assert not session.connection.closed
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(work, SECONDS)
        assert session.connection.closed


async def test_promoted_with_lag(mortal: PostgresServer, standby_folder: Path) -> None:
    """A standby that lagged is promoted: its revisions are given anew, and every reader of the old ones starts over."""
    database = mortal.new_database()
    try:
        async with opened(mortal.url(database)) as (before,):
            await before.commit("t", [write("kept", open_until=9e9)])
            standby = await asyncio.to_thread(mortal.standby, standby_folder)
            await before.commit("t", [write(f"lost-{n}") for n in range(3)])
            cursor = await start(before)
        await asyncio.to_thread(mortal.stop)
        await asyncio.to_thread(standby.start)
        try:
            async with opened(standby.url(database)) as (after,):
                with pytest.raises(Unavailable):
                    await after.heads(["t"])  # nobody reads from a standby
                await asyncio.to_thread(standby.promote)
                await until_it_works(lambda: after.heads(["t"]))
                await after.commit("t", [write(f"new-{n}") for n in range(9)])
                page = await after.changes("t", None, cursor, now=NOW)
                assert (page.reset, keys(page)) == ("epoch", ["kept"])
                assert (await after.changes("t", None, page.cursor, now=NOW)).reset is None
        finally:
            await asyncio.to_thread(standby.stop)
    finally:
        await asyncio.to_thread(mortal.start)


async def test_nothing_unconfirmed_is_acknowledged_later(mortal: PostgresServer) -> None:
    """A synchronous standby that is not there: a request is refused, and refused again under its idempotency key,
    although it was carried out; when nobody has to confirm it any more, it is answered as it was the first time."""  # noqa: D209
    async with opened(mortal.url(mortal.new_database())) as (engine,):
        await engine.commit("t", [write("a")])
        ledger, me = Ledger(engine), Identity("me", tenant="t", scopes=frozenset({"produce"}))
        once = Once.of("key", "notify", b"")
        mortal.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        mortal.execute("SELECT pg_reload_conf()")
        try:
            await wait_until(lambda: mortal.execute("SHOW synchronous_standby_names") == [("nobody",)])
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await ledger.notify(me, Notify(user="me", title="x"), once)
        finally:
            mortal.execute("ALTER SYSTEM RESET synchronous_standby_names")
            mortal.execute("SELECT pg_reload_conf()")
        await until_it_works(lambda: ledger.notify(me, Notify(user="me", title="x"), once))
        page = await engine.changes("t", ["user:me"], None, now=NOW)
        assert revisions(page.documents) == [2]
        await ledger.close()


@pytest.mark.parametrize("replication", ["asynchronous", "synchronous"])
async def test_promotions(standby_folder: Path, replication: str) -> None:
    """Three times under traffic the primary is killed and its standby takes over. Where that one lagged everybody is
    told and ends with the truth; a synchronous one loses nothing that was acknowledged."""  # noqa: D209
    chance = dice()
    lags = replication == "asynchronous"
    with ExitStack() as running:
        primary = running.enter_context(postgres())
        front = running.enter_context(proxy_to(primary.port))
        database = primary.new_database()
        if not lags:
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")

        async def attach(name: str) -> tuple[PostgresServer, Proxy]:
            (folder := standby_folder / name).mkdir()
            between = running.enter_context(proxy_to(primary.port))
            standby = await asyncio.to_thread(primary.standby, folder, port=between.port)
            await asyncio.to_thread(standby.start)
            running.callback(standby.stop)
            primary.execute("SELECT pg_reload_conf()")
            await wait_until(lambda: primary.execute("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"))
            return standby, between

        async with opened(*[primary.url(database, port=front.port)] * 3) as engines:
            await engines[0].heads(["t"])
            standby, between = await attach("1")
            traffic = Traffic(engines[:2], engines[2], forgets=lags, seed=chance.randrange(2**32))
            async with traffic.running():
                for n in range(1, 4):
                    await traffic.got_through()
                    await asyncio.sleep(chance.uniform(0, 0.2))
                    if lags:
                        between.mute()
                        await traffic.got_through()
                    await asyncio.to_thread(primary.kill)
                    await asyncio.to_thread(standby.promote)
                    front.target = standby.port
                    front.cut()
                    await traffic.was_reset(n)
                    primary = standby
                    standby, between = await attach(str(n + 1))
                await traffic.got_through()
            traffic.check()


async def test_a_restored_dump(postgres_server: PostgresServer) -> None:
    """The tables come back from a dump: other tables, so another epoch, though nobody said that there was a restore."""
    url = postgres_server.url(database := postgres_server.new_database())
    async with opened(url) as (engine,):
        await engine.commit("t", [write("a")])
        cursor = await start(engine)
        postgres_server.execute(
            "CREATE TABLE copy (LIKE milepost.store INCLUDING ALL); INSERT INTO copy SELECT * FROM milepost.store;"
            "DROP TABLE milepost.store; ALTER TABLE copy SET SCHEMA milepost;"
            "ALTER TABLE milepost.copy RENAME TO store",
            database,
        )
        await until_it_works(lambda: engine.heads(["t"]))
        assert (await engine.changes("t", None, cursor, now=NOW)).reset == "epoch"


async def _until_there(engine: Engine, key: str) -> None:
    async def there() -> bool:
        return (await engine.get("t", [key]))[0] is not None

    await wait_until(there)
