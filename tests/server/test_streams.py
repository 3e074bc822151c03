"""Streams: their first bytes, the state at once and then every change, resuming, narrowing, heartbeats, EventSource."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest

from tests.server.process import Client, refused, wait_until
from tests.server.sse_client import Event, Stream

NATIVE = {"accept": "text/event-stream"}
ALL_EVENTS = {"connected", "job", "notification", "inbox", "live", "heartbeat", "reset", "stream_end"}


def names(events: Iterable[Event]) -> list[str]:
    """The events' names, heartbeats left out."""
    return [event.name for event in events if event.name != "heartbeat"]


def revisions(events: Iterable[Event]) -> list[int]:
    """The revisions of the documents in them."""
    return [e.json[e.name]["rev"] for e in events if e.name in ("job", "notification")]


def cursor_of(client: Client) -> str:
    """Where the tenant's history ends now."""
    cursor: str = client.get("/changes")["cursor"]
    return cursor


# --- the form --------------------------------------------------------------------------------------------------------


def test_headers(me: Client) -> None:
    """Exactly these headers; ``connection: keep-alive`` never."""
    with me.stream() as stream:
        assert stream.status == 200
        found = {name: value for name, value in stream.header_list if name not in {"date", "transfer-encoding", "vary"}}
        assert found == {
            "content-type": "text/event-stream",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
        }


def test_first_bytes_at_once(me: Client) -> None:
    """The first event comes at once, though there is nothing to tell."""
    begun = time.monotonic()
    with me.stream() as stream:
        first = stream.next()
    assert time.monotonic() - begun < 0.5
    assert first.name == "connected"
    assert first.id is None
    assert set(first.json) == {"protocol", "time", "cursor", "heartbeat_seconds"}
    assert first.json["cursor"] is None
    assert first.json["heartbeat_seconds"] == 1.0


def test_a_jobs_stream(me: Client) -> None:
    """The state at once, then every change, then the stream ends by itself after the end."""
    me.job("j", total=2)
    with me.stream("/jobs/j/stream") as stream:
        found = stream.until("live")
        assert names(found) == ["connected", "job", "live"]
        assert found[1].json["job"]["state"] == "queued"
        for current in (1, 2):
            me.patch("/jobs/j", {"current": current})
            assert stream.until("job")[-1].json["job"]["current"] == current
        me.post("/jobs/j/complete", {"output_url": "/x"})
        rest = stream.rest()
        assert names(rest) == ["job", "stream_end"]
        assert rest[0].json["job"]["state"] == "completed"
        assert rest[0].json["job"]["output_url"] == "/x"
        assert rest[1].json["reason"] == "completed"
        assert rest[1].retry == rest[1].json["retry_ms"]
        assert stream.ended


@pytest.mark.parametrize(("end", "reason"), [("complete", "completed"), ("fail", "failed"), ("cancel", "cancelled")])
def test_a_late_reader(me: Client, end: str, reason: str) -> None:
    """Who comes after the end gets the last state and the end, at once."""
    me.job("j")
    me.post(f"/jobs/j/{end}", {"code": "UNEXPECTED"} if end == "fail" else {})
    with me.stream("/jobs/j/stream") as stream:
        found = stream.rest()
    assert names(found) == ["connected", "job", "stream_end"]
    assert found[1].json["job"]["state"] == reason
    assert found[2].json["reason"] == reason


def test_documents_on_the_wire(me: Client) -> None:
    """A job in a stream has every field but ``steps``; a notification tells the reader's own unread count with it."""
    me.job("j")
    with me.stream() as stream:
        found = stream.until("live")
        assert found[1].json["job"] == {k: v for k, v in me.get("/jobs/j")["job"].items() if k != "steps"}
        note = me.notify()
        told = stream.until("notification")[-1].json
        assert told["notification"] == note
        assert told["unread"] == 1
        assert told["as_of"]
        me.post("/notifications/read-all")
        inbox = stream.until("inbox")[-1]
        assert inbox.json["unread"] == 0
        assert inbox.json["read_up_to"] >= note["seq"]
        assert inbox.id


def test_a_broadcast_carries_no_count(me: Client) -> None:
    """A broadcast is one frame for all, so it tells nobody's unread count."""
    with me.stream() as stream:
        stream.until("live")
        me.notify(everyone=True)
        assert set(stream.until("notification")[-1].json) == {"notification"}


