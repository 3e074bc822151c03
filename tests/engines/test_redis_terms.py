"""Redis by its settings: what a URL may ask for, what a server is set to, what a user of it has to be allowed."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from milepost.engine import Reach
from milepost.engines import open_engine
from milepost.errors import Invalid, Unavailable
from milepost.testing import wait_until
from milepost.testing.documents import keys, revisions, start, write
from tests.engines.redis_server import RedisServer, running_redis
from tests.engines.traffic import opened, verbs

STRICT: dict[str, Any] = {"appendonly": "yes", "appendfsync": "always"}

# as docs/engines.md says
RIGHTS = (
    "~mp:* &mp:* +@hash +@sortedset +@set +@string +@scripting +@connection +subscribe +publish +ssubscribe +spublish"
    " +info +cluster|slots +exists +expire +wait"
)


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    """A server that stays, empty."""
    redis_server.do("FLUSHALL")
    return redis_server


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis://localhost/name",
        "redis://localhost?durability=some",
        "redis://localhost?socket_timeout=9",
        "redis://localhost:port",
        "rediss://localhost?ssl_sorcery=on",
    ],
)
def test_urls_that_cannot_be_meant(url: str) -> None:
    """A URL without a host, with a database that is no number, or with words that Milepost does not know is refused."""
    with pytest.raises(Invalid) as raised:
        open_engine(url)
    assert raised.value.details["field"] == "engine"


async def test_databases_are_apart(server: RedisServer) -> None:
    """Two numbered databases of one server are two stores, hints and all; Valkey's names for the scheme do as well."""
    async with opened(f"{server.url}/0", f"{server.url}/5".replace("redis:", "valkey:")) as (one, other):
        assert one.reach is Reach.NETWORK
        async with one.hints() as hints:
            await other.commit("s", [write("a")])
            await one.commit("t", [write("b")])
            assert await asyncio.wait_for(anext(hints), 5) == "t"
        assert keys(await one.find("s", None, kind="note")) == []


async def test_least_rights(server: RedisServer) -> None:
    """The rights that the page on engines names are enough for every verb, and the password shows in no error."""
    server.do("ACL", "SETUSER", "milepost", "on", ">s3cret", *RIGHTS.split())
    try:
        address = f"127.0.0.1:{server.port}"
        async with opened(f"redis://milepost:s3cret@{address}", f"redis://milepost:wr0ng@{address}") as (engine, wrong):
            await engine.commit("t", [write("a@u", labels=("recent",)), write("a")])
            for verb in verbs(engine, (await start(engine)).epoch).values():
                await verb()
            async with engine.hints() as hints:
                await engine.commit("t", [write("a")])
                assert await asyncio.wait_for(anext(hints), 5) == "t"
            with pytest.raises(Unavailable, match="does not let us in") as raised:
                await wrong.ping()
            assert "wr0ng" not in str(raised.value)
    finally:
        server.do("ACL", "DELUSER", "milepost")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_fork(server: RedisServer) -> None:
    """[dense] Parent and child of a fork each go on, on connections of their own, in one history."""
    engine = open_engine(server.url)
    await engine.commit("t", [write("before")])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(_in_child(engine))
            status = 0
        finally:
            os._exit(status)
    for n in range(20):
        await engine.commit("t", [write(f"parent-{n}")])
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (await start(engine)).revision == 41
    await engine.close()


async def _in_child(engine: Any) -> None:
    for n in range(20):
        await engine.commit("t", [write(f"child-{n}")])
    await engine.close()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "appendonly is not yes"),
        ({"appendonly": "yes"}, "appendfsync is not always"),
        ({"appendonly": "yes", "appendfsync": "always", "maxmemory_policy": "allkeys-lru"}, "maxmemory-policy"),
    ],
)
async def test_strict_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    """``strict`` is refused by name of the setting that cannot give it."""
    with running_redis(tmp_path, **settings) as server:
        async with opened(f"{server.url}?durability=strict", server.url) as (strict, relaxed):
            with pytest.raises(Unavailable, match=says):
                await strict.heads(["t"])
            with pytest.raises(Unavailable, match=says):
                await strict.commit("t", [write("a")])
            await relaxed.commit("t", [write("a")])


async def test_strict_is_watched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``strict`` runs where it can, says with what, and ``ping`` notices when the settings are changed."""
    caplog.set_level(logging.INFO, "milepost.engine")
    with running_redis(tmp_path, **STRICT) as server:
        async with opened(f"{server.url}?durability=strict") as (engine,):
            await engine.commit("t", [write("a")])
            await engine.ping()
            (line,) = caplog.messages
            assert "appendonly yes, appendfsync always, maxmemory-policy noeviction; durability=strict" in line
            server.do("CONFIG", "SET", "appendfsync", "everysec")
            with pytest.raises(Unavailable, match="appendfsync is not always"):
                await engine.ping()


async def test_replicated(tmp_path: Path) -> None:
    """``replicated`` acknowledges what a replica has, and nothing while there is none."""
    with ExitStack() as running:
        primary = running.enter_context(running_redis(tmp_path / "a", **STRICT))
        replica = running.enter_context(running_redis(tmp_path / "b"))
        async with opened(f"{primary.url}?durability=replicated") as (engine,):
            with pytest.raises(Unavailable, match="no replica"):
                await engine.commit("t", [write("a")])
            replica.do("REPLICAOF", "127.0.0.1", str(primary.port))
            await wait_until(lambda: replica.info("master_link_status") == "up")
            await engine.commit("t", [write("b", replaces=0)])
            replica.do("REPLICAOF", "NO", "ONE")
            assert replica.do("HEXISTS", "mp:{t}:doc", "b") == 1


async def test_memory_full(server: RedisServer) -> None:
    """A full memory refuses commits whole, says so in ``ping``, leaves reads alone, and needs no restart."""
    async with opened(server.url) as (engine,):
        await engine.commit("t", [write("a")])
        server.do("CONFIG", "SET", "maxmemory", "1")
        try:
            for verb in (lambda: engine.commit("t", [write("b"), write("c")]), engine.ping):
                with pytest.raises(Unavailable, match="memory"):
                    await verb()
            assert keys(await engine.find("t", None, kind="note")) == ["a"]
        finally:
            server.do("CONFIG", "SET", "maxmemory", "0")
        assert revisions(await engine.commit("t", [write("b"), write("c")])) == [2, 3]
