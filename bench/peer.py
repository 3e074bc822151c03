"""What the figures stand beside: sse-starlette as its manual shows it, on uvicorn with uvloop and httptools.

A queue and an async generator per stream; the token is checked with PyJWT when a stream is opened; what is published
is put into the queues and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from collections.abc import AsyncIterator

import jwt
import orjson
import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SECRET = os.environ["BENCH_SECRET"]
QUEUES: dict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def stream(request: Request) -> Response:
    """A user's stream."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    user = jwt.decode(token, SECRET, algorithms=["HS256"])["sub"]
    queue: asyncio.Queue[str] = asyncio.Queue(maxsize=256)

    async def events() -> AsyncIterator[dict[str, str]]:
        QUEUES[user].add(queue)
        try:
            yield {"event": "live", "data": "{}"}
            number = 0
            while True:
                data = await queue.get()
                number += 1
                yield {"event": "notification", "id": f"0123456789ab.{number:05}.0123456789", "data": data}
        finally:
            QUEUES[user].discard(queue)

    return EventSourceResponse(events(), ping=15, sep="\n")


async def publish(request: Request) -> Response:
    """Tell one user, or everyone."""
    data = orjson.loads(await request.body())
    text = orjson.dumps(data).decode()
    to = data["notification"]["user"]
    for queue in QUEUES.get(to, ()) if to is not None else (one for queues in QUEUES.values() for one in queues):
        queue.put_nowait(text)
    return Response(status_code=204)


def main() -> None:
    """Serve on a free port and print it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    app = Starlette(routes=[Route("/stream", stream), Route("/publish", publish, methods=["POST"])])
    config = uvicorn.Config(
        app, http="httptools", loop="uvloop", ws="none", access_log=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
