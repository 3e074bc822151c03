"""Streams byte for byte as ``tests/transcripts`` has them.

The transcripts were written by hand from the contract, before any server was asked, and no script ever writes them:
where one of them and the server disagree, somebody has to think. ``<cursor>``, ``<time>``, ``<number>`` and
``<eta>`` stand for what is different each time.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from tests.server.process import Client
from tests.server.sse_client import Stream

FOLDER = Path(__file__).parent.parent / "transcripts"
HOLES = {
    "<cursor>": r"[0-9a-f]{12}\.[0-9]+\.[0-9a-f]{10}",
    "<time>": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z",
    "<number>": r"[0-9]+",
    "<eta>": r'(?:,"estimated_time_remaining":[0-9]+\.[0-9])?',  # where two seconds have passed
}
HEARTBEAT = re.compile(rb"event: heartbeat\n.*\n\n")


def same(stream: Stream, name: str) -> None:
    """The stream ends, and all that it carried is the transcript of that name."""
    stream.rest()
    alike(stream, name)


def alike(stream: Stream, name: str) -> None:
    """What the stream has carried so far is the transcript of that name."""
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


def test_import_completed(me: Client) -> None:
    """Product T's job: its state as it is, percent in whole numbers where they are, its result."""
    me.job("trace-7", kind="import", total=4)
    with me.stream("/jobs/trace-7/stream") as stream:
        stream.next()
        me.patch("/jobs/trace-7", {"current": 2})
        stream.next()
        me.patch("/jobs/trace-7", {"total": 3})
        stream.next()
        me.post("/jobs/trace-7/complete", {"result": {"rows": 200, "skipped": 3}})
        same(stream, "import-completed")


def test_import_failed(me: Client) -> None:
    """Product T's job that fails, with details; progress is 0 while the total is not known."""
    me.job("trace-7", kind="import")
    me.patch("/jobs/trace-7", {"current": 7})
    with me.stream("/jobs/trace-7/stream") as stream:
        stream.next()
        error = {"code": "UNEXPECTED", "message": "Line 7 has no date", "details": "orders.csv, line 7"}
        me.post("/jobs/trace-7/fail", error)
        same(stream, "import-failed")


def test_import_cancelled(me: Client) -> None:
    """Product T knows no cancelling: the import has failed, with the error ``cancelled``."""
    me.job("trace-7", kind="import")
    with me.stream("/jobs/trace-7/stream") as stream:
        stream.next()
        me.post("/jobs/trace-7/cancel", {"reason": "wrong file"})
        same(stream, "import-cancelled")


def test_import_second_attempt(me: Client) -> None:
    """A new attempt begins from 0, whatever cursor is sent; a code stands for a message that is not there."""
    me.job("trace-7", kind="import", total=4)
    me.patch("/jobs/trace-7", {"current": 3})
    me.post("/jobs/trace-7/fail", {"code": "UNEXPECTED"})
    me.job("trace-7")
    with me.stream("/jobs/trace-7/stream", headers={"last-event-id": "nonsense"}) as stream:
        stream.next()
        me.post("/jobs/trace-7/fail", {"code": "UNEXPECTED"})
        same(stream, "import-second-attempt")


def test_enrichment_completed(me: Client) -> None:
    """Product E's job, on E's own route: started, part by part, completed with its result, and the end."""
    parts = [
        {"current": 0, "item": {"name": "LM317", "status": "processing", "message": "Asking the supplier"}},
        {"current": 1, "item": {"name": "LM317", "status": "enriched", "message": ""}, "counters": {"enriched": 1}},
        {"current": 2, "item": {"name": "NE555", "status": "error", "message": "No supplier has it"},
         "counters": {"error": 1}},
        {"current": 3, "item": None, "counters": {"enriched": 2}},
    ]  # fmt: skip
    me.job("bom-42", kind="enrichment", total=3)
    with me.stream("/enrichment/stream/bom-42") as stream:
        stream.until("enrichment.started")
        for part in parts:
            me.patch("/jobs/bom-42", part)
            stream.next()
        me.post("/jobs/bom-42/complete", {"result": {"file": "bom-42.csv"}})
        same(stream, "enrichment-completed")


def test_enrichment_failed(me: Client) -> None:
    """Product E's job that fails; its total is null until it is known, and what is absent is absent."""
    me.job("bom-42", kind="enrichment")
    me.patch("/jobs/bom-42", {"current": 7, "counters": {"enriched": 6, "error": 1}})
    with me.stream("/jobs/bom-42/stream") as stream:
        stream.until("progress")
        me.post("/jobs/bom-42/fail", {"code": "SUPPLIER_AWAY", "message": "The supplier's service is away"})
        same(stream, "enrichment-failed")


def test_enrichment_cancelled(me: Client) -> None:
    """Product E knows no cancelling: the enrichment has failed."""
    me.job("bom-42", kind="enrichment", total=3)
    with me.stream("/enrichment/stream/bom-42") as stream:
        stream.until("enrichment.started")
        me.post("/jobs/bom-42/cancel", {"reason": "wrong file"})
        same(stream, "enrichment-cancelled")


def test_coaching(me: Client) -> None:
    """Product C's stream: from the head on, each notification once; what is read, archived or a job is not told."""
    me.notify(id="n1", title="Old news")
    with me.other("me", ttl=3).stream("/notifications/stream") as stream:
        stream.until("connected")
        me.job("j")
        news = {"message": "Your audio is ready", "level": "success"}
        me.notify(id="n2", title="Transcription Complete", **news, context={"related_session_id": "s9", "minutes": 12})
        stream.until("notification")
        me.post("/notifications/n2/read")
        me.post("/notifications/n1/archive")
        me.notify(id="n3", everyone=True, title="Maintenance at noon")
        stream.until("notification")
        me.post("/notifications/read-all")
        same(stream, "coaching")


def test_activity(me: Client) -> None:
    """Product A's words on a stream: unnamed events, from the head on."""
    me.notify(id="n1", title="Old news")
    with me.other("me", ttl=3).stream("/stream?dialect=activity") as stream:
        stream.until("connected")
        signed = {"message": "The contract was signed", "level": "success", "href": "/documents/d7"}
        me.notify(id="n2", title="Signed", **signed, context={"document_id": "d7"})
        stream.until("message")
        me.notify(id="n3", everyone=True, title="Maintenance at noon", level="warning")
        stream.until("message")
        stream.rest()
        stream.transcript = HEARTBEAT.sub(b"", stream.transcript)  # as many as the token had time for
        same(stream, "activity")


def test_two_heartbeats_in_65_s(me: Client) -> None:
    """Products C, T and E are given a sign of life every 30 seconds, in their own words."""
    me.job("trace-7", kind="import")
    me.job("bom-42", kind="enrichment", total=3)
    until = time.monotonic() + 65
    with (
        me.stream("/notifications/stream") as coaching,
        me.stream("/jobs/trace-7/stream") as imports,
        me.stream("/enrichment/stream/bom-42") as enrichment,
    ):
        for stream, name in ((coaching, "coaching"), (imports, "import"), (enrichment, "enrichment")):
            while stream.transcript.count(b'data: {"timestamp"') < 2:
                assert time.monotonic() < until
                stream.quiet(1.0)
            alike(stream, f"{name}-quiet")


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