def test_every_document_has_its_cursor(me: Client) -> None:
    """Documents, inbox and ``live`` carry an id; ``connected``, ``heartbeat``, ``reset`` and ``stream_end`` none."""
    me.job("j")
    me.notify()
    with me.stream(f"/stream?after={'x' * 10}") as stream:
        found = stream.until("heartbeat", 5)
    with me.stream("/jobs/j/stream") as stream:
        me.post("/jobs/j/complete")
        found += stream.rest()
    assert {event.name for event in found} == ALL_EVENTS
    for event in found:
        assert (event.id is not None) == (event.name in {"job", "notification", "inbox", "live"}), event
        if event.id is not None:
            assert event.id.isascii()
            assert len(event.id) <= 64


def test_live_once(me: Client) -> None:
    """``live`` comes once, behind what is old, and nothing that happens later brings another one."""
    me.job("j")
    with me.stream() as stream:
        assert names(stream.until("live"))[-2:] == ["inbox", "live"]
        for _ in range(3):
            me.notify()
            stream.until("notification")
        assert "live" not in names(stream.quiet(0.3))


def test_snapshot(me: Client) -> None:
    """A fresh stream begins with live jobs, jobs that ended lately, the 20 newest that are not archived, the inbox."""
    me.job("alive")
    me.job("ended")
    me.post("/jobs/ended/complete")
    ids = [me.notify(title=f"n{n}")["id"] for n in range(25)]
    me.post(f"/notifications/{ids[24]}/archive")
    with me.stream() as stream:
        found = stream.until("live")
    assert [e.json["job"]["id"] for e in found if e.name == "job"] == ["alive", "ended"]
    assert [e.json["notification"]["id"] for e in found if e.name == "notification"] == ids[4:24]
    assert found[-2].json["unread"] == 24
    assert revisions(found) == sorted(revisions(found))


def test_line_ends_inside_texts(me: Client) -> None:
    """Whatever a text contains, it stays one line of one event: nothing can be slipped into a stream."""
    evil = "a\n\nevent: stream_end\ndata: {}\n\nid: 1\r\n\u2028\u2029\x85\x0b\x0c\u0000".replace("\0", "")
    me.job("j", title=evil)
    with me.stream("/jobs/j/stream") as stream:
        found = stream.until("live")
        assert names(found) == ["connected", "job", "live"]
        assert found[1].json["job"]["title"] == evil
        assert "\u2028".encode() not in stream.transcript
        assert "\u2029".encode() not in stream.transcript


# --- the wide stream and the narrow one ------------------------------------------------------------------------------


def test_one_stream_for_everything(me: Client) -> None:
    """One connection carries all that concerns its user, in the order of the revisions, each document once."""
    with me.stream() as stream:
        stream.until("live")
        me.job("a")
        me.notify()
        me.other("boss").job("b", watchers=["me"])
        me.notify(everyone=True)
        me.other("boss").job("c")
        me.job("z")
        found = [stream.next()]
        while found[-1].name != "job" or found[-1].json["job"]["id"] != "z":
            found.append(stream.next())
    assert names(found) == ["job", "notification", "job", "notification", "job"]
    assert revisions(found) == sorted(set(revisions(found)))


def test_narrowed(me: Client) -> None:
    """``?jobs=`` gives these jobs and nothing else, and begins with their state whatever the cursor."""
    for name in "abc":
        me.job(name)
    cursor = cursor_of(me)
    with me.stream(f"/stream?jobs=a,b,later&after={cursor}") as stream:
        found = stream.until("live")
        assert names(found) == ["connected", "job", "job", "live"]
        assert [e.json["job"]["id"] for e in found if e.name == "job"] == ["a", "b"]
        assert found[0].json["cursor"] == cursor
        me.patch("/jobs/c", {"current": 1})
        me.notify()
        me.job("later")
        me.post("/jobs/a/complete")
        assert [e.json["job"]["id"] for e in (stream.until("job")[-1], stream.until("job")[-1])] == ["later", "a"]
        assert names(stream.quiet(0.2)) == []
    assert b"notification" not in stream.transcript


