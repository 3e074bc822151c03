"""The SQLite engine and what can happen to its file: forks, full and failing disks, other files in its place."""

# ruff: noqa: ASYNC221, ASYNC240 — what the tests do to the file and to the machine may block their own loop

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from milepost.engine import Engine as EngineProtocol
from milepost.engines import open_engine
from milepost.engines.sqlite import SqliteEngine, hints, writer
from milepost.engines.sqlite import file as sqlite_file
from milepost.engines.sqlite.group import Group
from milepost.errors import Conflict, Invalid, Unavailable
from milepost.model import Cursor
from milepost.testing import wait_until
from milepost.testing.documents import NOW, keys, read_on, start, write
from tests.engines.powercut import Disk, Engine


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file that is not there yet."""
    return str(tmp_path / "milepost.db")


@pytest.fixture
async def engine(path: str) -> AsyncIterator[SqliteEngine]:
    """An engine on it."""
    engine = SqliteEngine(path)
    yield engine
    await engine.close()


@pytest.fixture
async def disk(path: str) -> AsyncIterator[tuple[Engine, Disk]]:
    """An engine on a disk that can fail."""
    disk = Disk()
    engine = Engine(path, disk)
    yield engine, disk
    disk.fault.clear()
    await engine.close()
    disk.close()


# --- opening


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/x.db",
        "sqlite:///x.db?mode=ro",
        "mysql://x",
        "x.db",
    ],
)
def test_urls_that_no_engine_takes(url: str) -> None:
    """A URL without a file, with anything but a file, or of another scheme is refused with a sentence."""
    with pytest.raises(Invalid) as raised:
        open_engine(url)
    assert raised.value.details["field"] == "engine"


async def test_relative_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes are relative to the working folder, four absolute, and both may name the same file."""
    monkeypatch.chdir(tmp_path)
    relative, absolute = open_engine("sqlite:///a%20b.db"), open_engine(f"sqlite:///{tmp_path}/a b.db")
    await relative.commit("t", [write("a")])
    assert keys(await absolute.find("t", None, kind="note")) == ["a"]
    assert isinstance(relative, EngineProtocol)
    await relative.close()
    await absolute.close()


async def test_for_its_owner_only(engine: SqliteEngine, path: str) -> None:
    """The file and everything beside it can be read by nobody but its owner."""
    await engine.commit("t", [write("a")])
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in Path(path).parent.iterdir()}
    assert set(modes) == {f"milepost.db{end}" for end in ("", "-wal", "-shm", "-turn")}
    assert set(modes.values()) == {0o600}


def test_no_folder(tmp_path: Path) -> None:
    """A folder that is not there is said to be the reason."""
    with pytest.raises(Unavailable, match="No such file or directory"):
        SqliteEngine(str(tmp_path / "absent" / "milepost.db"))


def test_not_a_database(path: str) -> None:
    """A file that is no database, or is another application's, is refused and left as it is."""
    Path(path).write_bytes(b"something else " * 400)
    with pytest.raises(Unavailable, match="not a database"):
        SqliteEngine(path)
    assert Path(path).read_bytes() == b"something else " * 400
    Path(path).unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customer (name)")
    connection.close()
    with pytest.raises(Unavailable, match="another application"):
        SqliteEngine(path)


async def test_newer_file(path: str) -> None:
    """A file of a later version is refused: what it means is not known here."""
    engine = SqliteEngine(path)
    await engine.close()
    connection = apsw.Connection(path)
    connection.pragma("user_version", sqlite_file.VERSION + 1)
    connection.close()
    with pytest.raises(Unavailable, match="newer Milepost"):
        SqliteEngine(path)


def test_opened_by_many_at_once(path: str) -> None:
    """Processes that start at the same time on a file that is not there yet all open the one that the first made."""
    code = "import sys; from milepost.engines.sqlite import SqliteEngine as S; print(S(sys.argv[1]).file.id)"
    processes = [subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) for _ in range(4)]
    assert len({process.communicate()[0] for process in processes}) == 1
    assert [process.returncode for process in processes] == [0] * 4


