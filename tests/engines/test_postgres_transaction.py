"""An application tells its users something inside its own transaction, and nobody hears of it unless that commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from milepost import AsyncMilepost, Conflict, Invalid, Milepost
from milepost.engine import Engine
from milepost.engines import open_engine
from milepost.engines.postgres import PostgresEngine
from milepost.model import Cursor
from milepost.testing import wait_until
from milepost.testing.documents import keys, read_on, start, write
from tests.engines.postgres_server import PostgresServer


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    """The application's database."""
    return postgres_server.url(postgres_server.new_database())


@pytest.fixture
async def hub(url: str) -> AsyncIterator[Engine]:
    """A hub's engine: it listens, and so it empties the outbox."""
    engine = open_engine(url)
    await engine.heads(["default"])
    async with engine.hints():
        yield engine
    await engine.close()


@pytest.fixture
def milepost(url: str) -> Iterator[Milepost]:
    """A producer straight on the database."""
    with Milepost(url) as milepost:
        yield milepost


def driver(url: str) -> str:
    """The same database as SQLAlchemy writes it."""
    return url.replace("postgresql://", "postgresql+psycopg://")


async def titles(hub: Engine) -> list[str]:
    """What was stored, in order."""
    found, _ = await read_on(hub, Cursor((await start(hub, "default")).epoch, 0), tenant="default")
    bodies = [it.body.decode() for it in found if it.kind != "idempotency"]
    return [body.split('"title":"')[1].split('"')[0] for body in bodies]


async def hears(hub: Engine, *expected: str) -> None:
    """Wait until exactly these are stored."""

    async def same() -> bool:
        return await titles(hub) == list(expected)

    await wait_until(same, seconds=3)


async def test_psycopg(hub: Engine, url: str, milepost: Milepost) -> None:
    """A psycopg connection: committed, everybody hears; rolled back, nobody does; until then nobody does either."""

    def application() -> None:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE orders (id int)")
            milepost.in_transaction(connection).notify("anna", title="rolled back")
            connection.rollback()
            connection.execute("CREATE TABLE orders (id int)")
            milepost.in_transaction(connection).notify("anna", title="one")
            milepost.in_transaction(connection).notify(users=["anna", "ben"], title="two", level="success")

    await asyncio.to_thread(application)
    await hears(hub, "one", "two", "two")


async def test_not_before_the_commit(hub: Engine, url: str, milepost: Milepost) -> None:
    """While the application's transaction is open nobody hears of it, and it holds up nobody else's commits."""
    with psycopg.connect(url) as connection:
        await asyncio.to_thread(milepost.in_transaction(connection).notify, "anna", title="later")
        await hub.commit("default", [write("x", body=b'{"title":"meanwhile"}')])
        await hears(hub, "meanwhile")
    await hears(hub, "meanwhile", "later")


async def test_sqlalchemy(hub: Engine, url: str, milepost: Milepost) -> None:
    """SQLAlchemy's connection and session, likewise."""

    def application() -> None:
        database = sqlalchemy.create_engine(driver(url))
        with database.begin() as connection:
            milepost.in_transaction(connection).notify("anna", title="one")
        with Session(database) as session:
            milepost.in_transaction(session).notify("anna", title="rolled back")
            session.rollback()
            milepost.in_transaction(session).notify("anna", title="two")
            session.commit()
        database.dispose()

    await asyncio.to_thread(application)
    await hears(hub, "one", "two")


async def test_async_connections(hub: Engine, url: str) -> None:
    """The async kinds of both; and those without await, which an async producer takes too."""
    async with AsyncMilepost(url) as milepost:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await milepost.in_transaction(connection).notify("anna", title="rolled back")
            await connection.rollback()
            await milepost.in_transaction(connection).notify("anna", title="one")
        database = create_async_engine(driver(url))
        async with database.begin() as begun:
            await milepost.in_transaction(begun).notify("anna", title="two")
        async with AsyncSession(database) as session:
            await milepost.in_transaction(session).notify("anna", title="three")
            await session.commit()
        await database.dispose()
        with psycopg.connect(url) as plain:
            await milepost.in_transaction(plain).notify("anna", title="four")
    await hears(hub, "one", "two", "three", "four")


