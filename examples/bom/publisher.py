"""What the worker of an older system says on Redis, in its own words. It knows nothing of Milepost.

Each message goes to the channel of its bill of materials; the newest one is also kept in a key, for who comes later.
``demo-bridge.toml`` says what they mean to Milepost.
"""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any, Final, Self

from redis import Redis

KEEP_SECONDS: Final = 24 * 3600


class Publisher:
    """Publishes one run. Every method raises redis.RedisError where the Redis is away."""

    def __init__(self, url: str, *, bom_id: str, bom_name: str, organization_id: str, user_id: str, total: int) -> None:
        self._redis = Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)
        self._channel = f"enrichment:bom:{bom_id}"
        self._state = f"enrichment:bom:{organization_id}:{bom_id}:state"
        self._bom = {"bom_id": bom_id, "bom_name": bom_name, "organization_id": organization_id, "user_id": user_id}
        self._total = total
        self._now: dict[str, Any] = {}
        self._began = (time.monotonic(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._redis.close()

    def forget(self) -> None:
        """What was kept of an earlier run is about nothing any more."""
        self._redis.delete(self._state)

    def started(self, processed: int) -> None:
        """It begins, or goes on where another worker was killed."""
        self._began = (time.monotonic(), processed)
        self._publish("enrichment.started", {"total_items": self._total})

    def progress(self, *, enriched: int, errors: int, mpn: str, status: str, message: str) -> None:
        """So far it is: ``status`` of the part is "processing", "enriched" or "error"."""
        done = enriched + errors
        since, before = self._began
        pace = (time.monotonic() - since) / (done - before) if done > before else 0.0
        self._now = {
            "total_items": self._total,
            "processed_items": done,
            "enriched_items": enriched,
            "error_items": errors,
            "percent_complete": round(100 * done / self._total, 1),
            "current_item": {"mpn": mpn, "status": status, "message": message},
            "estimated_time_remaining": round(pace * (self._total - done), 1),
        }
        self._publish("progress", self._now)

    def completed(self, result: dict[str, Any], download_url: str) -> None:
        """All parts have been looked at."""
        self._publish("enrichment.completed", {**self._now, "result": result, "download_url": download_url})

    def failed(self, code: str, error: str) -> None:
        """It cannot go on."""
        self._publish("enrichment.failed", {**self._now, "code": code, "error": error})

    def _publish(self, event: str, data: dict[str, Any]) -> None:
        message = json.dumps({"event": event, "data": {**self._bom, **data}})
        with self._redis.pipeline() as both:
            both.set(self._state, message, ex=KEEP_SECONDS)
            both.publish(self._channel, message)
            both.execute()
