"""The addresses that the five products' own pages ask: the streams of the canonical routes under other names.

What is allowed, what is told and how it ends is the same; only the dialect that is meant by default is the product's.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from milepost.errors import Invalid
from milepost.server.streams import StreamEndpoint


class OfJob:
    """The stream of the one job that the path's ``bom_id`` or the query's ``job_id`` names."""

    def __init__(self, stream: StreamEndpoint) -> None:
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One stream."""
        request = Request(scope, receive)
        job_id = request.path_params.get("bom_id") or request.query_params.get("job_id")
        if not job_id:
            raise Invalid("job_id is missing.", field="job_id")
        scope["path_params"] = {"job_id": job_id}
        await self._stream(scope, receive, send)


STREAMS: Final = (
    Route("/api/notifications/stream", StreamEndpoint("coaching", notifications=True), methods=["GET"]),  # product C
    Route("/api/enrichment/stream/{bom_id}", OfJob(StreamEndpoint("enrichment")), methods=["GET"]),  # product E
    Route("/api/pipelines/stream", OfJob(StreamEndpoint()), methods=["GET"]),  # product A
)
