"""What a worker may rely on, over HTTP and straight into an engine alike, with and without ``await``."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from milepost import AsyncMilepost, Invalid, JobCancelled, Milepost
from milepost.client.reporter import INTERVAL
from milepost.errors import Conflict
from tests.client.hub import wait_until
from tests.client.place import Place

DEADLINE = 5.0


@pytest.fixture
def mp(place: Place) -> Iterator[Milepost]:
    """A client without ``await``."""
    with Milepost(place.url, token=place.token, deadline=DEADLINE) as made:
        yield made


@pytest.fixture
async def live(place: Place) -> AsyncIterator[AsyncMilepost]:
    """A client with ``await``."""
    async with AsyncMilepost(place.url, token=place.token, deadline=DEADLINE) as made:
        yield made


@pytest.fixture
def job_id() -> str:
    """An id that no other test uses."""
    return f"job-{secrets.token_hex(4)}"


def arrived(place: Place, job_id: str, **fields: object) -> dict[str, object]:
    """The job, once it has these fields."""

    def look() -> dict[str, object] | None:
        found = place.job(job_id)
        return found if found and all(found[name] == value for name, value in fields.items()) else None

    return wait_until(look, what=f"{job_id} has {fields}")


def test_leaving_the_block_completes(mp: Milepost, place: Place, job_id: str) -> None:
    """A job that is entered runs, and is complete when its block is left; what was said last is in it."""
    with mp.job(job_id, kind="document", title="Set", owner="u7", total=3, watchers=["u8"]) as job:
        assert arrived(place, job_id, state="running")["total"] == 3
        for name in ("a", "b", "c"):
            job.advance(message=f"Generating {name}")
    found = place.job(job_id)
    assert found is not None
    assert (found["state"], found["current"], found["percent"], found["attempt"]) == ("completed", 3, 100.0, 1)
    assert (found["message"], found["owner"], found["kind"], found["watchers"]) == (
        "Generating c",
        "u7",
        "document",
        ["u8"],
    )


def test_complete_stores_the_result(mp: Milepost, place: Place, job_id: str) -> None:
    """``complete`` says what came out of it; the block's end adds nothing to that."""
    with mp.job(job_id, title="Set") as job:
        job.complete(result={"pages": 88}, output_url="/files/set.zip")
        job.advance(message="too late, and ignored")
    found = place.job(job_id)
    assert found is not None
    assert (found["state"], found["result"], found["output_url"]) == ("completed", {"pages": 88}, "/files/set.zip")


class Broken(Exception):
    """An application's own error with a code of its own."""

    milepost_code = "TEMPLATE_ERROR"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Broken("no such field\nline two"), "TEMPLATE_ERROR", "no such field"),
        (TimeoutError("too slow"), "GENERATOR_TIMEOUT", "too slow"),
        (FileNotFoundError(2, "No such file", "x.pdf"), "STORAGE_WRITE_FAIL", "[Errno 2] No such file: 'x.pdf'"),
        (KeyError("who"), "UNEXPECTED", "'who'"),
        (KeyboardInterrupt(), "UNEXPECTED", "KeyboardInterrupt"),
        (SystemExit(1), "UNEXPECTED", "1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_fails_the_job(
    mp: Milepost, place: Place, job_id: str, error: BaseException, code: str, message: str
) -> None:
    """An exception that leaves the block is the job's error, by the taxonomy, and goes on its way unchanged."""
    with pytest.raises(type(error)) as caught, mp.job(job_id, title="Set"):
        raise error
    assert caught.value is error
    found = place.job(job_id)
    assert found is not None
    assert found["state"] == "failed"
    assert found["error"] == {"code": code, "message": message, "details": None}