async def test_start_job(hub: Engine, url: str, milepost: Milepost) -> None:
    """A job that begins with the row that it is about; a worker takes it up by its id."""

    def application() -> str:
        with psycopg.connect(url) as connection:
            return milepost.in_transaction(connection).start_job(title="Order 7", owner="anna")

    job_id = await asyncio.to_thread(application)

    async def there() -> bool:
        return keys([it for it in await hub.get("default", [f"job:{job_id}"]) if it]) == [f"job:{job_id}"]

    await wait_until(there, seconds=3)

    def worker() -> None:
        with milepost.job(job_id, title="Order 7") as job:
            job.advance(current=1, total=2)

    await asyncio.to_thread(worker)
    (document,) = await hub.get("default", [f"job:{job_id}"])
    assert document is not None
    assert b'"completed"' in document.body


async def test_rules_hold_at_once(hub: Engine, url: str, milepost: Milepost) -> None:
    """What the rules refuse raises in the application's transaction, where it can still be rolled back."""
    with psycopg.connect(url) as connection:
        transaction = milepost.in_transaction(connection)
        with pytest.raises(Invalid):
            await asyncio.to_thread(transaction.notify, "anna", title="")
        with pytest.raises(Invalid):
            await asyncio.to_thread(transaction.notify, "anna", title="x", href="javascript:alert(1)")
        await asyncio.to_thread(milepost.notify, "anna", title="taken", id="n1")
        with pytest.raises(Conflict):
            await asyncio.to_thread(transaction.notify, "anna", title="again", id="n1")
    assert await titles(hub) == ["taken"]


async def test_an_id_twice(hub: Engine, url: str, milepost: Milepost) -> None:
    """Two transactions with one id, neither of which could see the other: the first to commit counts, once."""
    with psycopg.connect(url) as one, psycopg.connect(url) as two:
        await asyncio.to_thread(milepost.in_transaction(one).notify, "anna", title="one", id="n1")
        await asyncio.to_thread(milepost.in_transaction(two).notify, "anna", title="two", id="n1")
        two.commit()
        await hears(hub, "two")
        one.commit()
        await asyncio.to_thread(milepost.notify, "anna", title="after")
    await hears(hub, "two", "after")


async def test_what_is_no_transaction(url: str, milepost: Milepost, tmp_path: object) -> None:
    """A connection that commits by itself, a thing that is none, another store, a server: refused with a reason."""
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(Invalid, match="commits by itself"):
            milepost.in_transaction(connection).notify("anna", title="x")
        with connection.transaction():
            milepost.in_transaction(connection).notify("anna", title="x")
    with pytest.raises(Invalid, match="psycopg or SQLAlchemy"):
        milepost.in_transaction(object()).notify("anna", title="x")
    async with await psycopg.AsyncConnection.connect(url) as other:
        with pytest.raises(Invalid, match="AsyncMilepost"):
            milepost.in_transaction(other).notify("anna", title="x")
    for elsewhere in (f"sqlite:///{tmp_path}/m.db", "http://127.0.0.1:1"):
        with Milepost(elsewhere) as mine, pytest.raises(Invalid, match="only PostgreSQL"):
            mine.in_transaction(None).notify("anna", title="x")


async def test_many_and_many_hubs(hub: Engine, url: str) -> None:
    """Two hundred commits while two hubs empty the outbox: each is stored once, those of one writer in their order."""
    other = open_engine(url)
    assert isinstance(hub, PostgresEngine)
    async with other.hints():
        async with await psycopg.AsyncConnection.connect(url) as connection:
            for n in range(200):
                waiting = hub.commit_in(connection, "default", [write(f"k{n:03}", body=b'{"title":"%03d"}' % n)])
                assert waiting is not None
                await waiting
                await connection.commit()
        await hears(hub, *(f"{n:03}" for n in range(200)))
    await other.close()


async def test_outbox_of_a_time_without_hubs(url: str, milepost: Milepost) -> None:
    """What is committed while no hub runs waits, and the first hub that starts sees to it."""
    await asyncio.to_thread(milepost.notify, "anna", title="before")  # makes the tables
    with psycopg.connect(url) as connection:
        await asyncio.to_thread(milepost.in_transaction(connection).notify, "anna", title="waits")
    engine = open_engine(url)
    assert await titles(engine) == ["before"]
    async with engine.hints():
        await hears(engine, "before", "waits")
    await engine.close()