# --- forks


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12: that is what is tested
async def test_fork(engine: SqliteEngine, path: str) -> None:
    """[dense] Parent and child of a fork each go on with the engine, on connections of their own, in one history."""
    await engine.commit("t", [write("before")])
    async with engine.hints() as open_hints:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.run(_in_child(engine))
                status = 0
            finally:
                os._exit(status)
        await engine.commit("t", [write(f"parent-{n}") for n in range(10)])
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert await asyncio.wait_for(anext(open_hints), 10) in ("t", None)
    found, cursor = await read_on(engine, Cursor((await start(engine)).epoch, 0))
    assert cursor.revision == len(found) == 31
    check = apsw.Connection(path)
    assert check.pragma("integrity_check") == "ok"
    check.close()


async def _in_child(engine: SqliteEngine) -> None:
    assert keys(await engine.find("t", None, kind="note", before=2)) == ["before"]
    for n in range(20):
        await engine.commit("t", [write(f"child-{n}")])
    await engine.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_fork_under_load(engine: SqliteEngine) -> None:
    """[atomic] A fork in the middle of commits loses none of the parent's and repeats none in the child."""
    stop = threading.Event()
    done: list[int] = []

    async def busy() -> None:
        while not stop.is_set():
            done.append((await engine.commit("t", [write(f"k{len(done)}")]))[0].revision)

    thread = threading.Thread(target=lambda: asyncio.run(busy()))
    thread.start()
    for _ in range(10):
        before = len(done)
        await wait_until(lambda: len(done) > before)  # noqa: B023 — awaited before the next round
        if (child := os.fork()) == 0:
            os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)
    stop.set()
    await asyncio.to_thread(thread.join)
    assert done == list(range(1, len(done) + 1))


# --- the file goes away


@pytest.mark.parametrize("what", ["deleted", "replaced", "overwritten"])
async def test_another_file_in_its_place(engine: SqliteEngine, path: str, tmp_path: Path, what: str) -> None:
    """A file that is deleted, replaced or overwritten while in use is refused from then on, and nothing is acked."""
    await engine.commit("t", [write("a")])
    if what == "deleted":
        Path(path).unlink()
    else:
        other = SqliteEngine(str(tmp_path / "other.db"))
        await other.commit("t", [write("b")])
        await other.close()
        if what == "replaced":
            (tmp_path / "other.db").rename(path)
        else:
            connection = apsw.Connection(path)  # its contents become another file's, under the same inode
            connection.execute("UPDATE file SET id = 'another'")
            connection.close()
    with pytest.raises(Unavailable, match="while it was in use; restart") as raised:
        await engine.commit("t", [write("c")])
    assert raised.value.code == "engine_away"
    for call in (engine.get("t", ["a"]), engine.ping(), engine.changes("t", None, None, now=NOW)):
        with pytest.raises(Unavailable, match="restart"):
            await call


async def test_readers_notice(engine: SqliteEngine, path: str) -> None:
    """A process that only reads and listens notices a deleted file too."""
    async with engine.hints() as open_hints:
        Path(path).unlink()
        with pytest.raises(Unavailable, match="deleted"):
            await asyncio.wait_for(anext(open_hints), 10)
    with pytest.raises(Unavailable, match="deleted"):
        await engine.heads(["t"])


# --- the disk


async def test_disk_full(disk: tuple[Engine, Disk]) -> None:
    """A full disk: the commit fails as ``engine_away``, nothing of it is stored, reads go on, and later all is well."""
    engine, device = disk
    (stored,) = await engine.commit("t", [write("a")])
    device.fault["write"] = apsw.SQLITE_FULL
    for _ in range(3):
        with pytest.raises(Unavailable, match="full") as raised:
            await engine.commit("t", [write("a", body=b"2"), write("b")])
        assert raised.value.code == "engine_away"
    with pytest.raises(Unavailable, match="full"):
        await engine.ping()
    assert await engine.get("t", ["a", "b"]) == [stored, None]
    assert (
        await engine.changes("t", None, Cursor(stored_epoch := (await start(engine)).epoch, 9), now=NOW)
    ).reset == "ahead"
    assert (await start(engine)).epoch == stored_epoch
    device.fault.clear()
    await engine.ping()
    assert [it.revision for it in await engine.commit("t", [write("b")])] == [2]


