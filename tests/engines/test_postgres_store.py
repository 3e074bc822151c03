"""What the PostgreSQL engine asks of a database, makes in it, and how it reads from it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from milepost import Invalid, Milepost
from milepost.engines import open_engine
from milepost.engines.postgres import PostgresEngine
from milepost.engines.postgres.session import SQL
from milepost.errors import Unavailable
from milepost.model import Cursor
from milepost.testing import wait_until
from milepost.testing.documents import NOW, keys, read_on, revisions, start, write
from tests.engines.postgres_server import PostgresServer

_FORK = """
import asyncio, os, sys
from milepost.engines import open_engine
from milepost.testing.documents import write

engine = open_engine(sys.argv[1])
commit = lambda key: asyncio.run(engine.commit("t", [write(key)]))
commit("parent-1")
if (child := os.fork()) == 0:
    commit("child-1")
    commit("child-2")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
commit("parent-2")
asyncio.run(engine.close())
"""


@pytest.fixture
def database(postgres_server: PostgresServer) -> str:
    """An empty database's name."""
    return postgres_server.new_database()


@pytest.fixture
def url(postgres_server: PostgresServer, database: str) -> str:
    """And its URL."""
    return postgres_server.url(database)


async def test_many_begin_at_once(url: str) -> None:
    """Twelve processes that find an empty database at the same time make one store of it."""
    engines = [open_engine(url) for _ in range(12)]
    heads = await asyncio.gather(*(engine.heads(["t"]) for engine in engines))
    assert len({head.epoch for (head,) in heads}) == 1
    for engine in engines:
        await engine.close()


async def test_large_revisions(postgres_server: PostgresServer, database: str, url: str) -> None:
    """Revisions go on beyond what 16 and 32 bits hold."""
    engine = open_engine(url)
    await engine.commit("t", [write("a")])
    for head in (2**15 - 2, 2**31 - 2, 2**53 - 100):
        postgres_server.execute(f"UPDATE milepost.tenant SET head = {head}", database)
        before = await start(engine)
        stored = await engine.commit("t", [write(f"k{n}", order=head + n) for n in range(4)])
        assert revisions(stored) == [head + 1, head + 2, head + 3, head + 4]
        assert (await read_on(engine, before))[0] == stored
        assert (await engine.find("t", ["user:a"], kind="note", after=head + 1)).documents == stored[:1:-1]
    await engine.close()


async def test_reads_touch_what_they_return(url: str) -> None:
    """In a tenant of 3,000 documents, never analysed, each statement reads what it returns and hardly more."""
    engine = open_engine(url)
    assert isinstance(engine, PostgresEngine)
    for n in range(12):
        few = [write(f"k{n}-{k}", f"user:{k}", labels=("recent", "unread"), open_until=9e9) for k in range(250)]
        await engine.commit("t", few)
    epoch = (await start(engine)).epoch
    readers = {"readers": ["t/user:7", "t/everyone"], "audiences": ["user:7", "everyone"]}
    after: dict[str, Any] = {"epoch": epoch, "after": 2990, "limit": 5}
    bounds = {"kind": "note", "labels": ["recent"], "above": 0, "below": 10**9, "limit": 5}
    asked: dict[str, dict[str, Any]] = {
        "get": {"keys": ["k1-1", "k2-2"]},
        "stored": {"tenants": ["t", "t"], "keys": ["k1-1", "none"]},
        "after_all": after,
        "after_near": {**after, **readers},
        "after_far": {**after, **readers, "after": 0},
        "keys_after": {"epoch": epoch, "after": 0, "keys": ["k1-7"], "all": False, **readers},
        "keys_now": {"keys": ["k1-7"], "all": False, **readers},
        "snapshot": {"now": NOW, "recent": 5, **readers},
        "snapshot_all": {"now": 9e9, "recent": 5},
        "find": {**bounds, **readers, "way": -1},
        "newest": bounds,
        "oldest": bounds,
        "count": {"readers": ["t/user:7"], "labels": ["unread"], "above": ["k1-1"]},
        "due": {"now": NOW, "limit": 5},
        "expired": {"now": NOW, "limit": 5},
    }
    session = await engine.server.connect()
    for name, values in asked.items():
        cursor = session.connection.cursor()
        await cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {SQL[name]}".encode(), {"tenant": "t", **values})
        row = await cursor.fetchone()
        assert row is not None
        read = sum(_read(row[0][0]["Plan"]))
        assert read <= 60, f"{name} reads {read} documents: {json.dumps(row[0], indent=1)}"
    session.close()
    await engine.close()


