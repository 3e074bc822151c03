"""Product T: a modal that follows one import from start to result."""

from __future__ import annotations

from typing import Any

import orjson

from milepost import wire
from milepost.dialects.dialect import Beating, Frame, percent
from milepost.engine import Document
from milepost.model import dumps


class ImportDialect(Beating):
    """``progress``, ``completed``, ``failed`` and ``heartbeat``."""

    name = "import"
    beat_seconds = 30.0

    def document(self, document: Document, cursor: str) -> Frame | None:
        """One of T's events; a stalled job is not told. They do not name the job, for a stream follows but one."""
        if document.kind != "job" or document.gone:
            return None
        event, data = self._event(orjson.loads(document.body))
        return Frame(wire.frame(event, dumps(data), id=cursor), "job") if event else None

    @staticmethod
    def _event(job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        match job["state"]:
            case "queued" | "running" as state:
                return "progress", {"status": state, "progress": percent(job)}
            case "completed":
                result = {} if job["result"] is None else {"result": job["result"]}
                return "completed", {"status": "completed", **result}
            case "failed":
                error = job["error"]
                details = {} if error["details"] is None else {"details": error["details"]}
                return "failed", {"status": "failed", "error": error["message"] or error["code"], **details}
            case "cancelled":
                return "failed", {"status": "failed", "error": "cancelled"}
        return "", {}
