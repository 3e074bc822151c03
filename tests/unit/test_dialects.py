"""The seam for products' own vocabularies, and product D's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from milepost import dialects, inbox, jobs, wire
from milepost.commands import Advance, Cancel, Complete, Fail, Notify, StartJob
from milepost.dialects import MILEPOST, Dialect, Frame, Reader
from milepost.engine import Document
from milepost.jobs import Policy
from milepost.model import Job, Notification
from tests.server.sse_client import Parser

POLICY = Policy()
DOCUMENT = dialects.dialect("document")
ALL = ("milepost", "document", "activity", "coaching", "import", "enrichment")
ME = Reader("u", "j")


def the(name: str) -> Dialect:
    """The dialect of that name."""
    found = dialects.dialect(name)
    assert found is not None
    return found


def stored(job: Job, revision: int = 3) -> Document:
    """A job as an engine gives it back."""
    write = jobs.document(job, POLICY, replaces=None)
    assert write.body is not None
    return Document(write.key, write.kind, revision, 1, write.audiences, write.body, write.private, write.labels)


def told(job: Job) -> tuple[str, Any] | None:
    """What D's dialect makes of a job."""
    assert DOCUMENT is not None
    frame = DOCUMENT.document(stored(job), "c.1")
    if frame is None:
        return None
    (event,) = Parser().feed(frame.data)
    assert event.id == "c.1"
    assert frame.event == "job"
    return event.name, event.json


@pytest.fixture
def job() -> Job:
    """A job of kind ``document`` that has made some progress."""
    command = StartJob(id="case-123", kind="document", title="Discovery set")
    begun, _ = jobs.start(None, command, job_id="case-123", creator="u", policy=POLICY, now=0)
    return jobs.advance(begun, jobs.progress(Advance(current=5, message="Generating SROGS 1/3"), 1), now=1)


def test_registry() -> None:
    """The dialects are found by their names, no other names are."""
    assert dialects.dialect("milepost") is MILEPOST
    assert [the(name).name for name in ALL] == list(ALL)
    assert dialects.dialect("klingon") is None
    assert dialects.dialect("") is None


def test_progress(job: Job) -> None:
    """Progress, with a total that is null until it is known."""
    data = {"jobId": "case-123", "current": 5, "total": None, "message": "Generating SROGS 1/3"}
    assert told(job) == ("progress", data)
    known = jobs.advance(job, jobs.progress(Advance(total=32), 2), now=2)
    assert told(known) == ("progress", {**data, "total": 32})


def test_ends(job: Job) -> None:
    """Complete with the output's URL where there is one; error for failed and cancelled."""
    done = jobs.complete(job, Complete(output_url="/x"), now=2)
    assert told(done) == ("complete", {"jobId": "case-123", "total": None, "outputUrl": "/x"})
    assert told(jobs.complete(job, Complete(), now=2)) == ("complete", {"jobId": "case-123", "total": None})
    failed = jobs.fail(job, Fail(code="TEMPLATE_ERROR", message="no such field"), now=2)
    assert told(failed) == ("error", {"jobId": "case-123", "code": "TEMPLATE_ERROR", "message": "no such field"})
    cancelled = jobs.cancel(job, Cancel(reason="wrong file"), now=2)
    assert told(cancelled) == ("error", {"jobId": "case-123", "code": "CANCELLED", "message": "wrong file"})


def test_what_product_d_has_no_word_for(job: Job) -> None:
    """A stalled job, a gone one, and notifications are not told."""
    stalled = jobs.overdue(job, POLICY, now=40)
    assert stalled is not None
    assert stalled.state == "stalled"
    assert told(stalled) is None
    assert DOCUMENT is not None
    assert DOCUMENT.document(Document("job:j", "job", 3, 1, ("user:u",), b"", gone=True), "c") is None
    note = inbox.create(Notify(user="u", title="x"), notification_id="n", user="u", now=0)
    body = inbox.document(note, retention=1, replaces=None).body or b""
    assert DOCUMENT.document(Document("notification:n", "notification", 3, 1, ("user:u",), body), "c") is None


def test_the_rest_of_product_ds_stream() -> None:
    """No ``live``, ``reset``, ``stream_end`` and inbox; heartbeats and the first bytes are comments."""
    assert DOCUMENT is not None
    assert DOCUMENT.live("c") == DOCUMENT.reset("epoch") == DOCUMENT.stream_end(ME, "timeout", 5, now=0) == b""
    assert DOCUMENT.inbox(unread=1, read_up_to=0, as_of="a", cursor="c") == b""
    assert DOCUMENT.heartbeat(now=0, cursor="c", degraded=False, connections=1) == b": heartbeat\n"
    assert DOCUMENT.connected(ME, now=0, cursor=None, heartbeat_seconds=15).startswith(b": ")


@pytest.mark.parametrize("name", ALL)
def test_a_refusal_is_one_event_that_says_when(name: str) -> None:
    """A native EventSource that is to come again gets one whole event with ``retry``, at which no page stops."""
    (event,) = Parser().feed(the(name).refusal(ME, "overloaded", 2000, now=0))
    assert event.retry == 2000
    assert event.name in {"heartbeat", "keepalive"} or name == "milepost"


@pytest.mark.parametrize("name", ["activity", "coaching", "import", "enrichment"])
@pytest.mark.parametrize("reason", wire.END_REASONS)
def test_what_is_no_end_is_a_pause(name: str, reason: str) -> None:
    """An end that a page should come back from is a sign of life with ``retry``; E's ``stream_end`` is for good."""
    events = list(Parser().feed(the(name).stream_end(ME, reason, 700, now=0)))
    if reason in {"completed", "failed", "cancelled", "revoked"}:
        assert [event.name for event in events] == (["stream_end"] if name == "enrichment" else [])
    elif reason == "token_expired" and name == "enrichment":  # its token is in the URL, which would be refused
        assert events[0].json == {"bom_id": "j", "reason": "token_expired"}
    else:
        (event,) = events
        assert event.name == {"enrichment": "keepalive"}.get(name, "heartbeat")
        assert event.retry == 700
        assert event.id is None


