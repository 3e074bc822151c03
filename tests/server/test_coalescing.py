"""Progress in a burst: few commits, the first at once, the last always, the end at once, the answer right."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.server.process import Client, wait_until

PATCHES = 1000


def _revisions(me: Client) -> int:
    return int(me.get("/changes")["cursor"].split(".")[1])


def test_a_burst(me: Client) -> None:
    """1,000 updates of one job make at most 20 commits a second; each is answered as if it had been committed."""
    me.job("j", total=PATCHES)
    head, begun = _revisions(me), time.monotonic()
    with me.stream("/jobs/j/stream") as stream:
        stream.until("live")
        for current in range(1, PATCHES + 1):
            assert me.patch("/jobs/j", {"current": current})["job"]["current"] == current
        assert me.get("/jobs/j")["job"]["current"] == PATCHES
        seconds = time.monotonic() - begun
        found = [stream.until("job")[-1].json["job"]["current"]]
        assert found == [1], "the first is told at once"
        while found[-1] != PATCHES:
            found.append(stream.until("job")[-1].json["job"]["current"])
    assert found == sorted(set(found))
    commits = _revisions(me) - head
    assert len(found) == commits
    assert 2 <= commits <= 20 * (seconds + 0.1) + 2


def test_the_first_and_the_last(me: Client) -> None:
    """The first update is told at once, the last one of a window within it, though nothing follows."""
    me.job("j")
    with me.stream("/jobs/j/stream") as stream:
        stream.until("live")
        for round_ in range(5):
            begun = time.monotonic()
            me.patch("/jobs/j", {"current": round_ * 10 + 1})
            assert stream.until("job")[-1].json["job"]["current"] == round_ * 10 + 1
            assert time.monotonic() - begun < 0.5
            me.patch("/jobs/j", {"current": round_ * 10 + 2})
            me.patch("/jobs/j", {"current": round_ * 10 + 3})
            current = 0
            while current != round_ * 10 + 3:
                current = stream.until("job", 1)[-1].json["job"]["current"]
            wait_until(lambda begun=begun: time.monotonic() - begun > 0.15)  # type: ignore[misc]


def test_the_end_takes_the_rest_along(me: Client) -> None:
    """An end is told at once, with all that was held back; nothing follows it."""
    for number, end in enumerate(("complete", "fail", "cancel")):
        job = f"j{number}"
        me.job(job)
        with me.stream(f"/jobs/{job}/stream") as stream:
            stream.until("live")
            for by in range(10):
                me.patch(f"/jobs/{job}", {"by": 1, "message": f"m{by}", "counters": {"n": by}})
            ended = me.post(f"/jobs/{job}/{end}", {"code": "UNEXPECTED"} if end == "fail" else {})["job"]
            last = [event for event in stream.rest() if event.name == "job"][-1].json["job"]
        assert (ended["current"], ended["message"], ended["counters"]) == (10, "m9", {"n": 9})
        assert [step["message"] for step in ended["steps"]] == [f"m{by}" for by in range(10)]
        assert last["rev"] == ended["rev"]
        assert me.get(f"/jobs/{job}")["job"] == ended


def test_reads_see_what_is_held_back(me: Client) -> None:
    """Right after an update a job, a list and product D's question answer with it, also while it is held back."""
    me.job("j", total=100)
    for current in range(1, 60):
        me.patch("/jobs/j", {"current": current})
        assert me.get("/jobs/j")["job"]["current"] == current
        assert me.get("/jobs")["jobs"][0]["current"] == current
        assert me.get("/pipeline-status/j")["current"] == current


def test_sums_of_many_at_once(me: Client) -> None:
    """Steps from many connections at the same time, singly and in batches, add up: none lost, none twice."""
    me.job("j")

    def report(number: int) -> Any:
        if number % 4 == 3:
            return me.post("/batch", {"commands": [{"verb": "advance", "job": "j", "by": 1}]})
        if number % 4 == 2:
            return me.post("/jobs", {"id": "j", "title": "alive already"})
        return me.patch("/jobs/j", {"by": 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(report, range(600)))
    assert me.get("/jobs/j")["job"]["current"] == 450
    assert me.post("/jobs/j/complete")["job"]["current"] == 450


def test_a_retried_start_loses_no_progress(me: Client) -> None:
    """Asking again for a job that is alive takes nothing away from it."""
    me.job("j")
    for current in range(1, 30):
        me.patch("/jobs/j", {"current": current})
        answer = me.post("/jobs", {"id": "j", "title": "again"})["job"]
        assert answer["current"] == current
        assert me.get("/jobs/j")["job"]["current"] == current


def test_notifications_are_never_coalesced(me: Client) -> None:
    """Every notification is told, however many come at once."""
    with me.stream() as stream:
        stream.until("live")
        for number in range(100):
            me.notify(title=str(number))
        titles: list[str] = []
        while len(titles) < 100:
            titles.append(stream.until("notification")[-1].json["notification"]["title"])
    assert titles == [str(number) for number in range(100)]