# --- resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["last-event-id", "after", "lastEventId", "last_event_id"])
def test_resume(me: Client, how: str) -> None:
    """A cursor, by the header or by any of three names in the query, resumes behind what was seen."""
    me.job("old")
    cursor = cursor_of(me)
    me.job("new")
    stream = me.stream(headers={how: cursor}) if how == "last-event-id" else me.stream(f"/stream?{how}={cursor}")
    with stream:
        found = stream.until("live")
    assert names(found) == ["connected", "job", "live"]
    assert found[0].json["cursor"] == cursor
    assert found[1].json["job"]["id"] == "new"


def test_the_header_goes_first(me: Client) -> None:
    """Of several cursors the header's counts, which is the one that the browser itself keeps."""
    old = cursor_of(me)
    me.job("j")
    new = cursor_of(me)
    with me.stream(f"/stream?after={old}", headers={"last-event-id": new}) as stream:
        assert names(stream.until("live")) == ["connected", "live"]


def test_an_empty_cursor_is_none(me: Client) -> None:
    """What a browser sends for "none yet" is no cursor."""
    with me.stream("/stream?after=", headers={"last-event-id": ""}) as stream:
        assert names(stream.until("live")) == ["connected", "inbox", "live"]


@pytest.mark.parametrize("cursor", ["nonsense", "0.0", "a.1.0123456789", "9" * 64, "x" * 65, "é", "1.2.3.4"])
@pytest.mark.parametrize("path", ["/stream", "/stream?jobs=j", "/jobs/j/stream"])
def test_a_cursor_that_is_none_of_ours(me: Client, path: str, cursor: str) -> None:
    """A malformed cursor: 200, ``reset``, and the snapshot."""
    me.job("j")
    with me.stream(path, headers={"last-event-id": cursor}) as stream:
        assert stream.status == 200
        found = stream.until("live")
    assert names(found)[:3] == ["connected", "reset", "job"]
    assert found[0].json["cursor"] is None
    assert found[1].json == {"reason": "malformed"}
    answer = me.get("/changes", params={"after": cursor})
    assert answer["reset"] == "malformed"
    assert answer["changes"][0]["job"]["id"] == "j"


def test_another_tenants_cursor(me: Client) -> None:
    """Another tenant's cursor is none of ours: it tells nothing about either."""
    me.job("j")
    other = me.server.someone("me", f"{me.tenant}-other")
    other.job("x")
    with me.stream(f"/stream?after={cursor_of(other)}") as stream:
        assert stream.until("live")[1].json == {"reason": "malformed"}


def test_more_than_one_page(me: Client) -> None:
    """Whoever missed more than a page (256) gets all of it, oldest first, each once, and then goes live."""
    cursor = cursor_of(me)
    for start in range(0, 600, 200):
        batch = [{"verb": "notify", "user": "me", "title": f"n{start + n}"} for n in range(200)]
        me.post("/batch", {"commands": batch})
    with me.stream(f"/stream?after={cursor}") as stream:
        found = stream.until("live")
    notes = [e.json["notification"] for e in found if e.name == "notification"]
    assert [note["title"] for note in notes] == [f"n{n}" for n in range(600)]
    assert names(found).count("inbox") <= 1


# --- heartbeats ------------------------------------------------------------------------------------------------------


def test_heartbeats(me: Client) -> None:
    """On an idle stream a named event without an id, with the cursor up to which all is told."""
    me.job("j")
    with me.stream() as stream:
        stream.until("live")
        for _ in range(2):
            beat = stream.next(3)
            assert beat.name == "heartbeat"
            assert beat.id is None
            assert set(beat.json) == {"time", "cursor"}
            assert beat.json["cursor"] == cursor_of(me)


def test_a_heartbeats_cursor_moves_with_the_tenant(me: Client) -> None:
    """What others do moves the cursor in the heartbeat, so that a quiet reader does not resume from long ago."""
    with me.stream() as stream:
        stream.until("live")
        me.other("boss").job("foreign")
        head = cursor_of(me)
        beat = stream.until("heartbeat")[-1]
        if beat.json["cursor"] != head:
            beat = stream.until("heartbeat")[-1]
        assert beat.json["cursor"] == head
    with me.stream(f"/stream?after={head}") as stream:
        assert names(stream.until("live")) == ["connected", "live"]


def test_no_heartbeat_while_something_is_told(me: Client) -> None:
    """A heartbeat is left out where something was sent lately."""
    me.job("j")
    with me.stream() as stream:
        stream.until("live")
        until, found = time.monotonic() + 2.5, []
        while time.monotonic() < until:
            me.patch("/jobs/j", {"by": 1})
            found += stream.quiet(0.2)
    assert "job" in names(found)
    assert not [event for event in found if event.name == "heartbeat"]