@pytest.mark.parametrize("name", ["coaching", "import", "enrichment"])
def test_signs_of_life_of_c_t_and_e(name: str) -> None:
    """Every 30 seconds, an event without an id."""
    dialect = the(name)
    assert dialect.beat_seconds == 30
    (event,) = Parser().feed(dialect.heartbeat(now=0, cursor="c", degraded=True, connections=2))
    assert event.id is None
    assert event.json.pop("timestamp") == "1970-01-01T00:00:00.000Z"
    assert event.json.keys() - {"timestamp"} == ({"connections"} if name == "coaching" else set())


@pytest.mark.parametrize("name", ALL)
def test_stalled_gone_and_inboxes(name: str, job: Job) -> None:
    """No product has a word for a stalled job, none for an inbox, and what is gone is told in our own words alone."""
    stalled = jobs.overdue(job, POLICY, now=40)
    assert stalled is not None
    gone = Document("job:j", "job", 3, 1, ("user:u",), b"", gone=True)
    box = Document("inbox:u", "inbox", 3, 2, ("user:u",), b"{}")
    told = [the(name).document(document, "c") is not None for document in (stored(stalled), gone, box)]
    assert told == ([True, True, False] if name == "milepost" else [False, False, False])


@pytest.mark.parametrize("name", ["activity", "coaching"])
def test_news_only(name: str) -> None:
    """A notification is told when it is created, and never again: not read, archived, marked, or gone."""

    def told(note: Notification, *, revision: int, order: int) -> bool:
        write = inbox.document(note, retention=1, replaces=None)
        body, labels = write.body or b"", write.labels
        document = Document(note.key, "notification", revision, order, ("user:u",), body, labels=labels)
        return the(name).document(document, "c") is not None

    note = inbox.create(Notify(user="u", title="x"), notification_id="n", user="u", now=0)
    assert told(note, revision=3, order=3)
    assert not told(note, revision=4, order=3)
    assert not told(inbox.read(note, now=1), revision=3, order=3)
    assert not told(inbox.archive(note, now=1), revision=3, order=3)


def test_a_stream_of_notifications_alone(job: Job) -> None:
    """Any dialect can be had without its jobs; all else is the same, and it is the same object each time."""
    quiet = dialects.notifications_of(MILEPOST)
    assert quiet is dialects.notifications_of(MILEPOST)
    assert quiet.document(stored(job), "c") is None
    note = inbox.create(Notify(user="u", title="x"), notification_id="n", user="u", now=0)
    body = inbox.document(note, retention=1, replaces=None).body or b""
    document = Document("notification:n", "notification", 3, 3, ("user:u",), body)
    assert quiet.document(document, "c") == MILEPOST.document(document, "c")
    assert quiet.live("c") == MILEPOST.live("c")
    assert quiet.stream_end(ME, "timeout", 5, now=0) == MILEPOST.stream_end(ME, "timeout", 5, now=0)
    beat = {"now": 0.0, "cursor": "c", "degraded": True, "connections": 1}
    assert quiet.heartbeat(**beat) == MILEPOST.heartbeat(**beat)  # type: ignore[arg-type]


def test_the_canonical_ones(job: Job) -> None:
    """Our own dialect tells a job as its public fields, and leaves room for the reader's own unread count."""
    frame = MILEPOST.document(stored(job, 9), "c")
    assert frame is not None
    (event,) = Parser().feed(frame.data)
    assert event.json == {"job": {**job.to_json(), "rev": 9}}
    assert not frame.tail
    note = inbox.create(Notify(user="u", title="x"), notification_id="n", user="u", now=0)
    body = inbox.document(note, retention=1, replaces=None).body or b""
    frame = MILEPOST.document(Document("notification:n", "notification", 3, 2, ("user:u",), body), "c")
    assert frame is not None
    assert frame.tail
    assert MILEPOST.document(Document("inbox:u", "inbox", 3, 2, ("user:u",), b"{}"), "c") is None


def test_a_dialect_of_ones_own() -> None:
    """A class with one method is a dialect: all else has a default that breaks no client."""

    class Shouting(Dialect):
        name = "shouting"

        def document(self, document: Document, cursor: str) -> Frame | None:
            return Frame(b"data: %b\n\n" % json.dumps(document.key.upper()).encode(), "job")

    dialects.register(Shouting())
    found = dialects.dialect("shouting")
    assert found is not None
    frame = found.document(Document("job:j", "job", 1, 1, (), b""), "c")
    assert frame is not None
    assert next(iter(Parser().feed(frame.data))).json == "JOB:J"
    assert found.connected(ME, now=0, cursor=None, heartbeat_seconds=1)


def test_a_dialect_that_cannot_work_is_not_taken() -> None:
    """A mistake shows when the dialect is registered: no name, nothing to begin with, a method that raises."""

    class Nameless(Dialect):
        pass

    class Silent(Dialect):
        name = "silent"

        def connected(self, reader: Reader, *, now: float, cursor: str | None, heartbeat_seconds: float) -> bytes:
            return b""

    class Broken(Dialect):
        name = "broken"

        def reset(self, reason: str) -> bytes:
            raise KeyError(reason)

    for wrong in (Nameless(), Silent(), Broken()):
        with pytest.raises((ValueError, KeyError)):
            dialects.register(wrong)
    assert dialects.dialect("silent") is dialects.dialect("broken") is None