async def test_disk_full_for_real(tmp_path: Path) -> None:
    """The same on a file system that has no room left."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only the superuser may mount")
    try:
        engine = SqliteEngine(str(folder / "milepost.db"))
        acknowledged: list[str] = []
        with contextlib.suppress(Unavailable):
            for n in range(100):
                acknowledged += keys(await engine.commit("t", [write(f"k{n}", body=bytes(20_000))]))
        assert 5 < len(acknowledged) < 60
        assert None not in await engine.get("t", acknowledged)
        await engine.close()
        again = SqliteEngine(str(folder / "milepost.db"))
        assert None not in await again.get("t", acknowledged)
        await again.close()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("when", ["commit", "checkpoint"])
async def test_failed_sync(disk: tuple[Engine, Disk], path: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a sync that failed nothing is acknowledged until the file is opened anew, even if the disk recovers."""
    engine, device = disk
    (stored,) = await engine.commit("t", [write("a")])
    if when == "checkpoint":
        device.fault_file = "milepost.db"
        with engine.writer.handle.lock:  # not before the first commit's own look at the log is over
            monkeypatch.setattr(sqlite_file, "CHECKPOINT_PAGES", 1)
    device.fault["sync"] = apsw.SQLITE_IOERR_FSYNC
    if when == "checkpoint":
        await engine.commit("t", [write("b")])  # itself on the disk; what follows it failed
    with pytest.raises(Unavailable, match=r"disk failed|does not answer"):
        await engine.commit("t", [write("c")])
    device.fault.clear()
    with pytest.raises(Unavailable, match="disk failed") as raised:
        await engine.commit("t", [write("d")])
    assert raised.value.code == "engine_away"
    with pytest.raises(Unavailable, match="disk failed"):
        await engine.ping()
    assert await engine.get("t", ["a"]) == [stored]
    again = SqliteEngine(path)
    await again.commit("t", [write("e")])
    assert await again.get("t", ["a"]) == [stored]
    await again.close()


async def test_synchronous_is_asserted(path: str) -> None:
    """Every connection runs with a write-ahead log and synchronous=FULL; a file system that cannot do it is refused."""
    engine = SqliteEngine(path)
    await engine.commit("t", [write("a")])
    await engine.get("t", ["a"])
    for handle in engine.file.handles:
        assert handle.connection.pragma("synchronous") == 2
        assert handle.connection.pragma("journal_mode") == "wal"
    await engine.close()

    class WithoutLog(sqlite_file.SqliteFile):
        def set_synchronous(self, connection: apsw.Connection) -> None:
            connection.pragma("journal_mode", "delete")
            super().set_synchronous(connection)

    with pytest.raises(Unavailable, match="write-ahead log"):
        WithoutLog(path)


# --- the writer


