"""Streams byte for byte as ``tests/transcripts`` has them.

The transcripts were written by hand from the contract, before any server was asked, and no script ever writes them:
where one of them and the server disagree, somebody has to think. ``<cursor>``, ``<time>`` and ``<number>`` stand for
what is different each time.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.server.process import Client
from tests.server.sse_client import Stream

FOLDER = Path(__file__).parent.parent / "transcripts"
HOLES = {
    "<cursor>": r"[0-9a-f]{12}\.[0-9]+\.[0-9a-f]{10}",
    "<time>": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z",
    "<number>": r"[0-9]+",
}
HEARTBEAT = re.compile(rb"event: heartbeat\n.*\n\n")


def same(stream: Stream, name: str) -> None:
    """The stream ends, and all that it carried is the transcript of that name."""
    stream.rest()
    pattern = re.escape((FOLDER / f"{name}.sse").read_text())
    for hole, meaning in HOLES.items():
        pattern = pattern.replace(re.escape(hole), meaning)
    found = stream.transcript.decode()
    assert re.fullmatch(pattern, found), f"expected {name}.sse, got\n{found}"


def seen(stream: Stream, text: bytes) -> None:
    """Wait until the stream has carried these bytes, whether a parser makes an event of them or not."""
    while text not in stream.transcript:
        stream.quiet(0.05)


def test_document_completed(me: Client) -> None:
    """Product D's job: progress with a total that is not known at first, a comment as a heartbeat, complete."""
    me.job("case-123", kind="document")
    with me.stream("/jobs/case-123/stream") as stream:
        stream.next()
        me.patch("/jobs/case-123", {"current": 5, "total": 32, "message": "Generating SROGS 1/3"})
        stream.next()
        seen(stream, b": heartbeat\n")
        me.post("/jobs/case-123/complete", {"output_url": "https://files.example/case-123.zip"})
        same(stream, "document-completed")


def test_document_failed(me: Client) -> None:
    """Product D's job that fails: ``error`` with the taxonomy's code."""
    me.job("case-123", kind="document", total=32)
    me.patch("/jobs/case-123", {"current": 5, "message": "Generating SROGS 1/3"})
    with me.stream("/jobs/case-123/stream") as stream:
        stream.next()
        message = "The template names a field that the case has not: plaintiff"
        me.post("/jobs/case-123/fail", {"code": "TEMPLATE_ERROR", "message": message})
        same(stream, "document-failed")


def test_document_cancelled(me: Client) -> None:
    """Product D knows no cancelling: it is told as an error with the code CANCELLED."""
    me.job("case-123", kind="document", total=32)
    with me.stream("/jobs/case-123/stream") as stream:
        stream.next()
        me.post("/jobs/case-123/cancel", {"reason": "wrong file"})
        same(stream, "document-cancelled")


def test_document_second_attempt(me: Client) -> None:
    """A new attempt begins from 0, whatever cursor is sent; a reset is not told; an absent output stays absent."""
    me.job("case-123", kind="document", total=32)
    me.post("/jobs/case-123/fail", {"code": "UNEXPECTED"})
    me.job("case-123")
    with me.stream("/jobs/case-123/stream", headers={"last-event-id": "nonsense"}) as stream:
        stream.next()
        me.post("/jobs/case-123/complete")
        same(stream, "document-second-attempt")


def test_milepost_job(me: Client) -> None:
    """Our own words for a job's stream, from ``connected`` to ``stream_end``."""
    me.job("case-123", kind="report", title="Discovery set", watchers=["w1"], total=32)
    with me.stream("/jobs/case-123/stream") as stream:
        stream.until("live")
        progress = {"current": 5, "message": "Generating SROGS 1/3", "counters": {"enriched": 2}}
        me.patch("/jobs/case-123", {**progress, "item": {"name": "SROGS"}})
        stream.until("heartbeat")
        error = {"code": "TEMPLATE_ERROR", "message": "no such field", "details": {"line": 3}}
        me.post("/jobs/case-123/fail", error)
        same(stream, "milepost-job")


def test_milepost_user(me: Client) -> None:
    """Our own words for a user's stream: reset, notifications, a broadcast, inbox, the end with the token."""
    news: dict[str, Any] = {
        "message": "Your audio is ready",
        "level": "success",
        "href": "/s/9",
        "context": {"document_id": "d1"},
    }
    me.notify(id="n1", title="Transcription complete", **news)
    with me.other("me", ttl=2).stream(headers={"last-event-id": "nonsense"}) as stream:
        stream.until("live")
        me.notify(id="n2", everyone=True, title="Maintenance at noon")
        me.post("/notifications/n1/read")
        me.post("/notifications/read-all")
        stream.until("stream_end")
        stream.transcript = HEARTBEAT.sub(b"", stream.transcript)  # as many as the token had time for
        same(stream, "milepost-user")
