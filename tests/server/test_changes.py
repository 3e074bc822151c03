"""``/api/changes``: the same documents as the stream, as a poll or a long poll."""

from __future__ import annotations

import threading
import time
from typing import Any

from tests.server.process import Client
from tests.server.sse_client import Event


def _documents(changes: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, entry[name]) for entry in changes for name in entry if name != "cursor"]


def _streamed(events: list[Event]) -> list[tuple[str, Any]]:
    return [(e.name, e.json[e.name]) for e in events if e.name in ("job", "notification")]


def _past(me: Client) -> None:
    """A history with something of everything."""
    boss = me.other("boss")
    me.job("a", watchers=["w"])
    boss.job("b", watchers=["me"])
    boss.job("foreign")
    me.patch("/jobs/a", {"current": 1})
    first = me.notify()["id"]
    broadcast = me.notify(everyone=True)["id"]
    boss.notify("boss")
    me.post(f"/notifications/{first}/read")
    me.post(f"/notifications/{broadcast}/archive")
    me.post("/notifications/read-all")
    me.post("/jobs/a/complete")
    boss.post("/jobs/b/cancel")
    boss.post("/jobs", {"id": "b", "title": "without me", "watchers": []})
    me.notify()


def test_the_same_as_the_stream(me: Client) -> None:
    """From any cursor, and from none, poll and stream tell the same documents in the same order."""
    cursors = [None, me.get("/changes")["cursor"]]
    _past(me)
    page = me.get("/changes", params={"after": cursors[1], "limit": 1})
    while page["changes"]:
        cursors.append(page["cursor"])
        page = me.get("/changes", params={"after": page["cursor"], "limit": 1})
    assert len(cursors) > 6
    for cursor in cursors:
        parameters = {} if cursor is None else {"after": cursor}
        polled = me.get("/changes", params=parameters)
        with me.stream(headers={"last-event-id": cursor or ""}) as stream:
            streamed = stream.until("live")
        assert [d for d in _documents(polled["changes"]) if d[0] != "inbox"] == _streamed(streamed)
        boxes = [document for name, document in _documents(polled["changes"]) if name == "inbox"]
        told = [event.json for event in streamed if event.name == "inbox"]
        if boxes and told:
            assert {**boxes[-1], "as_of": ""} == {**told[-1], "as_of": ""}
        assert polled["unread"] == me.get("/notifications/unread-count")["unread_count"]


def test_pages(me: Client) -> None:
    """Pages of any size joined by their cursors are the whole, each document once; the last says that it is."""
    start = me.get("/changes")["cursor"]
    me.post("/batch", {"commands": [{"verb": "notify", "user": "me", "title": str(n)} for n in range(300)]})
    for limit in (7, 256, 9999):
        found: list[str] = []
        page = {"cursor": start, "more": True}
        while page["more"]:
            page = me.get("/changes", params={"after": page["cursor"], "limit": limit})
            assert len(page["changes"]) <= 256
            found += [document["title"] for name, document in _documents(page["changes"]) if name == "notification"]
        assert found == [str(n) for n in range(300)]


def test_narrowed(me: Client) -> None:
    """``?jobs=`` gives these jobs only."""
    for name in "ab":
        me.job(name)
    me.notify()
    page = me.get("/changes?jobs=a")
    assert [document["id"] for _, document in _documents(page["changes"])] == ["a"]
    me.patch("/jobs/b", {"current": 1})
    assert me.get("/changes", params={"jobs": "a", "after": page["cursor"]})["changes"] == []
    me.patch("/jobs/a", {"current": 1})
    page = me.get("/changes", params={"jobs": "a", "after": page["cursor"]})
    assert [document["current"] for _, document in _documents(page["changes"])] == [1]


def test_nothing_new(me: Client) -> None:
    """Nothing new is an empty answer at once, and 200."""
    cursor = me.get("/changes")["cursor"]
    begun = time.monotonic()
    page = me.get("/changes", params={"after": cursor})
    assert time.monotonic() - begun < 0.5
    assert (page["changes"], page["more"], page["reset"]) == ([], False, None)


def _poll(me: Client, wait: float, **more: Any) -> tuple[threading.Thread, list[tuple[float, Any]]]:
    """A long poll that is under way; its answer, and when it came."""
    cursor = me.get("/changes")["cursor"]
    answers: list[tuple[float, Any]] = []

    def ask() -> None:
        page = me.get("/changes", params={"after": cursor, "wait": wait, **more})
        answers.append((time.monotonic(), page))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answers


def test_long_poll_wakes(me: Client) -> None:
    """A long poll answers within 300 ms of a commit that concerns it."""
    late = []
    for number in range(5):
        thread, answers = _poll(me, 20)
        time.sleep(0.1)  # so that it waits rather than finds it there: either way it has to answer
        told = time.monotonic()
        note = me.notify(title=str(number))
        thread.join(20)
        when, page = answers[0]
        late.append(when - told)
        assert _documents(page["changes"]) == [("notification", note)]
        assert page["unread"] == number + 1
    assert sorted(late)[1] <= 0.3, late


def test_long_poll_sleeps_on(me: Client) -> None:
    """What does not concern it wakes no long poll: it answers after its time, empty, with a cursor that has moved."""
    thread, answers = _poll(me, 1.2)
    begun = time.monotonic()
    me.other("boss").job("foreign")
    me.other("boss").notify("boss")
    thread.join(10)
    when, page = answers[0]
    assert 1.0 <= when - begun <= 2.5
    assert page["changes"] == []
    assert page["cursor"] == me.get("/changes")["cursor"]


def test_long_poll_for_a_job(me: Client) -> None:
    """A narrowed long poll wakes for its job, also for one that is yet to begin, and for no other."""
    thread, answers = _poll(me, 20, jobs="later")
    me.job("other")
    me.notify()
    assert not answers
    job = me.job("later")
    thread.join(20)
    del job["steps"]
    assert _documents(answers[0][1]["changes"]) == [("job", job)]


def test_long_poll_is_bounded(me: Client) -> None:
    """However long one wants to wait, it is 30 s at most; without a cursor nobody waits."""
    begun = time.monotonic()
    assert me.get("/changes?wait=30")["cursor"]
    assert time.monotonic() - begun < 1


def test_unread_beside_broadcasts(me: Client) -> None:
    """The count is the reader's own, exact at the cursor it comes with."""
    me.notify(everyone=True)
    me.notify("someone-else")
    assert me.get("/changes")["unread"] == 1