def test_fail_says_why(mp: Milepost, place: Place, job_id: str) -> None:
    """``fail`` ends the job with the worker's own words, and the block is then left in peace."""
    with mp.job(job_id, title="Set") as job:
        job.fail("NO_PAPER", "tray 2 is empty", {"tray": 2})
    found = place.job(job_id)
    assert found is not None
    assert found["error"] == {"code": "NO_PAPER", "message": "tray 2 is empty", "details": {"tray": 2}}


def test_an_end_that_is_refused_is_no_end(mp: Milepost, place: Place, job_id: str) -> None:
    """A result that is not JSON, or a link that nobody may follow, raises; the job goes on."""
    with mp.job(job_id, title="Set") as job:
        with pytest.raises(Invalid, match="not JSON"):
            job.complete(result=object())
        with pytest.raises(Invalid, match="output_url"):
            job.complete(output_url="javascript:alert(1)")
        job.advance(message="still here")
        arrived(place, job_id, message="still here", state="running")
        job.complete()
    arrived(place, job_id, state="completed")


def test_progress_is_coalesced(mp: Milepost, place: Place, job_id: str) -> None:
    """A hundred thousand ticks are a handful of updates, and the last of them counts."""
    with mp.job(job_id, title="Rows", total=100_000) as job:
        first = arrived(place, job_id, state="running")["rev"]
        began = time.monotonic()
        for n in range(100_000):
            job.advance(counters={"odd": n})
        took = time.monotonic() - began
    found = place.job(job_id)
    assert found is not None
    assert found["current"] == 100_000
    assert found["counters"] == {"odd": 99_999}
    # every commit is a revision; the last update and the end are the two that come after the loop
    assert found["rev"] - int(str(first)) <= took / INTERVAL + 3


def test_a_total_may_become_known(mp: Milepost, place: Place, job_id: str) -> None:
    """Unknown at first, then known; counters are merged by name; an item comes and goes."""
    with mp.job(job_id, title="Rows") as job:
        job.advance(0, message="counting", item={"name": "R1", "status": "processing"}, counters={"a": 1})
        found = arrived(place, job_id, message="counting", total=None, percent=None)
        assert (found["current"], found["item"]) == (0, {"name": "R1", "status": "processing"})
        job.advance(2, total=4, counters={"b": 2.5})
        found = arrived(place, job_id, total=4, percent=50.0)
        assert (found["counters"], found["item"]) == ({"a": 1, "b": 2.5}, {"name": "R1", "status": "processing"})
        job.advance(current=3, item=None)
        arrived(place, job_id, percent=75.0, item=None)
        job.advance(current=1)
        assert job.current == 3


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"message": "bad \udcff name\0"}, {"current": 5, "message": "bad ? name"}),
        ({"message": "x" * 9000}, {"current": 5, "message": "x" * 5000}),
        ({"counters": {"a": float("nan"), "b": 1}}, {"current": 5, "counters": {"b": 1}}),
        ({"total": float("inf")}, {"current": 5, "total": None}),
        ({"item": {"name": object()}}, {"current": 5, "item": None}),
        ({"item": "R1"}, {"current": 5, "item": None}),
        ({"counters": [1, 2]}, {"current": 5, "counters": {}}),
        ({"counters": {1: 2}}, {"current": 5, "counters": {}}),
        ({"counters": {"not a name!": 1}}, {"current": 5, "counters": {}}),
        ({"current": 2**60}, {"current": 0}),
        ({"by": "three"}, {"current": 0}),
    ],
    ids=str,
)
def test_advance_raises_nothing(
    mp: Milepost, place: Place, job_id: str, said: dict[str, object], kept: dict[str, object]
) -> None:
    """What cannot be stored is left out or logged; the rest arrives, and the work goes on."""
    with mp.job(job_id, title="Set") as job:
        job.advance(**{"by": 5, **said})  # type: ignore[arg-type]
        arrived(place, job_id, **kept)
        job.advance(0, message="next")
        arrived(place, job_id, message="next")
    arrived(place, job_id, state="completed")


