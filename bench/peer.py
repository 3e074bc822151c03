"""``python -m bench.peer WHICH``: what the figures stand beside, on uvicorn with uvloop and httptools.

``sse-starlette`` and ``fastapi``, each as its manual shows it: a queue and an async generator per stream; the token is
checked with PyJWT when a stream is opened; what is published is put into the queues and nowhere else. ``origin PORT``
is what Pushpin asks about every stream: it checks the token, and says which channels the stream is to be held on.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import jwt
import orjson
import uvicorn
from fastapi import Depends, FastAPI
from fastapi.sse import EventSourceResponse as FastApiResponse
from fastapi.sse import ServerSentEvent
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SECRET = os.environ["BENCH_SECRET"]
QUEUES: dict[str, set[asyncio.Queue[str]]] = defaultdict(set)


def reader(request: Request) -> str:
    """Whose token it is. Raises PyJWTError."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    return str(jwt.decode(token, SECRET, algorithms=["HS256"])["sub"])


async def received(user: str) -> AsyncIterator[tuple[str, str, str]]:
    """What goes out on a user's stream, as (event, id, data): first that it is open, then what is published."""
    queue: asyncio.Queue[str] = asyncio.Queue(maxsize=256)
    QUEUES[user].add(queue)
    try:
        number = 0
        yield "live", "0", "{}"
        while True:
            data = await queue.get()
            number += 1
            yield "notification", f"0123456789ab.{number:05}.0123456789", data
    finally:
        QUEUES[user].discard(queue)


async def publish(request: Request) -> Response:
    """Tell one user, or everyone."""
    data = orjson.loads(await request.body())
    text = orjson.dumps(data).decode()
    to = data["notification"]["user"]
    for queue in QUEUES.get(to, ()) if to is not None else (one for queues in QUEUES.values() for one in queues):
        queue.put_nowait(text)
    return Response(status_code=204)


def sse_starlette() -> Starlette:
    """Streams by sse-starlette."""

    async def stream(request: Request) -> Response:
        user = reader(request)

        async def events() -> AsyncIterator[dict[str, str]]:
            async for event, number, data in received(user):
                yield {"event": event, "id": number, "data": data}

        return EventSourceResponse(events(), ping=15, sep="\n")

    return Starlette(routes=[Route("/stream", stream), Route("/publish", publish, methods=["POST"])])


def fastapi() -> FastAPI:
    """Streams by FastAPI itself."""
    app = FastAPI()

    @app.get("/stream", response_class=FastApiResponse)
    async def stream(user: Annotated[str, Depends(reader)]) -> AsyncIterator[ServerSentEvent]:
        async for event, number, data in received(user):
            yield ServerSentEvent(event=event, id=number, raw_data=data)

    app.add_route("/publish", publish, methods=["POST"])
    return app


def origin() -> Starlette:
    """The origin behind Pushpin."""

    async def stream(request: Request) -> Response:
        headers = {
            "grip-hold": "stream",
            "grip-channel": f"everyone, {reader(request)}",
            "grip-keep-alive": r": ping\n\n; format=cstring; timeout=15",
        }
        return Response(b"event: live\ndata: {}\n\n", headers=headers, media_type="text/event-stream")

    return Starlette(routes=[Route("/stream", stream)])


APPS: dict[str, Callable[[], Starlette]] = {"sse-starlette": sse_starlette, "fastapi": fastapi, "origin": origin}


def main() -> None:
    """Serve on a free port, or the one that is named, and print it."""
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        APPS[sys.argv[1]](), http="httptools", loop="uvloop", ws="none", access_log=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