# --- a browser's own EventSource -------------------------------------------------------------------------------------


def _native(stream: Stream) -> Event:
    """The one event of a refusal that a native EventSource survives."""
    with stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-cache"
        (event,) = stream.rest()
    assert event.retry is not None
    assert event.id is None
    return event


@pytest.mark.parametrize("who", ["nobody's", "a stranger's"])
def test_not_yet(me: Client, who: str) -> None:
    """A job that does not exist, or not for you: 404; to a native EventSource 200, ``retry: 2000`` and the end."""
    if who == "a stranger's":
        me.other("boss").job("j")
    refused(me.call("GET", "/jobs/j/stream"), 404, "not_found")
    assert _native(me.stream("/jobs/j/stream", headers=NATIVE)).retry == 2000


def test_native_over_the_limit(me: Client) -> None:
    """A native EventSource over a limit is told when to come again, where others get 429 or 503."""
    few = me.server.someone("native", "few")
    with few.stream(), few.stream():
        event = _native(few.stream(headers=NATIVE))
        assert event.json["reason"] == "rate_limited"
        assert event.retry is not None
        assert event.retry >= 1000


def test_native_who_is_to_poll(me: Client) -> None:
    """A native EventSource that is not to stream gets 204, the one portable word for "stop"."""
    with me.server.someone("me", "polls").stream(headers=NATIVE) as stream:
        assert stream.status == 204


def test_native_after_the_end(me: Client) -> None:
    """204 once the cursor covers the end of the latest attempt; before that, and again from a new attempt, 200."""
    me.job("j")
    early = cursor_of(me)
    me.post("/jobs/j/complete")
    with me.stream("/jobs/j/stream", headers=NATIVE) as stream:
        last = [event.id for event in stream.rest() if event.id is not None][-1]
    for headers, status in (
        ({"last-event-id": last, **NATIVE}, 204),
        ({"last-event-id": early, **NATIVE}, 200),
        ({"last-event-id": "nonsense", **NATIVE}, 200),
        (NATIVE, 200),
        ({"last-event-id": last}, 200),
    ):
        with me.stream("/jobs/j/stream", headers=headers) as stream:
            assert stream.status == status, headers
            if status == 200:
                assert "stream_end" in names(stream.rest())
    me.job("j")
    with me.stream("/jobs/j/stream", headers={"last-event-id": last, **NATIVE}) as stream:
        assert stream.status == 200
        assert stream.until("job")[-1].json["job"]["attempt"] == 2


def test_curl_gets_the_truth(me: Client) -> None:
    """``*/*`` and our own client's Accept get true statuses."""
    for accept in ("*/*", "text/event-stream, application/problem+json", "text/event-stream;q=0.9"):
        with me.stream("/jobs/none/stream", headers={"accept": accept}) as stream:
            assert stream.status == 404
            assert stream.body()["code"] == "not_found"


def test_head(me: Client) -> None:
    """HEAD tells the headers and holds nothing open."""
    before = me.server.streams
    answer = me.call("HEAD", "/stream", timeout=5)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    wait_until(lambda: me.server.streams <= before, seconds=2, what="it is not open")


# --- the choice of a dialect -----------------------------------------------------------------------------------------


def test_which_dialect(me: Client) -> None:
    """First ``?dialect=``, then the tenant's setting, then on a job's own stream its kind, else ours."""

    def first(client: Client, path: str) -> Any:
        with client.stream(path) as stream:
            return stream.next().name

    me.job("d", kind="document")
    me.job("j", kind="import-of-mine")
    assert first(me, "/jobs/d/stream") == "progress"
    assert first(me, "/jobs/d/stream?dialect=milepost") == "connected"
    assert first(me, "/jobs/j/stream") == "connected"
    assert first(me, "/jobs/j/stream?dialect=document") == "progress"
    assert first(me, "/stream?jobs=d") == "connected"
    theirs = me.server.someone("me", "documents")
    theirs.job(f"x{me.tenant}")
    assert first(theirs, f"/stream?jobs=x{me.tenant}") == "progress"
    assert first(theirs, "/stream?dialect=milepost") == "connected"