async def test_a_bug_fails_only_itself(engine: SqliteEngine) -> None:
    """[atomic] A task that breaks in an unforeseen way takes neither its group nor the writer with it."""

    def bug(group: Group) -> None:
        group.commit("t", [write("half")])
        raise ZeroDivisionError

    results = await asyncio.gather(
        engine.commit("t", [write("a")]),
        engine.writer.do(bug),
        engine.commit("t", [write("a", replaces=7)]),
        engine.commit("t", [write("b")]),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [list, ZeroDivisionError, Conflict, list]
    assert await engine.get("t", ["half"]) == [None]
    assert (await start(engine)).revision == 2


async def test_what_no_store_can_hold(engine: SqliteEngine) -> None:
    """Half a surrogate pair, or an audience without a name, is invalid, and the next commit is none the worse."""
    for wrong in (write("\ud800"), write("a", "\udfff"), write("a", ""), write("a", labels=("\ud800",))):
        with pytest.raises(Invalid):
            await engine.commit("t", [wrong])
    assert await engine.commit("t", [write("a")])


async def test_queue_bound(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than ``QUEUE_TASKS`` commits wait: one more is refused as overloaded, and those that wait are stored."""
    monkeypatch.setattr(writer, "QUEUE_TASKS", 5)
    with engine.writer.handle.lock:  # the disk is slow
        waiting = [asyncio.ensure_future(engine.commit("t", [write(f"k{n}")])) for n in range(1)]
        await wait_until(lambda: engine.writer.waiting == 0)
        waiting += [asyncio.ensure_future(engine.commit("t", [write(f"k{n}")])) for n in range(1, 6)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as raised:
            await engine.commit("t", [write("more")])
    assert raised.value.code == "overloaded"
    assert [it.revision for (it,) in await asyncio.gather(*waiting)] == [1, 2, 3, 4, 5, 6]


async def test_one_group(engine: SqliteEngine) -> None:
    """Commits that wait together share a sync: hundreds of them take a handful of groups."""
    await engine.commit("t", [write("first")])
    before = len(engine.writer.own)
    await asyncio.gather(*(engine.commit("t", [write(f"k{n}")]) for n in range(500)))
    assert len(engine.writer.own) - before <= 50


async def test_cancelled_caller(engine: SqliteEngine) -> None:
    """A caller that goes away while its commit is under way disturbs nobody; the commit may have happened."""
    task = asyncio.ensure_future(engine.commit("t", [write("a")]))
    await asyncio.sleep(0)
    task.cancel()
    await engine.commit("t", [write("b")])
    assert task.cancelled()
    assert (await start(engine)).revision == 2


async def test_loop_that_ended(engine: SqliteEngine) -> None:
    """An event loop that ended before its answer came leaves the writer at work."""

    async def leave() -> None:
        task = asyncio.ensure_future(engine.commit("t", [write("a")]))
        await asyncio.sleep(0)
        task.cancel()

    with engine.writer.handle.lock:
        await asyncio.to_thread(asyncio.run, leave())
    await engine.commit("t", [write("b")])


async def test_log_stays_short(engine: SqliteEngine, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log is copied back as it grows, also while a reader reads all the time."""
    monkeypatch.setattr(sqlite_file, "CHECKPOINT_PAGES", 100)
    for n in range(300):
        await engine.commit("t", [write(f"k{n % 10}", body=bytes(20_000))])
        await engine.get("t", ["k1"])
    assert Path(f"{path}-wal").stat().st_size < 3_000_000


async def test_both_writers_get_on(engine: SqliteEngine, path: str) -> None:
    """Two writers that never pause take turns: neither gets more than four times as many commits as the other."""
    other = SqliteEngine(path)
    stop, counts = asyncio.Event(), [0, 0]

    async def busy(number: int, one: SqliteEngine) -> None:
        while not stop.is_set():
            await one.commit("t", [write(f"{number}")])
            counts[number] += 1

    working = [asyncio.ensure_future(busy(n, one)) for n, one in enumerate((engine, other))]
    await wait_until(lambda: sum(counts) >= 300, seconds=30)
    stop.set()
    await asyncio.gather(*working)
    assert max(counts) <= 4 * min(counts)
    await other.close()


async def test_stuck_writer(path: str, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that keeps the write lock is waited for, but not for ever; reads do not wait at all."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.2)
    connection = apsw.Connection(path)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="write lock"):
        await engine.commit("t", [write("a")])
    assert (await start(engine)).revision == 0
    connection.execute("ROLLBACK")
    connection.close()
    await engine.commit("t", [write("a")])


# --- hints


async def test_hints_of_own_commits_come_once(engine: SqliteEngine) -> None:
    """[hint] The look at the file does not repeat what this engine's own commits have already hinted."""
    async with engine.hints() as open_hints:
        for n in range(3):
            await engine.commit("t", [write(f"k{n}")])
            assert await asyncio.wait_for(anext(open_hints), 10) == "t"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(open_hints), 4 * hints.POLL_SECONDS)


async def test_hints_of_many_tenants(engine: SqliteEngine, path: str) -> None:
    """[hint] More tenants than a listener takes one by one become "look at everything"; nothing piles up."""
    other = SqliteEngine(path)
    for one in (engine, other):
        async with engine.hints() as open_hints:
            await asyncio.gather(*(one.commit(f"t{n}", [write("a")]) for n in range(hints.MANY_TENANTS + 5)))
            got = [await asyncio.wait_for(anext(open_hints), 10)]
            while None not in got:
                got.append(await asyncio.wait_for(anext(open_hints), 10))
            assert len(got) <= hints.MANY_TENANTS + 1
    await other.close()


async def test_files_stay_closed(engine: SqliteEngine, path: str) -> None:
    """Threads that read and end leave no connection open behind them."""
    await engine.commit("t", [write("a")])

    def opened() -> int:
        return sum(str(link.resolve()).startswith(path) for link in Path("/proc/self/fd").iterdir())

    await engine.get("t", ["a"])
    before = opened()
    for _ in range(30):
        thread = threading.Thread(target=lambda: asyncio.run(engine.get("t", ["a"])))
        thread.start()
        thread.join()
    assert opened() <= before + 2  # SQLite keeps a closed descriptor for the next connection