def test_a_job_is_entered_once(mp: Milepost, place: Place, job_id: str) -> None:
    """A job that was not entered cannot end, and one that was is not entered again: the program is mistaken."""
    job = mp.job(job_id, title="Set")
    with pytest.raises(RuntimeError, match="enter it"):
        job.complete()
    job.advance()
    assert place.job(job_id) is None
    with job:
        pass
    with pytest.raises(RuntimeError, match="already"), job:
        pass


def test_a_job_runs_again_under_its_id(mp: Milepost, place: Place, job_id: str) -> None:
    """After its end the same id is the next attempt, from 0; what the old worker still says is refused and logged."""
    with mp.job(job_id, title="Set", total=2) as first:
        first.advance()
        first.fail("UNEXPECTED")
    with mp.job(job_id, title="Set again", total=2) as second:
        assert (first.attempt, second.attempt, second.current) == (1, 2, 0)
        found = arrived(place, job_id, state="running")
        assert (found["attempt"], found["current"], found["error"]) == (2, 0, None)


def test_a_stated_attempt_is_not_begun_twice(mp: Milepost, job_id: str) -> None:
    """A request that is delivered again after its job has ended begins no second attempt."""
    with mp.job(job_id, title="Once", attempt=1):
        pass
    with pytest.raises(Conflict), mp.job(job_id, title="Once", attempt=1):
        pytest.fail("it was begun again")


