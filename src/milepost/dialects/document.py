"""Product D: one toast per job while documents are made from a form."""

from __future__ import annotations

from typing import Any

import orjson

from milepost import wire
from milepost.dialects.dialect import Dialect, Frame
from milepost.engine import Document
from milepost.model import dumps


class DocumentDialect(Dialect):
    """``progress``, ``complete``, ``error``; heartbeats are comments."""

    name = "document"

    def document(self, document: Document, cursor: str) -> Frame | None:
        """One of D's three events; a stalled job is not told, for D has no word for it."""
        if document.kind != "job" or document.gone:
            return None
        job = orjson.loads(document.body)
        event, data = self._event(job)
        return Frame(wire.frame(event, dumps(data), id=cursor), "job") if event else None

    @staticmethod
    def _event(job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = {"jobId": job["id"]}
        match job["state"]:
            case "queued" | "running":
                progress = {"current": job["current"], "total": job["total"], "message": job["message"]}
                return "progress", {**name, **progress}
            case "completed":
                done: dict[str, Any] = {**name, "total": job["total"]}
                if job["output_url"] is not None:
                    done["outputUrl"] = job["output_url"]
                return "complete", done
            case "failed":
                return "error", {**name, "code": job["error"]["code"], "message": job["error"]["message"]}
            case "cancelled":
                return "error", {**name, "code": "CANCELLED", "message": job["message"]}
        return "", {}
