"""The engine contract: every promise of ``milepost.engine`` by its id. An engine is done when it passes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from milepost.engine import GONE_SECONDS, MAX_AUDIENCES, RECENT, Engine, Question, Reach
from milepost.errors import Conflict, Invalid, Unavailable
from milepost.model import Cursor
from milepost.testing.documents import NOW, add_one, keys, read_on, revisions, start, write
from milepost.testing.shared import SharedContract


class EngineContract(SharedContract):
    """Inherit it, add a fixture ``url`` of an empty store, and pytest runs the whole contract on it."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Engines live in asyncio."""
        return "asyncio"

    @pytest.fixture
    async def engine(self, url: str) -> AsyncIterator[Engine]:
        """The engine under test, on the empty store."""
        engine = self.open(url)
        yield engine
        await engine.close()

    async def test_atomic(self, engine: Engine) -> None:
        """[atomic] The writes of a commit get the next revisions in order, and one that is impossible undoes all."""
        stored = await engine.commit("t", [write("a"), write("b"), write("c")])
        assert keys(stored) == ["a", "b", "c"]
        assert revisions(stored) == [1, 2, 3]
        with pytest.raises(Conflict):
            await engine.commit("t", [write("a", body=b"2"), write("new"), write("b", replaces=1)])
        assert await engine.get("t", ["a", "new"]) == [stored[0], None]
        assert revisions(await engine.commit("t", [write("d")])) == [4]

    async def test_atomic_same_key(self, engine: Engine) -> None:
        """[atomic] A commit may write a key twice: each write has its revision, the last one stays."""
        first, second = await engine.commit("t", [write("a", body=b"1"), write("a", body=b"2")])
        assert (first.revision, second.revision, second.order) == (1, 2, 1)
        assert await engine.get("t", ["a"]) == [second]

    async def test_atomic_nothing(self, engine: Engine) -> None:
        """[atomic] A commit of nothing is nothing."""
        assert await engine.commit("t", []) == []
        assert (await start(engine)).revision == 0

    async def test_dense(self, engine: Engine) -> None:
        """[dense] However many write at once, readers see 1, 2, 3 … and never a later one before an earlier one."""
        cursor, seen, done = await start(engine), list[int](), False

        async def reader() -> None:
            nonlocal cursor
            while not done or len(seen) < 400:
                found, cursor = await read_on(engine, cursor, limit=7)
                seen.extend(revisions(found))
                await asyncio.sleep(0)

        reading = asyncio.create_task(reader())
        await asyncio.gather(*(engine.commit("t", [write(f"a{n}"), write(f"b{n}")]) for n in range(200)))
        done = True
        await reading
        assert seen == list(range(1, 401))

    async def test_stored_whole(self, engine: Engine) -> None:
        """[durable] Every field comes back as it was written, through every read."""
        wanted = write(
            "k\N{SNOWMAN}\n", "user:ä", "everyone", kind="a b", body=b"\x00\xff", private=b"\x01", labels=("x", "ü,"),
            open_until=float("inf"), expires_at=NOW + 9.5, due_at=NOW - 1.25,
        )  # fmt: skip
        (it,) = await engine.commit("t", [wanted])
        for name in ("key", "kind", "audiences", "body", "private", "labels", "open_until", "expires_at", "due_at"):
            assert getattr(it, name) == getattr(wanted, name), name
        assert (it.revision, it.order, it.gone) == (1, 1, False)
        assert await engine.get("t", [it.key]) == [it]
        assert (await engine.changes("t", ["user:ä"], None, now=NOW)).documents == [it]
        assert (await engine.find("t", None, kind="a b", labels=["ü,"])).documents == [it]
        assert [each.document for each in await engine.due(now=NOW)] == [it]

    async def test_replaces(self, engine: Engine) -> None:
        """[replaces] n: at revision n; 0: absent or gone; None: whatever is there. Anything else is a conflict."""
        with pytest.raises(Conflict):
            await engine.commit("t", [write("a", replaces=1)])
        await engine.commit("t", [write("a", replaces=0)])
        for wrong in (0, 2, 7):
            with pytest.raises(Conflict):
                await engine.commit("t", [write("a", replaces=wrong)])
        await engine.commit("t", [write("a", replaces=1)])
        await engine.commit("t", [write("a", body=None)])
        with pytest.raises(Conflict):
            await engine.commit("t", [write("a", replaces=3)])
        (it,) = await engine.commit("t", [write("a", replaces=0)])
        assert it.revision == 4

    async def test_replaces_storm(self, engine: Engine) -> None:
        """[replaces] Twenty who count one number up at the same time lose no step, and disturb nobody else."""
        counting = [add_one(engine, "n", 10) for _ in range(20)]
        others = [engine.commit("t", [write(f"other-{n}", replaces=0)]) for n in range(50)]
        await asyncio.gather(*counting, *others)
        (it,) = await engine.get("t", ["n"])
        assert it is not None
        assert it.body == b"200"
        assert (await start(engine)).revision == 250

    async def test_order(self, engine: Engine) -> None:
        """[order] The revision of the creation stays, unless a write states another; a gone key is created anew."""
        await engine.commit("t", [write("x"), write("a")])
        (again,) = await engine.commit("t", [write("a")])
        assert (again.revision, again.order) == (3, 2)
        (stated,) = await engine.commit("t", [write("a", order=77)])
        (kept,) = await engine.commit("t", [write("a")])
        assert (stated.order, kept.order) == (77, 77)
        await engine.commit("t", [write("a", body=None)])
        (anew,) = await engine.commit("t", [write("a")])
        assert anew.order == anew.revision == 7

    async def test_changes(self, engine: Engine) -> None:
        """[changes] The newest revision of each document after the cursor, oldest first; then nothing more."""
        before = await start(engine)
        await engine.commit("t", [write("a"), write("b"), write("c")])
        await engine.commit("t", [write("a", body=b"new")])
        page = await engine.changes("t", None, before, now=NOW)
        assert keys(page) == ["b", "c", "a"]
        assert revisions(page.documents) == [2, 3, 4]
        assert page.documents[-1].body == b"new"
        assert (page.cursor.revision, page.more, page.reset) == (4, False, None)
        again = await engine.changes("t", None, page.cursor, now=NOW)
        assert (again.documents, again.cursor, again.more) == ([], page.cursor, False)

    async def test_changes_cursor_moves(self, engine: Engine) -> None:
        """[changes] A page without more reaches the head, so that a quiet reader's cursor does not grow old."""
        before = await start(engine)
        await engine.commit("t", [write("a", "user:a"), write("b", "user:b")])
        page = await engine.changes("t", ["user:a"], before, now=NOW)
        assert keys(page) == ["a"]
        assert page.cursor.revision == 2

    async def test_changes_pages(self, engine: Engine) -> None:
        """[changes] Pages of any size, of several audiences, hold what one page holds, each document once."""
        before = await start(engine)
        for n in range(30):
            await engine.commit("t", [write(f"k{n}", *[f"user:{u}" for u in range(3) if n % (u + 2) == 0] or ["x"])])
        readers = ["user:0", "user:1", "user:2", "nobody"]
        whole, end = await read_on(engine, before, readers)
        assert keys(whole) == [f"k{n}" for n in range(30) if n % 2 == 0 or n % 3 == 0]
        for limit in (1, 2, 5, len(whole)):
            assert await read_on(engine, before, readers, limit=limit) == (whole, end)

    async def test_changes_while_writing(self, engine: Engine) -> None:
        """[changes] Paging while others write skips nothing: the reader ends with what the store ends with."""
        cursor, held, done = await start(engine), dict[str, bytes](), False

        async def reader() -> None:
            nonlocal cursor
            while not done or cursor != await start(engine):
                page = await engine.changes("t", ["user:a"], cursor, now=NOW, limit=3)
                held.update({it.key: it.body for it in page.documents})
                cursor = page.cursor
                await asyncio.sleep(0)

        reading = asyncio.create_task(reader())
        for turn in range(40):
            await asyncio.gather(*(engine.commit("t", [write(f"k{n}", body=b"%d" % turn)]) for n in range(turn % 9)))
        done = True
        await reading
        assert held == {it.key: it.body for it in (await read_on(engine, Cursor(cursor.epoch, 0)))[0]}

    async def test_changes_of_keys(self, engine: Engine) -> None:
        """[changes] With keys only these, and what of them left; a snapshot holds them open or not, but not gone."""
        before = await start(engine)
        await engine.commit("t", [write("a", "u", "v"), write("b", "u"), write("c", "w"), write("d", "u")])
        await engine.commit("t", [write("a", "v"), write("d", "u", body=None)])
        asked = ["a", "c", "d", "nothing"]
        page = await engine.changes("t", ["u"], before, now=NOW, keys=asked)
        assert [(it.key, it.gone) for it in page.documents] == [("a!u", True), ("d", True)]
        assert keys(await engine.changes("t", ["u", "v"], before, now=NOW, keys=asked)) == ["a!u", "a", "d"]
        assert keys(await engine.changes("t", ["v", "w"], None, now=NOW, keys=asked)) == ["c", "a"]
        assert keys(await engine.changes("t", None, None, now=NOW, keys=["b", "d"])) == ["b"]

    async def test_audience(self, engine: Engine) -> None:
        """[audience] One common audience is enough, two do not double it, None reads all, strangers read nothing."""
        before = await start(engine)
        await engine.commit("t", [write("a", "u", "v"), write("b", "w")])
        for cursor in (before, None):
            for readers, expected in ((["u", "v"], ["a"]), (["v"], ["a"]), (["w", "u"], ["a", "b"]), (["x"], [])):
                if cursor is not None:
                    assert keys(await engine.changes("t", readers, cursor, now=NOW)) == expected
                assert keys(await engine.find("t", readers, kind="note", oldest=True)) == expected
        assert keys(await engine.changes("t", None, before, now=NOW)) == ["a", "b"]
        assert keys(await engine.find("t", None, kind="note")) == ["b", "a"]

    async def test_audience_bound(self, engine: Engine) -> None:
        """[audience] A document has at most ``MAX_AUDIENCES``; one more is refused and stored nowhere."""
        most = [f"user:{n}" for n in range(MAX_AUDIENCES)]
        (it,) = await engine.commit("t", [write("a", *most)])
        assert it.audiences == tuple(most)
        with pytest.raises(Invalid):
            await engine.commit("t", [write("b", *most, "user:more")])

    async def test_left(self, engine: Engine) -> None:
        """[left] Who no longer sees a document gets a gone one; who sees it another way ends with the document."""
        (created,) = await engine.commit("t", [write("a", "u", "v")])
        before = await start(engine)
        (moved,) = await engine.commit("t", [write("a", "v", "w")])
        assert (created.revision, moved.revision) == (1, 3)
        page = await engine.changes("t", ["u"], before, now=NOW)
        assert [(it.key, it.revision, it.gone, it.body) for it in page.documents] == [("a!u", 2, True, b"")]
        assert keys(await engine.changes("t", ["v"], before, now=NOW)) == ["a"]
        assert keys(await engine.changes("t", ["u", "w"], before, now=NOW)) == ["a!u", "a"]

    async def test_left_and_back(self, engine: Engine) -> None:
        """[left] Back and away again: each time the reader ends with what is true."""
        before = await start(engine)
        for audience in ("u", "v", "u", "v"):
            await engine.commit("t", [write("a", audience)])
        assert [(it.key, it.gone) for it in (await read_on(engine, before, ["u"]))[0]] == [("a!u", True)]
        found = [(it.key, it.gone) for it in (await read_on(engine, before, ["v"]))[0]]
        assert found == [("a!v", True), ("a", False)]

    async def test_left_while_gone(self, engine: Engine) -> None:
        """[left] A key that was gone and is written for others still tells its old readers."""
        await engine.commit("t", [write("a", "u")])
        before = await start(engine)
        await engine.commit("t", [write("a", "u", body=None)])
        await engine.commit("t", [write("a", "v")])
        assert [(it.key, it.gone) for it in (await read_on(engine, before, ["u"]))[0]] == [("a!u", True)]

    async def test_gone_in_place(self, engine: Engine) -> None:
        """[left] Gone in place: every reader of the document sees it go under its own key, and nobody finds it."""
        await engine.commit("t", [write("a", "u", labels=(RECENT,), open_until=float("inf"), due_at=NOW)])
        before = await start(engine)
        (gone,) = await engine.commit("t", [write("a", body=None)])
        assert (gone.audiences, gone.body, gone.gone, gone.labels) == (("u",), b"", True, ())
        assert (await engine.changes("t", ["u"], before, now=NOW)).documents == [gone]
        assert await engine.get("t", ["a"]) == [None]
        assert (await engine.changes("t", None, None, now=NOW)).documents == []
        assert (await engine.find("t", None, kind="note")).documents == []
        assert await engine.due(now=NOW) == []

    async def test_cover(self, engine: Engine) -> None:
        """[cover] Readers of the covering audience find the cover only, others the covered; changes have both."""
        before = await start(engine)
        await engine.commit("t", [write("a", "everyone", labels=(RECENT,)), write("b", "everyone", labels=(RECENT,))])
        await engine.commit("t", [write("a@u", "u", labels=(RECENT,), order=1)])
        for readers, expected in ((["u", "everyone"], ["b", "a@u"]), (["v", "everyone"], ["a", "b"])):
            assert keys(await engine.changes("t", readers, None, now=NOW)) == expected
            assert set(keys(await engine.find("t", readers, kind="note"))) == set(expected)
        assert keys(await engine.changes("t", ["u", "everyone"], before, now=NOW)) == ["a", "b", "a@u"]
        assert set(keys(await engine.find("t", None, kind="note", labels=[RECENT]))) == {"a", "a@u", "b"}
        await engine.commit("t", [write("a@u", body=None)])
        assert keys(await engine.find("t", ["u", "everyone"], kind="note")) == ["b", "a"]

    async def test_cover_takes_no_room(self, engine: Engine) -> None:
        """[cover] Covered documents take no place in a limit: pages are full as long as there are documents."""
        await engine.commit("t", [write(f"k{n}", "everyone", labels=(RECENT,)) for n in range(6)])
        await engine.commit("t", [write(f"k{n}@u", "u", kind="copy") for n in (3, 4, 5)])
        page = await engine.find("t", ["u", "everyone"], kind="note", limit=2)
        assert (keys(page), page.more) == (["k2", "k1"], True)
        assert keys(await engine.changes("t", ["u", "everyone"], None, now=NOW, recent=2)) == ["k1", "k2"]

    async def test_snapshot(self, engine: Engine) -> None:
        """[snapshot] What is open and the newest recent others, in one page to the head, oldest revision first."""
        await engine.commit("t", [write("old", labels=(RECENT,)), write("open", open_until=NOW + 1)])
        await engine.commit("t", [write(f"r{n}", labels=(RECENT,)) for n in range(4)])
        await engine.commit("t", [write("ended", open_until=NOW - 1), write("plain"), write("stranger", "user:b")])
        await engine.commit("t", [write("both", labels=(RECENT,), open_until=float("inf")), write("r0", body=None)])
        await engine.commit("t", [write("r1", labels=(RECENT,))])
        page = await engine.changes("t", ["user:a"], None, now=NOW, recent=3, limit=1)
        assert keys(page) == ["open", "r2", "r3", "both", "r1"]
        assert (page.more, page.reset, page.cursor) == (False, None, await start(engine))
        assert keys(await engine.changes("t", ["user:a"], None, now=NOW + 2, recent=0)) == ["both"]

    async def test_reset_epoch(self, engine: Engine) -> None:
        """[reset] A cursor of another epoch is answered by a snapshot that says so, in an empty tenant too."""
        await engine.commit("t", [write("a", open_until=float("inf")), write("b")])
        page = await engine.changes("t", ["user:a"], Cursor("another", 1), now=NOW)
        assert (page.reset, keys(page), page.cursor) == ("epoch", ["a"], await start(engine))
        empty = await engine.changes("empty", None, Cursor("another", 0), now=NOW)
        assert (empty.reset, empty.documents) == ("epoch", [])

    async def test_reset_ahead(self, engine: Engine) -> None:
        """[reset] A cursor ahead of the head proves a rewritten history: a new epoch, at most one a minute."""
        await engine.commit("t", [write("a", open_until=float("inf"))])
        first, other = await engine.heads(["t", "other"])
        page = await engine.changes("t", ["user:a"], Cursor(first.epoch, 9), now=NOW)
        assert (page.reset, keys(page)) == ("ahead", ["a"])
        second = await start(engine)
        assert page.cursor == second
        assert (second.epoch != first.epoch, second.revision) == (True, 1)
        assert (await engine.changes("t", ["user:a"], first, now=NOW)).reset == "epoch"
        soon = await engine.changes("t", None, Cursor(second.epoch, 9), now=NOW + 59)
        assert (soon.reset, soon.cursor) == ("ahead", second)
        later = await engine.changes("t", None, Cursor(second.epoch, 9), now=NOW + 61)
        assert (later.reset, later.cursor.epoch != second.epoch) == ("ahead", True)
        assert await start(engine, "other") == other

    async def test_reset_ahead_empty(self, engine: Engine) -> None:
        """[reset] A store that lost everything is ahead of nothing: the first reader learns it."""
        cursor = await start(engine)
        page = await engine.changes("t", ["user:a"], Cursor(cursor.epoch, 5), now=NOW)
        assert (page.reset, page.documents, page.cursor.epoch != cursor.epoch) == ("ahead", [], True)
        assert page.cursor == await start(engine)

    async def test_reset_expired(self, engine: Engine) -> None:
        """[reset] A cursor below the floor is answered by a snapshot; one at the floor has seen what was dropped."""
        await engine.commit("t", [write("a"), write("b", open_until=float("inf"))])
        epoch = (await start(engine)).epoch
        await engine.commit("t", [write("a", body=None)])
        assert await engine.prune(now=time.time() + GONE_SECONDS + 1) == 1
        page = await engine.changes("t", None, Cursor(epoch, 2), now=NOW)
        assert (page.reset, keys(page), page.cursor) == ("expired", ["b"], Cursor(epoch, 3))
        assert (await engine.changes("t", None, Cursor(epoch, 3), now=NOW)).reset is None

    async def test_prune(self, engine: Engine) -> None:
        """[prune] Expired becomes gone in place with a new revision; a day later it is dropped, and only then."""
        await engine.commit("t", [write("a", "u", expires_at=NOW + 10), write("b", "u", expires_at=NOW + 99)])
        before = await start(engine)
        assert await engine.prune(now=NOW + 9) == 0
        assert await engine.prune(now=NOW + 11) == 1
        (gone,) = (await engine.changes("t", ["u"], before, now=NOW)).documents
        assert (gone.key, gone.revision, gone.gone, gone.audiences, gone.kind) == ("a", 3, True, ("u",), "note")
        assert await engine.prune(now=NOW + 11 + GONE_SECONDS - 1) == 1  # b, which expires now
        assert (await engine.changes("t", ["u"], before, now=NOW)).reset is None
        assert await engine.prune(now=NOW + 11 + GONE_SECONDS + 1) == 1
        assert (await engine.changes("t", ["u"], before, now=NOW)).reset == "expired"
        (anew,) = await engine.commit("t", [write("a", "u", replaces=0)])
        assert anew.order == anew.revision == 5

    async def test_prune_limit(self, engine: Engine) -> None:
        """[prune] It never does more than ``limit``, of all tenants together, and in the end everything."""
        for tenant in ("t", "s"):
            await engine.commit(tenant, [write(f"k{n}", expires_at=NOW) for n in range(5)])
        assert [await engine.prune(now=NOW + 1, limit=4) for _ in range(4)] == [4, 4, 2, 0]
        assert [head.revision for head in await engine.heads(["t", "s"])] == [10, 10]

    async def test_count(self, engine: Engine) -> None:
        """[count] By audience and label above a document's order, all from the snapshot that the cursor names."""
        await engine.commit("t", [write(f"n{n}", "u", labels=("unread",)) for n in range(5)])
        await engine.commit(
            "t", [write("mark", "u", order=2), write("n4", body=None), write("e", "all", labels=("unread",))]
        )
        asked = [Question(*q) for q in (("u", "unread", "none"), ("u", "unread", "mark"), ("all", "unread", "mark"))]
        counts = await engine.count("t", [*asked, Question("u", "read", "none"), Question("u", "unread", "n4")])
        assert counts.values == [4, 2, 1, 0, 4]
        assert counts.cursor == await start(engine)
        await engine.commit("t", [write("n0", "u", labels=("read",)), write("n3", "v", labels=("unread",))])
        assert (await engine.count("t", asked)).values == [2, 1, 1]

    async def test_touch(self, engine: Engine) -> None:
        """[touch] The due time moves without a revision, and only while the document is at the stated one."""
        (it,) = await engine.commit("t", [write("a", due_at=NOW)])
        assert await engine.touch("t", "a", revision=it.revision, due_at=NOW + 50)
        assert await engine.due(now=NOW + 49) == []
        assert [each.document.due_at for each in await engine.due(now=NOW + 50)] == [NOW + 50]
        assert (await start(engine)).revision == 1
        await engine.commit("t", [write("a", due_at=NOW)])
        assert not await engine.touch("t", "a", revision=it.revision, due_at=NOW + 50)
        assert not await engine.touch("t", "absent", revision=0, due_at=NOW)
        assert not await engine.touch("unknown", "a", revision=2, due_at=NOW)
        assert len(await engine.due(now=NOW)) == 1

    async def test_touch_keeps_the_body(self, engine: Engine) -> None:
        """[touch] Nothing but the due time changes, also right after a commit."""
        (it,) = await engine.commit("t", [write("a", body=b"body", private=b"private", due_at=NOW)])
        await asyncio.gather(
            engine.touch("t", "a", revision=it.revision, due_at=NOW + 1),
            engine.commit("t", [write("b", body=b"other")]),
            engine.touch("t", "a", revision=it.revision, due_at=NOW + 2),
        )
        (after,) = await engine.get("t", ["a"])
        assert after is not None
        assert (after.body, after.private, after.due_at, after.order) == (b"body", b"private", NOW + 2, 1)

    async def test_due(self, engine: Engine) -> None:
        """[touch] Due documents of every tenant, soonest first, up to the limit."""
        await engine.commit("t", [write("a", due_at=NOW - 1), write("b", due_at=NOW + 1), write("c")])
        await engine.commit("s", [write("d", due_at=NOW - 2)])
        assert [(it.tenant, it.document.key) for it in await engine.due(now=NOW)] == [("s", "d"), ("t", "a")]
        assert [it.document.key for it in await engine.due(now=NOW + 2, limit=1)] == ["d"]

    async def test_find(self, engine: Engine) -> None:
        """[order] By order, newest first or oldest first, between bounds, with every label, up to the limit."""
        for n in range(1, 9):
            await engine.commit("t", [write(f"k{n}", labels=("x", "even") if n % 2 == 0 else ("x",))])
        await engine.commit("t", [write("k2", labels=("x", "even")), write("job", kind="job", labels=("x",))])
        page = await engine.find("t", ["user:a"], kind="note", limit=3)
        assert (keys(page), page.more, page.cursor) == (["k8", "k7", "k6"], True, await start(engine))
        assert keys(await engine.find("t", None, kind="note", before=6, limit=2)) == ["k5", "k4"]
        rest = await engine.find("t", None, kind="note", after=6, limit=2)
        assert (keys(rest), rest.more) == (["k8", "k7"], False)
        assert keys(await engine.find("t", None, kind="note", after=2, before=5, oldest=True)) == ["k3", "k4"]
        assert keys(await engine.find("t", None, kind="note", labels=["x", "even"], oldest=True, limit=2)) == [
            "k2",
            "k4",
        ]
        assert keys(await engine.find("t", ["user:a"], kind="job", labels=["x"])) == ["job"]
        assert keys(await engine.find("t", None, kind="note", labels=["absent"])) == []

    async def test_heads(self, engine: Engine) -> None:
        """[tenant] Each tenant has its own head and epoch, also before its first document, and keeps it then."""
        before = await engine.heads(["t", "s"])
        assert [it.revision for it in before] == [0, 0]
        assert before[0].epoch != before[1].epoch
        assert before == await engine.heads(["t", "s"])
        await engine.commit("t", [write("a")])
        assert await engine.heads(["s", "t"]) == [before[1], Cursor(before[0].epoch, 1)]
        page = await engine.changes("t", None, before[0], now=NOW)
        assert (keys(page), page.reset) == (["a"], None)

    async def test_tenant(self, engine: Engine) -> None:
        """[tenant] The same keys, audiences and labels in two tenants never meet."""
        before = await start(engine, "s")
        (mine,) = await engine.commit("t", [write("a", body=b"mine", labels=("x",), open_until=float("inf"))])
        assert await engine.get("s", ["a"]) == [None]
        for readers in (["user:a"], None):
            assert (await engine.find("s", readers, kind="note")).documents == []
            assert (await engine.changes("s", readers, None, now=NOW)).documents == []
            assert (await engine.changes("s", readers, before, now=NOW, keys=["a"])).documents == []
        assert (await engine.count("s", [Question("user:a", "x", "a")])).values == [0]
        (theirs,) = await engine.commit("s", [write("a", body=b"theirs", replaces=0)])
        await engine.commit("s", [write("a@user:a", kind="copy"), write("a", "v")])
        assert theirs.revision == 1
        assert (await engine.changes("t", ["user:a"], None, now=NOW)).documents == [mine]

    async def test_renew_epoch(self, engine: Engine) -> None:
        """[reset] A new epoch for every tenant, with and without documents; revisions go on."""
        await engine.commit("t", [write("a")])
        before = await engine.heads(["t", "empty"])
        await engine.renew_epoch()
        after = await engine.heads(["t", "empty"])
        assert all(old.epoch != new.epoch for old, new in zip(before, after, strict=True))
        assert [it.revision for it in after] == [1, 0]
        assert (await engine.changes("t", None, before[0], now=NOW)).reset == "epoch"
        assert revisions(await engine.commit("t", [write("b")])) == [2]

    async def test_ping_and_close(self, engine: Engine) -> None:
        """[durable] ``ping`` returns while the store takes commits; after ``close`` everything says it is away."""
        await engine.ping()
        assert engine.reach in Reach
        committing = asyncio.ensure_future(engine.commit("t", [write("a")]))
        await asyncio.sleep(0)
        await engine.close()
        await engine.close()
        assert revisions(await committing) == [1]
        for late in (engine.ping(), engine.get("t", ["a"]), engine.commit("t", [write("b")]), engine.heads(["t"])):
            with pytest.raises(Unavailable) as raised:
                await late
            assert raised.value.code == "engine_away"

    async def test_threads(self, engine: Engine) -> None:
        """[atomic] Event loops of several threads share one engine, each with answers of its own."""
        got: dict[int, list[int]] = {}

        def elsewhere(number: int) -> None:
            async def run() -> list[int]:
                return [(await engine.commit("t", [write(f"{number}-{n}")]))[0].revision for n in range(20)]

            got[number] = asyncio.run(run())

        threads = [threading.Thread(target=elsewhere, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
        assert sorted(revision for each in got.values() for revision in each) == list(range(1, 61))
        assert all(each == sorted(each) for each in got.values())