def test_a_newer_attempt_fences_the_old_worker(
    mp: Milepost, place: Place, job_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that was away while its job ran again moves nothing, cannot end it, and can see that it is over."""
    with pytest.raises(Conflict) as caught, mp.job(job_id, title="Set", total=10) as old:  # noqa: PT012
        mp.cancel(job_id)
        with mp.job(job_id, title="Set", total=10) as new:
            new.advance(current=2)
            arrived(place, job_id, current=2, attempt=2)
            old.advance(current=9)
            wait_until(lambda: "no more updates are taken" in caplog.text)
            assert (old.is_open, old.cancelled, new.is_open) == (False, False, True)
            old.advance(current=10)
            found = arrived(place, job_id, current=2, attempt=2)
            assert found["state"] == "running"
        old.complete()
    assert caught.value.code == "stale_attempt"


def test_the_end_waits_for_no_beat(mp: Milepost, place: Place, job_id: str) -> None:
    """A job ends when its block is left, however long after its last update that is: not with the next beat."""
    with mp.job(job_id, title="Set") as job:
        job.advance()
        arrived(place, job_id, current=1)
        time.sleep(3 * INTERVAL)  # by now nothing is left to say
        left = time.monotonic()
    assert time.monotonic() - left < DEADLINE / 2
    arrived(place, job_id, state="completed")


def test_a_live_job_is_taken_up(mp: Milepost, place: Place, job_id: str) -> None:
    """A job that was queued by the page is entered as it is, and counted on from where it stands."""
    answer = mp.start_job(job_id, title="Queued by the page", owner="u7", total=4)
    assert answer["job"]["state"] == "queued"
    with mp.job(job_id, title="ignored", total=9) as job:
        assert (job.attempt, job.total, job.current) == (1, 4, 0)
        job.advance()
        arrived(place, job_id, current=1)
        with mp.job(job_id, title="its successor") as next_one:
            assert next_one.current == 1
            next_one.advance()
            arrived(place, job_id, current=2)
    assert arrived(place, job_id, state="completed")["title"] == "Queued by the page"


def test_a_cancelled_job_stops_its_worker(mp: Milepost, place: Place, job_id: str) -> None:
    """After ``cancel`` the worker's ``advance`` raises, and the error leaves the block without failing the job."""

    def work() -> None:
        with mp.job(job_id, title="Set") as job:
            arrived(place, job_id, state="running")
            mp.cancel(job_id, "no longer wanted")
            assert not job.cancelled
            while True:
                job.advance()
                time.sleep(0.01)

    with pytest.raises(JobCancelled):
        work()
    assert arrived(place, job_id, state="cancelled")["error"] is None


def test_a_cancelled_job_that_nobody_asked_about(mp: Milepost, place: Place, job_id: str) -> None:
    """A block that ends without having looked is left quietly, and says so afterwards; ``complete`` raises."""
    with mp.job(job_id, title="Set") as job:
        mp.cancel(job_id)
    assert job.cancelled
    with mp.job(job_id, title="Set") as job:
        mp.cancel(job_id)
        with pytest.raises(JobCancelled):
            job.complete()
    assert arrived(place, job_id, state="cancelled")["attempt"] == 2


def test_track_counts(mp: Milepost, place: Place, job_id: str) -> None:
    """A loop in one line: its length is the total, each item done is a step, its end the job's."""
    seen = []
    for row in mp.track(["a", "b", "c"], title="Import", id=job_id, owner="u7"):
        seen.append(row)
        if row == "c":
            arrived(place, job_id, state="running", total=3, current=2)
    assert seen == ["a", "b", "c"]
    assert arrived(place, job_id, state="completed")["current"] == 3


def test_track_of_what_has_no_length(mp: Milepost, place: Place, job_id: str) -> None:
    """Without a length the total is unknown until the end."""
    assert list(mp.track((n for n in range(4)), title="Import", id=job_id)) == [0, 1, 2, 3]
    found = arrived(place, job_id, state="completed")
    assert (found["current"], found["total"]) == (4, None)


def test_a_loop_that_is_left_fails(mp: Milepost, place: Place, job_id: str) -> None:
    """``break``, or an exception in the loop's body, which a generator cannot tell apart: not all was done."""
    for row in mp.track(range(5), title="Import", id=job_id):
        if row == 2:
            break
    found = arrived(place, job_id, state="failed")
    assert found["error"] == {"code": "UNEXPECTED", "message": "stopped at 2 of 5", "details": None}


def test_notifications(mp: Milepost, place: Place) -> None:
    """One user, several, or everyone; what was stored comes back."""
    one, two = f"u-{secrets.token_hex(4)}", f"u-{secrets.token_hex(4)}"
    [told] = mp.notify(one, title="Ready", message="Your audio", level="success", href="/s/9", context={"job_id": "j"})
    assert (told.user, told.title, told.message, told.level, told.href) == (
        one,
        "Ready",
        "Your audio",
        "success",
        "/s/9",
    )
    assert told.rev == told.seq > 0
    both = mp.notify(users=[one, two], title="Both")
    assert {note.user for note in both} == {one, two}
    [all_of_them] = mp.notify(everyone=True, title="Everyone")
    assert all_of_them.user is None
    assert [note["title"] for note in place.notifications(one)][:3] == ["Everyone", "Both", "Ready"]
    assert [note["title"] for note in place.notifications(two)][:2] == ["Everyone", "Both"]
    with pytest.raises(Invalid, match="exactly one of user, users and everyone"):
        mp.notify(title="To nobody")


def test_the_end_as_a_notification(mp: Milepost, place: Place, job_id: str) -> None:
    """With ``notify=True`` the job's end is its owner's notification."""
    owner = f"u-{secrets.token_hex(4)}"
    with mp.job(job_id, title="Discovery set", owner=owner, notify=True) as job:
        job.complete(output_url="/files/set.zip")
    [note] = wait_until(lambda: place.notifications(owner)[:1])
    assert (note["title"], note["level"], note["href"]) == ("Discovery set", "success", "/files/set.zip")


def test_from_several_threads(mp: Milepost, place: Place, job_id: str) -> None:
    """One client and one job may be used from any thread; every step is counted."""

    def tick() -> None:
        for _ in range(1000):
            job.advance()

    with mp.job(job_id, title="Set", total=4000) as job:
        threads = [threading.Thread(target=tick) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert job.current == 4000
    assert arrived(place, job_id, state="completed")["current"] == 4000


# --- with await ------------------------------------------------------------------------------------------------------


async def seen(place: Place, job_id: str, **fields: object) -> dict[str, object]:
    """``arrived``, without standing in the loop's way."""
    return await asyncio.to_thread(arrived, place, job_id, **fields)


async def test_async_the_same(live: AsyncMilepost, place: Place, job_id: str) -> None:
    """The same with ``await``; a loop that awaits nothing else still lets its progress out."""
    async with live.job(job_id, title="Set", total=10_000_000) as job:
        assert (await seen(place, job_id, state="running"))["total"] == 10_000_000
        looking = threading.Thread(target=wait_until, args=[lambda: (place.job(job_id) or {})["current"]])
        looking.start()
        while looking.is_alive():
            await job.advance()
        assert (await asyncio.to_thread(place.job, job_id) or {})["current"] > 0
        await job.complete(result=[1])
    found = await seen(place, job_id, state="completed")
    assert found["result"] == [1]
    [note] = await live.notify("u7", title="Done")
    assert note.user == "u7"


async def test_async_a_cancelled_task_fails_its_job(live: AsyncMilepost, place: Place, job_id: str) -> None:
    """A task that is cancelled, even twice, says so with its last words, and stays cancelled."""
    entered = asyncio.Event()

    async def work() -> None:
        async with live.job(job_id, title="Set"):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    found = await seen(place, job_id, state="failed")
    assert found["error"] == {"code": "UNEXPECTED", "message": "CancelledError", "details": None}


async def test_async_track(live: AsyncMilepost, place: Place, job_id: str) -> None:
    """``track`` over an async iterable, and over a plain one."""

    async def rows() -> AsyncIterator[int]:
        for n in range(3):
            yield n

    assert [row async for row in live.track(rows(), title="Import", id=job_id)] == [0, 1, 2]
    assert (await seen(place, job_id, state="completed"))["current"] == 3
    assert [row async for row in live.track("ab", title="Import", id=job_id)] == ["a", "b"]
    assert (await seen(place, job_id, attempt=2, state="completed"))["total"] == 2


async def test_closing_fails_what_is_open(place: Place, job_id: str) -> None:
    """A client that is closed tells the server that nobody reports on its open jobs any more."""
    live = AsyncMilepost(place.url, token=place.token)
    job = live.job(job_id, title="Set")
    await job.begin()
    await live.close()
    assert (await seen(place, job_id, state="failed"))["error"] == {
        "code": "UNEXPECTED",
        "message": "the process ended",
        "details": None,
    }


def test_one_object_in_several_loops(place: Place) -> None:
    """A module's client may be used by one `asyncio.run` after the other."""
    live = AsyncMilepost(place.url, token=place.token)

    async def tell() -> str | None:
        [note] = await live.notify("u7", title="x")
        return note.user

    async def tell_and_close() -> str | None:
        user = await tell()
        await live.close()
        return user

    assert [asyncio.run(tell_and_close()) for _ in range(3)] == ["u7"] * 3


def test_what_is_refused_is_raised_at_once(mp: Milepost) -> None:
    """A start or a notification that can never be accepted raises without being repeated."""
    began = time.monotonic()
    with pytest.raises(Invalid, match="title"), mp.job(title=""):
        pass
    with pytest.raises(Invalid, match="level"):
        mp.notify("u7", title="x", level="loud")  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="id"), mp.job("a/b", title="x"):
        pass
    assert time.monotonic() - began < 2


def test_logs_hold_no_text_of_a_job(mp: Milepost, job_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """Titles and messages are people's business: the log has ids, codes and what was wrong, no more."""
    caplog.set_level(logging.DEBUG, "milepost")
    with mp.job(job_id, title="canary-title") as job:
        job.advance(message="canary-message", item={"name": object()})
        wait_until(lambda: "was refused" in caplog.text)
    assert "canary" not in caplog.text
