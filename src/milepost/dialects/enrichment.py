"""Product E: the parts of a bill of materials, enriched one by one; a banner shows how far it is."""

from __future__ import annotations

from typing import Any

import orjson

from milepost import wire
from milepost.dialects.dialect import FINAL, Beating, Frame, Reader, percent
from milepost.engine import Document
from milepost.model import dumps, to_rfc3339


class EnrichmentDialect(Beating):
    """``connected``, ``enrichment.started``, ``progress``, ``enrichment.completed``, ``enrichment.failed``,
    ``stream_end`` and ``keepalive``.

    E's pages close their stream at ``stream_end``; so it is said only where the stream is over for good.
    """

    name = "enrichment"
    beat_seconds = 30.0
    beat_event = "keepalive"

    def connected(self, reader: Reader, *, now: float, cursor: str | None, heartbeat_seconds: float) -> bytes:
        """``connected`` to which bill of materials."""
        return wire.frame("connected", dumps({**_bom(reader), "timestamp": to_rfc3339(now)}))

    def document(self, document: Document, cursor: str) -> Frame | None:
        """One of E's events; a stalled job is not told."""
        if document.kind != "job" or document.gone:
            return None
        event, data = self._event(orjson.loads(document.body))
        return Frame(wire.frame(event, dumps(data), id=cursor), "job") if event else None

    def stream_end(self, reader: Reader, reason: str, retry_ms: int, *, now: float) -> bytes:
        """``stream_end``, or a ``keepalive`` where the stream is to come back."""
        if reason not in FINAL:
            return super().stream_end(reader, reason, retry_ms, now=now)
        return wire.frame("stream_end", dumps({**_bom(reader), "reason": reason}), retry=retry_ms)

    @staticmethod
    def _event(job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        bom = {"bom_id": job["id"]}
        match job["state"]:
            case "queued":
                return "enrichment.started", {**bom, "total_items": job["total"]}
            case "running":
                return "progress", {**bom, **_progress(job)}
            case "completed":
                result = {} if job["result"] is None else {"result": job["result"]}
                return "enrichment.completed", {**bom, **_progress(job), **result}
            case "failed":
                error = job["error"]
                return "enrichment.failed", {**bom, "error": error["message"] or error["code"], "code": error["code"]}
            case "cancelled":
                return "enrichment.failed", {**bom, "error": "cancelled", "code": "CANCELLED"}
        return "", {}


def _bom(reader: Reader) -> dict[str, str]:
    return {} if reader.job is None else {"bom_id": reader.job}


def _progress(job: dict[str, Any]) -> dict[str, Any]:
    counters = job["counters"]
    data: dict[str, Any] = {
        "total_items": job["total"],
        "processed_items": job["current"],
        "enriched_items": counters.get("enriched", 0),
        "error_items": counters.get("error", 0),
        "percent_complete": percent(job),
    }
    if job["item"] is not None:
        data["current_item"] = {"mpn" if name == "name" else name: value for name, value in job["item"].items()}
    if job["eta_seconds"] is not None:
        data["estimated_time_remaining"] = job["eta_seconds"]
    return data
