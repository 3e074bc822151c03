"""The routes that are asked a thousand times where the others are asked once, in front of FastAPI.

They are FastAPI's own routes, which describes them; but their way through its middleware and its router costs more than
what most of them do. Here one look into a dictionary finds them. Everything else is passed on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from milepost.errors import MilepostError
from milepost.server import problems
from milepost.server.handoff import EXTENSION, UNWRAPPED

HOT: Final = frozenset(
    {
        ("POST", "/api/notifications"),
        ("POST", "/api/jobs"),
        ("PATCH", "/api/jobs/{job_id}"),
        ("POST", "/api/batch"),
        ("GET", "/api/changes"),
        ("GET", "/api/stream"),
    }
)
_JOB: Final = "/api/jobs/"


class Front:
    """Answers the hot ones among the ``routes`` and passes on to ``inner``.

    ``answered(scope, status, seconds)`` is told of every request that was answered here.
    """

    def __init__(self, inner: FastAPI, routes: Iterable[Route], answered: problems.Answered) -> None:
        self._inner = inner
        self._hot = {
            (method, route.path): route
            for route in routes
            for method in route.methods or ()
            if (method, route.path) in HOT
        }
        self._guarded = problems.Guard(self._answer, answered)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One conversation."""
        if scope["type"] == "http":
            path: str = scope["path"]
            root: str = scope.get("root_path", "")
            if root:
                path = path.removeprefix(root)
            parameters = {}
            if path.startswith(_JOB) and "/" not in (name := path[len(_JOB) :]) and name:
                path, parameters = _JOB + "{job_id}", {"job_id": name}
            route = self._hot.get((scope["method"], path))
            if route is not None:
                connection = scope.get("extensions", {}).get(EXTENSION)
                unwrapped = connection is not None and connection.cycle.send == send
                scope.update({"app": self._inner, "route": route, "path_params": parameters, UNWRAPPED: unwrapped})
                await self._guarded(scope, receive, send)
                return
        await self._inner(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        route: Any = scope["route"]
        try:
            if isinstance(route, APIRoute):
                answer = await route.endpoint(Request(scope, receive), **scope["path_params"])
            else:
                answer = route.app
            await answer(scope, receive, send)
        except MilepostError as error:
            await problems.response(error)(scope, receive, send)