def _read(plan: dict[str, Any]) -> Iterator[float]:
    """How many documents each scan of a plan looked at."""
    if plan.get("Relation Name") == "document":
        looked = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        yield looked * plan["Actual Loops"]
    for below in plan.get("Plans", ()):
        yield from _read(below)


async def test_a_newer_store_is_left_alone(postgres_server: PostgresServer, database: str, url: str) -> None:
    """A store that a newer Milepost has made is refused, not misread."""
    engine = open_engine(url)
    await engine.heads(["t"])
    await engine.close()
    postgres_server.execute("UPDATE milepost.store SET version = 99", database)
    later = open_engine(url)
    with pytest.raises(Unavailable, match="newer"):
        await later.heads(["t"])
    await later.close()


async def test_other_encodings(postgres_server: PostgresServer) -> None:
    """A database that cannot hold all text is refused before anything is stored in it."""
    postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    engine = open_engine(postgres_server.url("latin"))
    with pytest.raises(Unavailable, match="UTF8"):
        await engine.commit("t", [write("a")])
    await engine.close()


@pytest.mark.parametrize(("default", "used"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
async def test_durability(postgres_server: PostgresServer, database: str, url: str, default: str, used: str) -> None:
    """Commits wait for the disk whatever the server's default is; what waits for less or more by choice stays."""
    postgres_server.execute(f'ALTER DATABASE "{database}" SET synchronous_commit = {default}')
    engine = open_engine(url)
    assert isinstance(engine, PostgresEngine)
    session = await engine.server.connect()
    assert await (await session.connection.execute("SHOW synchronous_commit")).fetchone() == (used,)
    session.close()
    await engine.close()


async def test_a_server_that_does_not_sync(
    postgres_server: PostgresServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the server itself may lose what it acknowledged, the log says so, once."""
    postgres_server.execute("ALTER SYSTEM SET full_page_writes = off")
    try:
        postgres_server.execute("SELECT pg_reload_conf()")
        await wait_until(lambda: postgres_server.execute("SHOW full_page_writes") == [("off",)])
        engine = open_engine(url)
        await engine.commit("t", [write("a")])
        await engine.heads(["t"])
        await engine.close()
    finally:
        postgres_server.execute("ALTER SYSTEM RESET full_page_writes")
        postgres_server.execute("SELECT pg_reload_conf()")
    told = [record.getMessage() for record in caplog.records if "full_page_writes = off" in record.getMessage()]
    assert len(told) == 1


def test_after_a_fork(url: str) -> None:
    """A forked child commits over sessions of its own, and its parent's still work afterwards."""
    subprocess.run([sys.executable, "-W", "error", "-c", _FORK, url], check=True, timeout=30)

    async def stored() -> list[str]:
        engine = open_engine(url)
        found, _ = await read_on(engine, Cursor((await start(engine)).epoch, 0))
        await engine.close()
        return keys(found)

    assert asyncio.run(stored()) == ["parent-1", "child-1", "child-2", "parent-2"]


def test_an_application_needs_few_rights(postgres_server: PostgresServer, database: str, url: str) -> None:
    """A role that may only read and fill the outbox can notify in its transactions."""

    async def make() -> None:
        engine = open_engine(url)
        await engine.heads(["t"])
        await engine.close()

    asyncio.run(make())
    postgres_server.execute(
        f'CREATE ROLE "shop-{database}" LOGIN; GRANT USAGE ON SCHEMA milepost TO "shop-{database}";'
        f'GRANT SELECT ON ALL TABLES IN SCHEMA milepost TO "shop-{database}";'
        f'GRANT INSERT ON milepost.outbox TO "shop-{database}"',
        database,
    )
    theirs = url.replace("milepost@", f"shop-{database}@")
    with Milepost(theirs) as milepost, psycopg.connect(theirs) as connection:
        milepost.in_transaction(connection).notify("anna", title="x")
    assert len(postgres_server.execute("SELECT id FROM milepost.outbox", database)) == 1


@pytest.mark.parametrize("url", ["postgresql://h/d?sslmodus=on", "postgresql://h:port/d?nothing"])
def test_what_is_no_url(url: str) -> None:
    """A URL that libpq cannot read is refused when it is given, not at the first call."""
    with pytest.raises(Invalid):
        open_engine(url)


async def test_both_schemes(url: str) -> None:
    """``postgres://`` is the same; and several hosts may be named, of which one takes writes."""
    engine = open_engine(url.replace("postgresql:", "postgres:").replace("127.0.0.1", "127.0.0.1:1,127.0.0.1"))
    assert revisions(await engine.commit("t", [write("a")])) == [1]
    await engine.close()
